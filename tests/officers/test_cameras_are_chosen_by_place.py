"""Cameras are asked for by name, pattern, place or area; what was taken is said back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import protocol_samples as s
import pytest
from hypothesis import given
from hypothesis import strategies as st
from officer_site import OfficerSite

from officers.desk.areas import AreaInvalid, read_area
from officers.desk.choosing import Wanted, choose, places_text
from officers.desk.notices import Notice
from officers.desk.subjects import DraftInvalid
from officers.query_cli import app
from protocol.directory import Directory
from protocol.directory_forms import SECOND
from protocol.places import GLOBE, PLAN, CameraPlace, Places, parse_places

CAMERAS = ("cam-1", "cam-2", "cam-3", "door-1", "gone-1")
LOBBY = {"ko": "로비"}
REGISTER = parse_places(
    Places(
        b"",
        GLOBE,
        {
            one.camera: one
            for one in (
                CameraPlace("cam-1", "Lobby", (37.5, 126.75), LOBBY, "1 Harbour Road", True, "A"),
                CameraPlace("cam-2", "Lobby", (37.5, 126.76), LOBBY, None, True, "B"),
                CameraPlace("cam-3", "Station/North gate", (37.6, 126.8), {}, None, False),
                CameraPlace("door-1", "Étage 2", None),
                CameraPlace("gone-1", "Lobby", (37.5, 126.755), LOBBY),
                CameraPlace("nobody-1", "Lobby", (37.5, 126.755), LOBBY),
            )
        },
    ).to_bytes()
)


def directory() -> Directory:
    """Two boxes: one in force, and a revoked one whose camera nobody else watches."""
    base = s.directory()
    box = replace(base.principals["box-1"], cameras=CAMERAS[:-1])
    gone = replace(s.principal("box-0", "box"), cameras=CAMERAS[-1:], revoked_at_ms=s.NOW_MS)
    return replace(base, principals={**base.principals, "box-1": box, "box-0": gone})


def chosen(*cameras: str, register: Places | None = REGISTER, **more: Any) -> tuple[str, ...]:
    return choose(Wanted(cameras, **more), directory(), register, lambda _notice: None)


def told(*cameras: str, **more: Any) -> list[str]:
    said: list[Notice] = []
    choose(Wanted(cameras, **more), directory(), REGISTER, said.append)
    return [one.text for one in said]


def test_cameras_are_named_one_by_one_even_those_that_are_revoked() -> None:
    assert chosen("gone-1", "cam-1", "cam-1", register=None) == ("cam-1", "gone-1")


def test_patterns_are_of_cameras_and_of_places() -> None:
    assert chosen("cam-*", register=None) == ("cam-1", "cam-2", "cam-3")
    assert chosen("station/*") == ("cam-3",)
    assert chosen("lobby/[ab]", "door-1") == ("cam-1", "cam-2", "door-1")
    assert told("cam-*") == ["--camera 'cam-*' takes 3: cam-1, cam-2, cam-3"]


@pytest.mark.parametrize("name", ["Lobby", "lobby", "로비", " LOBBY ", "로*"])
def test_a_place_is_asked_for_by_any_of_its_names(name: str) -> None:
    assert chosen(places=(name,)) == ("cam-1", "cam-2")


def test_a_room_and_a_name_in_another_spelling() -> None:
    assert chosen(places=("로비/A",)) == ("cam-1",)
    assert chosen(places=("e\u0301tage 2",)) == ("door-1",)


def test_what_no_box_in_force_watches_is_left_out_and_said() -> None:
    left_out, taken = told(places=("Lobby",))
    assert left_out.startswith(
        "--place 'Lobby' leaves out, because no box in force watches them: gone-1, nobody-1"
    )
    assert taken == "--place 'Lobby' takes 2: cam-1, cam-2"


def square(*, east: float = 126.75, size: float = 0.02, hole: bool = False) -> dict[str, Any]:
    """A square around (37.5, east), with a hole in its middle if asked for."""

    def ring(half: float) -> list[list[float]]:
        corners = [(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)]
        return [[east + x, 37.5 + y] for x, y in corners]

    return {"type": "Polygon", "coordinates": [ring(size), *([ring(size / 4)] if hole else [])]}


def area(folder: Path, value: object) -> Path:
    path = folder / "area.geojson"
    path.write_text(json.dumps(value))
    return path


def test_an_area_on_a_map_takes_the_cameras_that_stand_in_it(tmp_path: Path) -> None:
    file = area(tmp_path, {"type": "Feature", "geometry": square(), "properties": {}})
    assert chosen(area=file) == ("cam-1", "cam-2")
    said = told(area=file)
    assert "not in the area, as no position of theirs is known: door-1" in said[0]
    with_hole = area(tmp_path, {"type": "FeatureCollection", "features": [square(hole=True)]})
    assert chosen(area=with_hole) == ("cam-2",), "the first stands in the hole"
    both = {
        "type": "MultiPolygon",
        "coordinates": [square(size=0.001)["coordinates"], square(east=126.76)["coordinates"]],
    }
    assert chosen("cam-3", area=area(tmp_path, both)) == ("cam-1", "cam-2", "cam-3")
    with pytest.raises(DraftInvalid, match="no camera of the register is in the area"):
        chosen(area=area(tmp_path, square(east=10)))


def test_an_area_on_a_plan_is_in_the_plans_metres(tmp_path: Path) -> None:
    plan = replace(
        REGISTER, axes=PLAN, cameras={"cam-1": CameraPlace("cam-1", "Lobby", (500.0, 20.0))}
    )
    ring = [[400, 0], [600, 0], [600, 40], [400, 40], [400, 0]]
    file = area(tmp_path, {"type": "Polygon", "coordinates": [ring]})
    assert chosen(area=file, register=plan) == ("cam-1",)


def test_the_edge_of_an_area_belongs_to_it(tmp_path: Path) -> None:
    ring = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]
    read = read_area(area(tmp_path, {"type": "Polygon", "coordinates": [ring]}))
    assert read.holds(0, 1)
    assert read.holds(2, 2)
    assert read.holds(1, 1)
    assert not read.holds(2.001, 1)
    assert not read.holds(-1, 0), "in line with an edge"


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_an_area_holds_what_lies_in_a_triangle(east: float, north: float) -> None:
    from officers.desk.areas import Area, _ring

    triangle = Area(((_ring(((-2, -2), (2, -2), (0, 2), (-2, -2))),),))
    inside = north >= -2 and north <= 2 - 2 * abs(east)
    near = abs(north + 2) < 1e-9 or abs(north - 2 + 2 * abs(east)) < 1e-9
    assert near or triangle.holds(east, north) == inside


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "has a value in it"),
        ({"type": "Point", "coordinates": [1, 2]}, "has a Point in it"),
        ({"type": "Feature", "geometry": None}, "has a value in it"),
        ({"type": "FeatureCollection", "features": []}, "no polygon"),
        ({"type": "Polygon", "coordinates": []}, "no corners"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}, "fewer than four"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}, "does not end"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, "1"], [0, 0]]]}, "beyond"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [True, 1], [0, 0]]]}, "beyond"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1], [0, 0]]]}, "not \\[longitude"),
        ({"type": "Polygon", "coordinates": [[[-179, 0], [179, 0], [179, 1], [-179, 0]]]}, "180th"),
        ({"type": "Polygon", "coordinates": [[[0, 0]] * 20_001]}, "draw it simpler"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [10**400, 0], [1, 1], [0, 0]]]}, "beyond"),
    ],
)
def test_what_is_no_area_is_refused(tmp_path: Path, value: object, words: str) -> None:
    with pytest.raises(AreaInvalid, match=words):
        read_area(area(tmp_path, value))


def test_a_file_that_is_no_json_is_no_area(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff" + b"[" * 100_000)
    with pytest.raises(AreaInvalid, match="draw a Polygon"):
        read_area(tmp_path / "a")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(), "--camera, --place or --area"),
        (Wanted(("cam-9",)), "did you mean 'cam-1'|did you mean 'cam-"),
        (Wanted(("zoo-*",)), "no camera 'zoo-\\*'; known are cam-1"),
        (Wanted(("Lobby",)), "a place is called so: give --place 'Lobby'"),
        (Wanted(places=("Loby",)), "did you mean 'Lobby'"),
        (Wanted(places=("Roof",)), "there are Lobby, Station/North gate"),
        (Wanted(("cam-1",), every=True), "not both"),
        (Wanted(places=("Lobby",), every=True), "not both"),
        (Wanted(("gone-*",)), "names no camera that a box in force watches"),
    ],
)
def test_what_leaves_open_which_cameras_are_meant_is_refused(wanted: Wanted, words: str) -> None:
    with pytest.raises(DraftInvalid, match=words):
        choose(wanted, directory(), REGISTER, lambda _notice: None)


def test_places_and_areas_take_the_register(tmp_path: Path) -> None:
    with pytest.raises(DraftInvalid, match="register of places, and it is not here"):
        chosen(places=("Lobby",), register=None)
    bare = replace(REGISTER, axes=())
    with pytest.raises(DraftInvalid, match="has no positions"):
        chosen(area=area(tmp_path, square()), register=bare)


def test_who_signs_reads_where_the_cameras_are() -> None:
    assert places_text(("cam-1", "cam-2", "cam-9"), None) == ""
    assert places_text(("cam-1", "cam-2", "cam-3", "cam-9"), REGISTER) == (
        "1 at Lobby (로비), A; 1 at Lobby (로비), B; 1 at Station/North gate; "
        "1 that the register of places does not list"
    )


# ---------------------------------------------------------------------- by commands


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    data = REGISTER.to_bytes()
    named = replace(made.directory, version=7, form=SECOND, places=REGISTER.digest)
    made.aggregator.trust.accept(named.sign(s.authority(), SECOND).to_bytes())
    (made.folder / "aggregator" / "state" / "places.register").write_bytes(data)
    yield made
    made.close()


@pytest.mark.slow
def test_a_query_by_place_is_signed_with_its_cameras(site: OfficerSite) -> None:
    filed = site.run(
        app, "ana", "file", "--subject", str(site.subject_file("patient-17")), "--place", "로비",
        "--from", "-2h", "--to", "now", "--purpose", "contact tracing", "--yes", "--json",
    )  # fmt: skip
    assert filed.exit_code == 0, filed.output
    assert "--place '로비' takes" in filed.stderr
    assert "Lobby (로비)" in filed.stderr
    query_id = json.loads(filed.stdout)["id"]
    cameras = json.loads(filed.stdout)["query"]["cameras"]
    assert cameras
    assert "places" in site.run(app, "bo", "show", query_id).stdout


@pytest.mark.slow
def test_places_are_listed(site: OfficerSite) -> None:
    listed = site.run(app, "bo", "places")
    assert listed.exit_code == 0, listed.output
    assert "Lobby" in listed.stdout
    assert "1 Harbour Road" in listed.stdout
    values = json.loads(site.run(app, "bo", "places", "--place", "Lobby", "--json").stdout)
    assert values[0]["position"] == {"lat": 37.5, "lon": 126.75}
    refused = site.run(app, "bo", "places", "--place", "Attic")
    assert refused.exit_code == 1
    assert "the register has no place 'Attic'" in refused.stderr
