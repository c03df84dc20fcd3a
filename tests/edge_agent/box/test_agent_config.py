"""`box.toml` is read strictly, printed with its meanings, and never shows a camera's password."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config import BoxConfig, load_box, render_box, start_ms
from edge_agent.health import temperature_c
from runtime.config import ConfigError

_HEAD = f'site = "demo"\nbox = "box-1"\nauthority = "{"ab" * 32}"\n'


def load(folder: Path, text: str) -> BoxConfig:
    path = folder / "box.toml"
    path.write_text(_HEAD + text)
    return load_box(path)


def test_the_smallest_file_gets_every_default(tmp_path: Path) -> None:
    config = load(tmp_path, '[[cameras]]\nname = "cam-1"\nsource = "v4l2:/dev/video0"\n')
    assert config.identity == tmp_path / "identity.key"
    assert config.state_dir == tmp_path / "state"
    assert config.sealing.batch == 64
    assert config.sealing.live_after_s == 2.0
    assert config.trusted_bundle_keys == [bytes.fromhex("ab" * 32)]


def test_paths_in_sources_count_from_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    sources = ["clip.mp4", "file:clip.mp4", "folder:images?fps=5", "images", "/abs/clip.mp4"]
    cameras = "".join(
        f'[[cameras]]\nname = "cam-{number}"\nsource = "{source}"\n'
        for number, source in enumerate(sources)
    )
    assert [camera.source for camera in load(tmp_path, cameras).cameras] == [
        f"file:{tmp_path}/clip.mp4",
        f"file:{tmp_path}/clip.mp4",
        f"folder:{tmp_path}/images?fps=5",
        f"folder:{tmp_path}/images",
        "file:/abs/clip.mp4",
    ]


def test_a_cameras_own_settings_replace_the_common_ones(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "[vision]\ndetect_fps = 3\nmin_hits = 4\n"
        '[[cameras]]\nname = "cam-1"\nsource = "v4l2:/dev/video0"\ndetect_fps = 9\n'
        "homography = {matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}\n",
    )
    vision = config.cameras[0].vision(config.vision)
    assert (vision.detect_fps, vision.min_hits) == (9, 4)
    assert vision.encounters.ground is not None
    assert config.vision.encounters.ground is None


def test_a_station_without_cameras_says_whose_films_it_takes(tmp_path: Path) -> None:
    config = load(
        tmp_path, '[vision]\ndetect_fps = 3\n[[recordings]]\nname = "hall"\ndetect_fps = 9\n'
    )
    assert config.cameras == ()
    assert config.film_vision()["hall"].detect_fps == 9


def test_recorded_at_is_a_time_with_a_zone(tmp_path: Path) -> None:
    camera = '[[cameras]]\nname = "cam-1"\nsource = "a.mp4"\npace = "fast"\nrecorded_at = '
    config = load(tmp_path, camera + "2026-05-01T10:00:00+02:00\n")
    assert start_ms(config.cameras[0].recorded_at) == 1_777_622_400_000
    with pytest.raises(ConfigError, match="recorded_at"):
        load(tmp_path, camera + "2026-05-01T10:00:00\n")


def test_an_import_station_says_that_it_has_no_camera(tmp_path: Path) -> None:
    assert load(tmp_path, "cameras = []\n").cameras == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "cameras: is required and missing"),
        (
            '[[cameras]]\nname = "c"\nsource = "a.mp4"\n[[recordings]]\nname = "c"\n',
            "stands twice",
        ),
        ('[[cameras]]\nname = "Cam 1"\nsource = "a.mp4"\n', "not a name"),
        ('[[cameras]]\nname = "cam-1"\nsource = "ftp://x/y"\n', "not supported"),
        ('[[cameras]]\nname = "cam-1"\nsorce = "a.mp4"\n', "did you mean 'source'"),
        ('[[cameras]]\nname = "c"\nsource = "rtsp://h/x"\nloop = true\n', "recorded sources"),
        (
            '[[cameras]]\nname = "c"\nsource = "a.mp4"\nrecorded_at = 2026-05-01T10:00:00Z\n',
            "recorded_at needs",
        ),
        ('[[cameras]]\nname = "c"\nsource = "a.mp4"\n' * 2, "same name"),
        ('[mqtt]\nhost = "hq.example"\n[[cameras]]\nname = "c"\nsource = "a.mp4"\n', "encrypted"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(tmp_path, text)


def test_an_authority_that_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "box.toml"
    path.write_text(
        'site = "demo"\nbox = "b"\nauthority = "xyz"\n[[cameras]]\nname = "c"\nsource = "a.mp4"\n'
    )
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        load_box(path)


def test_what_is_printed_can_be_read_again_and_has_no_password(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        '[[cameras]]\nname = "cam-1"\nsource = "rtsp://admin:hunter2@10.0.0.7/ch1?token=x"\n',
    )
    text = render_box(config)
    assert "hunter2" not in text
    assert "token" not in text
    again = tmp_path / "again.toml"
    again.write_text(text)
    assert load_box(again).sealing == config.sealing
    assert "# Seconds between two health reports." in text


def test_the_hottest_zone_is_the_temperature(tmp_path: Path) -> None:
    assert temperature_c(tmp_path) is None
    for zone, text in (
        ("thermal_zone0", "41500\n"),
        ("thermal_zone1", "39000"),
        ("thermal_zone2", "?"),
    ):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "temp").write_text(text)
    assert temperature_c(tmp_path) == 41.5
