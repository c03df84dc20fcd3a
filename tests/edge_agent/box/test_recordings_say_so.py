"""A recording that is stamped by its own time says that it is one, where the box may import it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from edge_site import Box, Site, make_sighting

from edge_agent.camera import origin_of, time_source_of
from edge_agent.config import CameraConfig
from edge_agent.identity import NotOurBox, require_box
from edge_agent.seal import CameraSealer
from protocol.directory import Directory
from protocol.epoch import CAMERA_NOW, RECORDING
from protocol.v2.envelopes import Envelope, parse_envelope
from protocol.v2.header import CLOCK, STATED

NewBox = Callable[..., Box]
FILM = "file:walk.mp4"


def film_on(box: Box) -> CameraSealer:
    return box.new_sealer("cam-2", own_time=True, origin=RECORDING, time_source=STATED)


def see(box: Box, sealer: CameraSealer) -> bool:
    sealer.add([make_sighting(box.clock.now_ms - 1000, seed=3)], box.clock.now_ms)
    return sealer.finish()


def with_rights(site: Site, *, cameras: tuple[str, ...], recordings: tuple[str, ...]) -> Directory:
    box = replace(site.directory.principals["box-1"], cameras=cameras, recordings=recordings)
    return replace(
        site.directory,
        version=site.directory.version + 1,
        principals={**site.directory.principals, "box-1": box},
    )


def install(box: Box, directory: Directory) -> None:
    assert box.trust.accept(box.site.signed_directory(directory))


def envelopes(payloads: list[bytes]) -> list[Envelope]:
    found = [parse_envelope(payload) for payload in payloads]
    return [one for one in found if isinstance(one, Envelope)]


def test_generation_and_envelopes_of_a_recording_say_where_the_pictures_and_times_come_from(
    box: Box,
) -> None:
    assert see(box, film_on(box))
    announced, *sealed = box.payloads()
    assert box.site.announcement(announced).origin == RECORDING
    said = [(one.header.origin, one.header.time_source) for one in envelopes(sealed)]
    assert said == [(RECORDING, STATED)]
    assert len(box.site.open([announced, *sealed])) == 1


def test_a_camera_says_live_and_by_the_clock_as_ever(box: Box) -> None:
    box.see(1)
    assert box.sealer.finish()
    announced, *sealed = box.payloads()
    assert box.site.announcement(announced).origin == CAMERA_NOW
    (header,) = [one.header for one in envelopes(sealed)]
    assert (header.origin, header.time_source) == (CAMERA_NOW, CLOCK)


@pytest.mark.parametrize("version", [1])
def test_in_version_1_there_is_no_origin_and_a_recording_goes_as_it_always_has(
    box: Box, version: int
) -> None:
    assert see(box, film_on(box))
    announced, *_ = box.payloads()
    said = box.site.announcement(announced)
    assert (said.version, said.origin) == (version, CAMERA_NOW)


def test_what_a_box_may_not_import_waits_and_says_what_to_do(box: Box) -> None:
    install(box, with_rights(box.site, cameras=("cam-1", "cam-2"), recordings=("cam-1",)))
    sealer = film_on(box)
    assert not see(box, sealer)
    assert box.payloads() == []
    waiting = sealer.stats().waiting_for
    assert "sealtrace box recordings DIR box-1 --camera cam-2" in waiting
    now = with_rights(box.site, cameras=("cam-1", "cam-2"), recordings=("cam-2",))
    install(box, replace(now, version=now.version + 1))
    assert sealer.finish()
    announced, *_ = box.payloads()
    assert box.site.announcement(announced).origin == RECORDING


def test_a_camera_of_whose_films_a_box_has_the_right_and_no_more_is_not_watched_live(
    box: Box,
) -> None:
    install(box, with_rights(box.site, cameras=("cam-2",), recordings=("cam-1",)))
    box.see(1)
    assert not box.sealer.finish()
    assert "import recordings of 'cam-1', and no more" in box.sealer.stats().waiting_for


def test_a_box_begins_with_cameras_whose_films_alone_it_may_import(site: Site) -> None:
    class Config:
        site, box = "demo", "box-1"
        cameras = (CameraConfig(name="cam-1", source=FILM), CameraConfig(name="cam-2", source=FILM))

    directory = with_rights(site, cameras=("cam-1",), recordings=("cam-2",))
    require_box(directory, Config, site.board.verify_key)  # type: ignore[arg-type]
    with pytest.raises(NotOurBox, match="speak for cam-2"):
        require_box(
            with_rights(site, cameras=("cam-1",), recordings=()),
            Config,  # type: ignore[arg-type]
            site.board.verify_key,
        )


@pytest.mark.parametrize(
    ("options", "origin", "time_source"),
    [
        ({"source": FILM, "pace": "fast", "recorded_at": "2031-05-04T10:00Z"}, RECORDING, STATED),
        ({"source": FILM, "pace": "fast"}, RECORDING, CLOCK),
        ({"source": FILM}, CAMERA_NOW, CLOCK),
        ({"source": "rtsp://10.0.0.7/s1"}, CAMERA_NOW, CLOCK),
    ],
)
def test_the_source_decides_what_a_camera_says(
    options: dict[str, str], origin: str, time_source: str
) -> None:
    config = CameraConfig.model_validate({"name": "cam-1", **options})
    assert (origin_of(config), time_source_of(config)) == (origin, time_source)
