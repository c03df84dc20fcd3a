"""What a scan of a folder finds: whose recordings, from when to when, and what is not read."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from films import DAHUA_BEGAN, INTERLACED, by_ffmpeg, dahua, film, needs_ffmpeg, turned

from edge_agent.footage import scan as scanning
from edge_agent.footage.content import content_identity
from edge_agent.footage.found import FoundFile, Scan, ScanOptions
from edge_agent.footage.looking import Content
from edge_agent.footage.printing import as_document
from edge_agent.footage.scan import scan_folder
from edge_agent.sources import SourceError
from protocol.v2.header import STAMPED, STATED
from runtime.errors import OperationError

NOW_MS = round(datetime(2026, 11, 28, 18, 0, tzinfo=UTC).timestamp() * 1000)
TEN = round(datetime(2026, 11, 28, 10, 0, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def two_seconds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "two.avi", 40)


Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path, two_seconds: Path) -> Put:
    """Call it with names: a film of two seconds each."""

    def copy(*names: str) -> Path:
        for name in names:
            to = tmp_path / "films" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(two_seconds, to)
        return tmp_path / "films"

    return copy


def scanned(folder: Path, **options: object) -> Scan:
    settings: dict[str, object] = {"zone": UTC, "now_ms": NOW_MS, **options}
    return scan_folder(folder, options=ScanOptions(**settings))  # type: ignore[arg-type]


def only(found: Scan) -> FoundFile:
    (file,) = found.files
    return file


def test_files_are_sorted_by_camera_and_time_with_what_is_between(put: Put) -> None:
    folder = put(
        "door/20261128_100000.avi",
        "gate/20261128_100030.avi",
        "gate/20261128_100000.avi",
        "gate/20261128_100002.avi",
    )
    told: list[FoundFile] = []
    options = ScanOptions(zone=UTC, now_ms=NOW_MS)
    found = scan_folder(folder, options=options, tell=told.append)
    assert sorted(told, key=lambda f: f.path) == sorted(found.files, key=lambda f: f.path)
    assert [(f.camera, f.began_ms) for f in found.files] == [
        ("door", TEN), ("gate", TEN), ("gate", TEN + 2000), ("gate", TEN + 30_000),
    ]  # fmt: skip
    first = found.files[0]
    assert (first.codec, first.width, first.height, first.fps) == ("mjpg", 160, 96, 20.0)
    assert (first.seconds, first.time_source, first.usable) == (2.0, STAMPED, True)
    assert first.size == first.path.stat().st_size
    (gap,) = found.gaps
    assert (gap.camera, gap.begins_ms, gap.seconds) == ("gate", TEN + 4000, 26.0)
    assert found.overlaps == ()


@pytest.mark.slow
def test_overlaps_of_one_camera_are_told_also_of_a_file_within_another(put: Put) -> None:
    folder = put("gate/20261128_100000.avi", "door/20261128_100000.avi")
    long = film(folder / "gate" / "20261128_095950.avi", 600)
    found = scanned(folder)
    (over,) = found.overlaps
    assert (over.camera, over.before, over.seconds) == ("gate", long, 2.0)
    # What is after the long one is measured from the long one's end.
    shutil.copy(folder / "gate" / "20261128_100000.avi", folder / "gate" / "20261128_100021.avi")
    assert scanned(folder).gaps == ()


def test_links_are_not_followed_and_what_lies_beside_is_passed_over(
    put: Put, tmp_path: Path, two_seconds: Path
) -> None:
    folder = put("gate/20261128_100000.avi")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(two_seconds, tmp_path / "elsewhere" / "secret_20261128_100000.avi")
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "a_20261128_110000.avi").symlink_to(two_seconds)
    (folder / "up").symlink_to("..")
    (folder / "read.txt").write_text("x")
    (folder / ".hidden.avi").write_text("x")
    os.mkfifo(folder / "pipe.avi")
    found = scanned(folder)
    assert only(found).path == folder / "gate" / "20261128_100000.avi"
    assert found.passed_over == 6
    with pytest.raises(SourceError):
        content_identity(folder / "a_20261128_110000.avi")
    with pytest.raises(SourceError, match="not a file"):
        content_identity(folder / "pipe.avi")


def test_a_recording_is_known_by_its_content_under_any_name(put: Put) -> None:
    folder = put("a.avi", "b/c.avi")
    assert content_identity(folder / "a.avi") == content_identity(folder / "b" / "c.avi")
    assert len(content_identity(folder / "a.avi")) == 32
    with (folder / "a.avi").open("ab") as more:
        more.write(b"x")
    assert content_identity(folder / "a.avi") != content_identity(folder / "b" / "c.avi")


def test_one_file_may_be_scanned(put: Put) -> None:
    folder = put("20261128_100000.avi", "b.avi")
    found = scanned(folder / "20261128_100000.avi", camera="gate")
    assert (only(found).camera, only(found).began_ms) == ("gate", TEN)
    link = folder / "20261128_110000.avi"
    link.symlink_to("b.avi")
    named = only(scanned(link))
    assert named.began_ms == TEN + 3_600_000
    assert len(content_identity(named.path)) == 32


def test_cameras_are_called_as_the_site_calls_them(put: Put) -> None:
    folder = put("ch1_20261128100000.avi", "ch2_20261128100000.avi", "20261128_100000.avi")
    cameras = [f.camera for f in scanned(folder, cameras={"ch1": "cam-gate"}).files]
    assert cameras == ["cam-gate", "ch2", None]
    assert {f.camera for f in scanned(folder, camera="all").files} == {"all"}


def test_what_was_said_of_no_file_is_told(put: Put) -> None:
    folder = put("ch1_20261128100000.avi")
    found = scanned(folder, cameras={"ch1": "gate", "ch2": "x"}, offsets_s={"ch1": 1, "gate": 2})
    assert found.unused == ("--clock-offset ch1", "--camera ch2")
    assert only(found).began_ms == TEN + 2000


def test_local_times_are_of_the_zone_given_and_clocks_are_put_right(put: Put) -> None:
    folder = put("gate_20261128_190000.avi", "door_20261128_190000.avi")
    found = scanned(folder, zone=ZoneInfo("Asia/Seoul"), offsets_s={"gate": 200.0, "door": -1.5})
    assert [f.began_ms for f in found.files] == [TEN - 1500, TEN + 200_000]


def test_a_list_is_believed_above_all(put: Put, tmp_path: Path) -> None:
    folder = put("gate_20260101_000000.avi", "x.avi", "door/y.avi")
    table = tmp_path / "films" / "list.csv"
    table.write_text(
        "file,camera,start\n"
        "gate_*.avi,cam-1,2026-11-28 10:00:00\n"
        "x.avi,cam-2,2026-11-28T19:00:00+09:00\n"
        ",door,2026-11-28 10:00:00\n"
        "other.avi,cam-3,2026-11-28\n"
    )
    found = scanned(folder, list_file=table)
    assert {(f.camera, f.began_ms, f.time_source, f.read_from) for f in found.files} == {
        (camera, TEN, STATED, "list") for camera in ("cam-1", "cam-2", "door")
    }
    assert all(f.usable for f in found.files)
    assert found.unused == ("line 5 of the list",)


def test_one_start_for_a_camera_of_several_files_is_not_enough(put: Put, tmp_path: Path) -> None:
    folder = put("door/a.avi", "door/b.avi")
    table = tmp_path / "list.csv"
    table.write_text("camera,start\ndoor,2026-11-28 10:00:00\n")
    found = scanned(folder, list_file=table)
    assert all("door (line 2), which has 2 files" in f.trouble for f in found.files)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gate_19700101_000000.avi", "never told the time"),
        ("gate_20261129_100000.avi", "from now"),
        ("gate.avi", "Nothing says when it began"),
    ],
)
def test_a_clock_that_cannot_be_right_is_trouble(put: Put, name: str, why: str) -> None:
    file = only(scanned(put(name)))
    assert why in file.trouble
    assert not file.usable
    assert file.seconds == 2.0


def test_a_wrong_clock_can_be_put_right(put: Put) -> None:
    folder = put("gate_20261129_100000.avi")
    assert only(scanned(folder, offsets_s={"gate": -86_400.0})).began_ms == TEN


def test_an_hour_that_was_twice_is_asked_for(put: Put) -> None:
    folder = put("gate_20261025_023000.avi")
    trouble = only(scanned(folder, zone=ZoneInfo("Europe/Berlin"))).trouble
    assert "+02:00" in trouble
    assert "+01:00" in trouble
    assert "--list" in trouble


@pytest.mark.slow
def test_what_cannot_be_read_says_why(put: Put, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no film at all")
    (folder / "cut.mp4").write_bytes(b"\0\0\0\x14ftypisom\0\0\0\0isom\0\0\xff\xffmdat" + bytes(99))
    (folder / "sound.mp4").write_bytes(
        b"\0\0\0\x08ftyp\0\0\0\x20moov\0\0\0\x18hdlr\0\0\0\0\0\0\0\0soun\0\0\0\0"
    )
    (folder / "a.dav").write_bytes(b"DHAV" + bytes(200))
    (folder / "b.g64x").write_bytes(b"G64X")
    film(folder / "large.avi", 1, size=(2880, 5120))
    told = {f.path.name: f.trouble for f in scanned(folder).files}
    for name, why in {
        "empty.mp4": "0 bytes",
        "text.mp4": "no video",
        "cut.mp4": "without its index",
        "sound.mp4": "sound, and no pictures",
        "a.dav": "Dahua.*ffmpeg -i",
        "b.g64x": "Genetec.*export",
        "large.avi": "^It has frames of 5120x2880.*4K",
    }.items():
        assert re.search(why, told[name]), (name, told[name])


def test_a_name_that_is_no_text_is_refused_and_shown_harmlessly(put: Put) -> None:
    folder = put("gate_20261128_100000.avi")
    odd = os.fsencode(folder) + b"/gate\xff_20261128_110000.avi"
    shutil.copy(folder / "gate_20261128_100000.avi", os.fsdecode(odd))
    good, bad = scanned(folder).files
    assert good.usable
    assert bad.trouble == "It has a name that is not UTF-8. Rename it."


@pytest.mark.slow
def test_four_k_and_damage_in_the_middle_and_no_rate_are_no_trouble(put: Put) -> None:
    folder = put("gate_20261128_100000.avi", "gate_20261128_100002.avi")
    film(folder / "uhd_20261128_100000.avi", 2, size=(2160, 3840))
    whole = (folder / "gate_20261128_100000.avi").read_bytes()
    data = bytearray(whole)
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    (folder / "gate_20261128_100000.avi").write_bytes(data)
    data = bytearray(whole)
    header = data.index(b"strh")
    data[header + 32 : header + 36] = bytes(4)
    micros = data.index(b"avih") + 8
    data[micros : micros + 4] = bytes(4)
    (folder / "gate_20261128_100002.avi").write_bytes(data)
    damaged, without, large = scanned(folder).files
    assert all(file.usable for file in (damaged, without, large))
    assert damaged.seconds > 1.8
    assert any("no rate" in note for note in without.notes)
    assert (large.width, large.height) == (3840, 2160)


def test_a_file_that_is_still_written_is_not_taken(put: Put) -> None:
    folder = put("gate_20261128_100000.avi", "gate_20261128_100100.avi")

    def write_on(file: FoundFile) -> None:
        if file.path.name == "gate_20261128_100000.avi":
            with file.path.open("ab") as growing:
                growing.write(b"more")
        else:
            file.path.unlink()

    options = ScanOptions(zone=UTC, now_ms=NOW_MS)
    found = scan_folder(folder, options=options, tell=write_on)
    assert ["still being written" in f.trouble for f in found.files] == [True, False]
    assert "no longer there" in found.files[1].trouble


def test_a_film_that_breaks_off_says_so(put: Put) -> None:
    folder = put("gate_20261128_100000.avi")
    path = folder / "gate_20261128_100000.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    file = only(scanned(folder))
    assert file.usable
    assert 0.5 < file.seconds < 1.5
    assert any("breaks off" in note for note in file.notes)
    assert only(scanned(folder, quick=True)).seconds == 2.0


def test_too_much_is_refused_and_not_held(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put("a.avi", "b.avi", "c.avi")
    monkeypatch.setattr(scanning, "MAX_FILES", 2)
    with pytest.raises(SourceError, match="more than 2 files"):
        scanned(folder)
    monkeypatch.setattr(scanning, "MAX_ENTRIES", 2)
    with pytest.raises(SourceError, match="more than 2 entries"):
        scanned(folder)


def test_folders_without_end_end(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(40):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "20261128_100000.avi").write_text("x")
    found = scanned(tmp_path)
    assert (found.files, found.passed_over) == ((), 1)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", Path("/dev/null")):
        with pytest.raises(OperationError):
            scanned(folder)


@needs_ffmpeg
def test_a_recorder_s_own_file_tells_its_local_start(tmp_path: Path) -> None:
    dahua(tmp_path / "a.dav")
    file = only(scanned(tmp_path, zone=ZoneInfo("Asia/Seoul"), camera="gate"))
    began = DAHUA_BEGAN.replace(tzinfo=ZoneInfo("Asia/Seoul"))
    assert file.usable
    assert (file.began_ms, file.read_from) == (began.timestamp() * 1000, "container")
    assert file.codec == "h264"
    assert file.seconds == pytest.approx(2.0)


@needs_ffmpeg
def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    by_ffmpeg(tmp_path / "gate_20261128_100000.mp4", "-c:a", "aac", source="sine=d=1")
    assert "sound, and no pictures" in only(scanned(tmp_path)).trouble


@needs_ffmpeg
def test_the_header_tells_the_start_where_the_name_does_not(tmp_path: Path) -> None:
    date = ["-metadata", "creation_time=2026-11-28T10:00:00Z"]
    by_ffmpeg(tmp_path / "a.mp4", "-c:v", "mpeg4", *date)
    by_ffmpeg(tmp_path / "gate_20261128_130000.mp4", "-c:v", "mpeg4", *date)
    named, plain = scanned(tmp_path).files
    assert (plain.began_ms, plain.time_source, plain.read_from) == (TEN, STAMPED, "container")
    assert named.began_ms == TEN + 3 * 3_600_000
    assert any("3 h earlier" in note and "time zone" in note for note in named.notes)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "codec", "arguments"),
    [
        ("h265.mp4", "hevc", ["-c:v", "libx265", "-x265-params", "log-level=none"]),
        ("raw.h264", "h264", ["-c:v", "libx264", "-pix_fmt", "yuv420p"]),
        ("mjpeg.avi", "mjpg", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]),
        ("ts.ts", "h264", ["-c:v", "libx264", "-pix_fmt", "yuv420p"]),
    ],
)
def test_what_recorders_write_has_its_true_length(
    tmp_path: Path, name: str, codec: str, arguments: list[str]
) -> None:
    by_ffmpeg(tmp_path / f"gate_20261128_100000_{name}", *arguments)
    file = only(scanned(tmp_path))
    assert file.usable
    assert file.codec == codec
    assert file.seconds == pytest.approx(2.0)
    assert any("raw stream" in note for note in file.notes) == (name == "raw.h264")


@needs_ffmpeg
def test_variable_rates_and_times_that_begin_anew_are_measured(tmp_path: Path) -> None:
    by_ffmpeg(
        tmp_path / "gate_20261128_100000.mp4", "-c:v", "mpeg4", "-fps_mode", "vfr",
        "-vf", "setpts='if(lt(N,20),N/25,0.8+(N-20)/5)/TB+0.5'",
    )  # fmt: skip
    part = by_ffmpeg(tmp_path / "part.ts", "-c:v", "mpeg2video").read_bytes()
    (tmp_path / "gate_20261128_110000.ts").write_bytes(part + part)
    (tmp_path / "part.ts").unlink()
    varying, joined = scanned(tmp_path).files
    assert varying.seconds == pytest.approx(6.8, abs=0.05)
    assert joined.seconds == pytest.approx(4.0, abs=0.1)
    assert any("begin anew 1 time:" in note for note in joined.notes)


@needs_ffmpeg
def test_interlaced_and_turned_films_are_told_as_they_are_seen(tmp_path: Path) -> None:
    shutil.copy(INTERLACED, tmp_path / "gate_20261128_100000.mpg")
    flat = by_ffmpeg(tmp_path / "gate_20261128_110000.mp4", "-c:v", "mpeg4", "-t", "0.2")
    turned(flat)
    interlaced, upright = scanned(tmp_path).files
    assert any("interlaced" in note for note in interlaced.notes)
    assert interlaced.usable
    assert (upright.width, upright.height) == (96, 160)


def test_interlaced_films_name_the_package_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(INTERLACED, tmp_path / "gate_20261128_100000.mpg")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt install ffmpeg" in only(scanned(tmp_path)).trouble


@pytest.mark.parametrize("zone", [ZoneInfo("Asia/Seoul"), ZoneInfo("America/Los_Angeles")])
@pytest.mark.parametrize(
    "start",
    [
        "0001-01-01 00:00:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31 23:59:59",
        "9999-12-31T23:59:59-12:00",
    ],
)
def test_a_time_at_the_edge_of_the_calendar_ends_no_scan(
    put: Put, tmp_path: Path, zone: ZoneInfo, start: str
) -> None:
    folder = put("listed.avi", "ch1_00010101000000.avi", "ch1_99991231235959.avi", "fine.avi")
    table = tmp_path / "list.csv"
    table.write_text(f"file,camera,start\nlisted.avi,cam,{start}\nfine.avi,cam,2026-11-28 10:00\n")
    options = ScanOptions(zone=zone, now_ms=NOW_MS + 86_400_000, list_file=table)
    found = scan_folder(folder, options=options, look=lambda _path, *, quick=False: Content("mjpg"))
    assert [file.path.name for file in found.files if file.usable] == ["fine.avi"]
    document = as_document(found, options)
    assert len(document["files"]) == 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    ["concat:20261128_100000.avi", "cache:20261128_100000.avi", "async:20261128_100000.avi"],
)
def test_a_name_that_looks_like_an_address_opens_no_other_file(
    put: Put, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = put("20261128_100000.avi")
    (folder / name).write_bytes(b"no film")
    monkeypatch.chdir(folder)
    found = scanned(Path(), camera="cam")
    assert [file.path.name for file in found.files if file.usable] == ["20261128_100000.avi"]


def test_a_name_that_looks_like_an_address_reaches_no_network(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put("20261128_100000.avi")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (folder / f"rtsp:127.0.0.1:{port}.avi").write_bytes(b"no film")
        server.settimeout(0.0)
        monkeypatch.chdir(folder)
        scanned(Path())
        with pytest.raises(BlockingIOError):
            server.accept()
