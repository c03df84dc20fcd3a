"""Boxes come and go by name and camera; a swap keeps the cameras; running twice is once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.config import BoxConfig
from protocol.directory import BOX
from protocol.errors import PrincipalRevoked
from protocol.signing import SigningKey
from provisioning.authority import SiteError, SitePaths, boxes, changes, open_site
from provisioning.authority.box_cli import show_boxes
from provisioning.authority.inspect import inspect_site
from provisioning.formats.plan_boxes import BoxPlan, CameraPlan
from runtime.clock import system_ms
from runtime.config import load
from runtime.keyfiles import read_secret

DOOR = BoxPlan(name="box-3", cameras=(CameraPlan(name="door", source="rtsp://u:p@10.0.0.7/s"),))


def test_a_new_box_is_whole_and_everybody_hears_of_it(site: SitePaths, passphrase: bytes) -> None:
    change = boxes.add_box(site.root, DOOR, passphrase)
    assert change.site.directory.version == 2
    config = load(site.box("box-3"), BoxConfig)
    seed = read_secret(config.identity, None, "identity")
    listed = open_site(site.root).directory.require("box-3", BOX)
    assert SigningKey("box-3", seed).verify_key == listed.verify_key
    assert listed.cameras == ("door",)
    assert inspect_site(open_site(site.root)).problems == ()


def test_adding_twice_is_adding_once(site: SitePaths, passphrase: bytes) -> None:
    boxes.add_box(site.root, DOOR, passphrase)
    key = (site.box("box-3").parent / "identity.key").read_bytes()
    assert not boxes.add_box(site.root, DOOR, b"").changed
    assert (site.box("box-3").parent / "identity.key").read_bytes() == key


STATION = BoxPlan(name="station-1", recordings=("cam-1", "cam-2"))


def test_an_import_station_is_a_box_without_cameras(site: SitePaths, passphrase: bytes) -> None:
    change = boxes.add_box(site.root, STATION, passphrase)
    listed = change.site.directory.require("station-1", BOX)
    assert (listed.cameras, listed.recordings) == ((), ("cam-1", "cam-2"))
    config = load(site.box("station-1"), BoxConfig)
    assert config.cameras == ()
    assert [one.name for one in config.recordings] == ["cam-1", "cam-2"]
    read_me = site.box("station-1").with_name("README.txt").read_text()
    assert "sealtrace footage import FOLDER" in read_me
    assert not boxes.add_box(site.root, STATION, b"").changed
    assert inspect_site(open_site(site.root)).problems == ()
    with pytest.raises(SiteError, match="has a 'station-1' already"):
        boxes.add_box(site.root, STATION.model_copy(update={"recordings": ("cam-1",)}), passphrase)


def test_a_station_is_swapped_for_another_with_its_rights(
    site: SitePaths, passphrase: bytes
) -> None:
    boxes.add_box(site.root, STATION, passphrase)
    boxes.swap_box(site.root, "station-1", "station-2", passphrase)
    directory = open_site(site.root).directory
    assert directory.require("station-2", BOX).recordings == ("cam-1", "cam-2")
    with pytest.raises(PrincipalRevoked):
        directory.require("station-1", BOX)


def test_a_half_made_station_of_an_interrupted_run_is_made_anew(
    site: SitePaths, passphrase: bytes
) -> None:
    old = site.directory.read_bytes()
    boxes.add_box(site.root, STATION, passphrase)
    site.directory.write_bytes(old)
    assert boxes.add_box(site.root, STATION, passphrase).site.directory.version == 2


@pytest.mark.parametrize("films", [(), ("cam-1", "cam-1")])
def test_a_box_sees_something_or_imports_something_once(films: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="box 'station-1'"):
        BoxPlan(name="station-1", recordings=films)


def test_a_half_made_folder_of_an_interrupted_run_is_made_anew(
    site: SitePaths, passphrase: bytes
) -> None:
    old = site.directory.read_bytes()
    boxes.add_box(site.root, DOOR, passphrase)
    site.directory.write_bytes(old)  # as if it had stopped before the directory
    assert boxes.add_box(site.root, DOOR, passphrase).site.directory.version == 2
    assert inspect_site(open_site(site.root)).problems == ()


def test_somebody_elses_folder_is_left_alone(site: SitePaths, passphrase: bytes) -> None:
    folder = site.box("box-3").parent
    folder.mkdir()
    (folder / "notes").write_text("keep")
    with pytest.raises(SiteError, match="in the way"):
        boxes.add_box(site.root, DOOR, passphrase)
    assert (folder / "notes").read_text() == "keep"
    assert open_site(site.root).directory.version == 1


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (("box-1", "door"), "has a 'box-1' already"),
        (("ana", "door"), "has a 'ana' already"),
        (("box-3", "cam-1"), "is on box 'box-1'"),
        (("directory", "door"), "reserved"),
    ],
)
def test_taken_names_are_refused(
    site: SitePaths, passphrase: bytes, box: tuple[str, str], message: str
) -> None:
    plan = BoxPlan(name=box[0], cameras=(CameraPlan(name=box[1], source="x"),))
    with pytest.raises(SiteError, match=message):
        boxes.add_box(site.root, plan, passphrase)


def test_a_revoked_name_is_never_given_again(site: SitePaths, passphrase: bytes) -> None:
    changes.revoke(site.root, "box-1", passphrase)
    plan = BoxPlan(name="box-1", cameras=(CameraPlan(name="cam-1", source="x"),))
    with pytest.raises(SiteError, match="choose a new name"):
        boxes.add_box(site.root, plan, passphrase)


def test_a_swap_keeps_the_cameras_and_their_set_up(site: SitePaths, passphrase: bytes) -> None:
    path = site.box("box-1")
    path.write_text(path.read_text() + "detect_fps = 7.5\n")
    boxes.swap_box(site.root, "box-1", "box-1b", passphrase)
    directory = open_site(site.root).directory
    assert directory.version == 2
    with pytest.raises(PrincipalRevoked):
        directory.require("box-1", BOX)
    assert directory.box_of_camera("cam-1").name == "box-1b"
    camera = load(site.box("box-1b"), BoxConfig).cameras[0]
    assert (camera.name, camera.source, camera.detect_fps) == ("cam-1", "/clips/1.mp4", 7.5)
    assert not boxes.swap_box(site.root, "box-1", "box-1b", b"").changed


def test_a_swap_asks_for_sources_that_are_no_longer_here(
    site: SitePaths, passphrase: bytes
) -> None:
    shutil.rmtree(site.box("box-1").parent)
    with pytest.raises(SiteError, match="--camera cam-1=URL"):
        boxes.swap_box(site.root, "box-1", "box-9", passphrase)
    camera = CameraPlan(name="cam-1", source="rtsp://10.0.0.1/s")
    boxes.swap_box(site.root, "box-1", "box-9", passphrase, cameras=[camera])
    assert load(site.box("box-9"), BoxConfig).cameras[0].source == "rtsp://10.0.0.1/s"


def test_the_list_tells_what_is_known(site: SitePaths, passphrase: bytes) -> None:
    changes.revoke(site.root, "box-1", passphrase)
    shutil.rmtree(site.box("box-2").parent)
    first, second = boxes.overview(open_site(site.root))
    assert (first.name, first.sources, first.certificate_days) == (
        "box-1",
        {"cam-1": "/clips/1.mp4"},
        30,
    )
    assert first.revoked_at is not None
    assert (second.name, second.cameras, second.sources) == ("box-2", ("cam-2",), {})
    told = {
        "box": "box-2",
        "last_seen_ms": 1_800_000_000_000,
        "state": "online",
        "version": "0.1.0",
        "gaps": [{}, {}],
        "rejects": [{"reason": "clock-skew", "count": 3}],
        "clock_wrong": True,
        "clock_offset_ms": 200_000,
        "quarantined": 1,
        "figures": {"trouble.view.cam-2": 5, "trouble.view.cam-9": 1, "camera.cam-2.state": 2},
    }
    live = boxes.with_live(second, told)
    assert (live.online, live.version, live.gaps) == (True, "0.1.0", 2)
    assert live.last_seen is not None
    assert live.last_seen.isoformat() == "2027-01-15T08:00:00+00:00"
    assert live.trouble == (
        "its clock is +200 s off",
        "3 messages refused (clock-skew)",
        "1 messages in quarantine (`sealtrace aggregator quarantine`)",
        "camera cam-2 shows another place than before",
    )
    assert boxes.with_live(second, None) == second


def test_a_revoked_box_is_not_online_whatever_it_still_reports(
    site: SitePaths, passphrase: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    changes.revoke(site.root, "box-1", passphrase)
    first, second = boxes.overview(open_site(site.root))
    told = {"state": "online", "last_seen_ms": system_ms(), "figures": {"trouble.view.cam-1": 5}}
    live = boxes.with_live(first, told)
    assert (live.online, live.trouble) == (False, ())
    assert boxes.with_live(second, told).online
    elsewhere = boxes.with_live(second, {**told, "revoked": True})
    assert not elsewhere.online
    assert elsewhere.trouble == ("revoked, as headquarters have it",)
    show_boxes([live], live=True)
    shown = capsys.readouterr().out
    assert " revoked " in shown
    assert "online" not in shown


def test_a_station_without_an_agent_is_not_called_offline(
    site: SitePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = boxes.overview(open_site(site.root))
    told = {"state": "offline", "last_seen_ms": system_ms()}
    station = boxes.with_live(replace(first, cameras=(), recordings=("hall",)), told)
    show_boxes([station, boxes.with_live(second, told)], live=True)
    rows = {row.split()[0]: row for row in capsys.readouterr().out.splitlines()}
    assert "between imports" in rows[first.name]
    assert "offline" not in rows[first.name]
    assert "offline" in rows[second.name]


def test_passwords_of_cameras_are_not_printed(site: SitePaths, passphrase: bytes) -> None:
    boxes.add_box(site.root, DOOR, passphrase)
    shown = boxes.overview(open_site(site.root))[-1].to_json()
    assert shown["sources"] == {"door": "rtsp://***@10.0.0.7/s"}


def test_a_box_folder_can_be_carried_away(
    site: SitePaths, tmp_path: Path, passphrase: bytes
) -> None:
    moved = Path(shutil.move(site.box("box-1").parent, tmp_path / "card"))
    config = load(moved / "box.toml", BoxConfig)
    for path in (config.identity, config.directory):
        assert path.is_file()
        assert moved in path.parents
    assert changes.revoke(site.root, "box-1", passphrase).site.directory.version == 2
