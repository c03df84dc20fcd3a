"""Cameras are drawn where the register says, over the plan, and listed where it does not say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest

from officers.desk.officer import Officer
from officers.desk.site_map import SiteMap, site_map
from officers.pages.map import map_view
from protocol.directory_forms import SECOND
from protocol.places import CameraPlace, Places, parse_places

LOBBY = CameraPlace("cam-1", "Lobby", (37.5, 127.0), names={"ko": "로비"}, room="A")
WARD = CameraPlace("cam-2", "Ward", None)
REGISTER = Places(b"", ("lat", "lon"), {"cam-1": LOBBY, "cam-2": WARD}).to_bytes()


@pytest.fixture
def officer(tmp_path: Path) -> Officer:
    """Ana, who has a copy of the register that the directory names."""
    named = parse_places(REGISTER).digest
    signed = replace(s.directory(), form=SECOND, places=named).sign(s.authority(), SECOND)
    (tmp_path / "directory.cbor").write_bytes(signed.to_bytes())
    (tmp_path / "places.csv").write_bytes(REGISTER)
    authority = s.authority().verify_key.raw.hex()
    file = tmp_path / "officer.toml"
    file.write_text(f'site = "{s.SITE}"\nname = "ana"\nauthority = "{authority}"\n')
    return Officer.load(file)


def test_degrees_become_east_and_north(officer: Officer) -> None:
    drawn = site_map(officer)
    assert drawn.on_globe
    assert drawn.spot("cam-1").at == (127.0, 37.5)
    assert drawn.spot("cam-2").at is None


def test_a_camera_that_no_directory_knows_has_no_place(officer: Officer) -> None:
    spot = site_map(officer).spot("cam-77")
    assert (spot.place, spot.at, spot.in_force) == ("", None, False)


def test_the_plan_beside_the_configuration_is_drawn(officer: Officer) -> None:
    assert site_map(officer).lines == ()
    wall = {"type": "LineString", "coordinates": [[127.0, 37.5], [127.1, 37.6]]}
    officer.config.plan.write_text(json.dumps(wall))
    assert site_map(officer).lines == (((127.0, 37.5), (127.1, 37.6)),)


def test_a_plan_that_is_none_is_told_and_left_out(officer: Officer) -> None:
    officer.config.plan.write_text('{"type": "Nothing"}')
    told: list[str] = []
    drawn = site_map(officer, tell=lambda notice: told.append(notice.text))
    assert drawn.lines == ()
    assert "drawn without the site's plan" in told[0]


def test_places_are_called_in_the_readers_language(officer: Officer) -> None:
    drawn = site_map(officer)
    korean, english = (map_view(drawn, language=one).points for one in ("ko", "en"))
    assert [one.place for one in korean if one.camera == "cam-1"] == ["로비, A"]
    assert [one.place for one in english if one.camera == "cam-1"] == ["Lobby, A"]


def test_cameras_without_a_position_stand_apart_from_those_drawn(officer: Officer) -> None:
    view = map_view(site_map(officer), language="en", states={"cam-1": "asked"})
    assert [one["camera"] for one in view.data["points"]] == ["cam-1"]
    assert "cam-2" in {one.camera for one in view.unplaced}
    assert [one.camera for one in view.points if one.checked] == ["cam-1"]


def test_only_the_cameras_of_a_query_are_shown_even_those_long_gone() -> None:
    view = map_view(SiteMap(()), language="en", only=["cam-old"], states={"cam-old": "refused"})
    assert [(one.camera, one.state) for one in view.points] == [("cam-old", "refused")]
    assert not view.drawn
