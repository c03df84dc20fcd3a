"""Ways on a map or plan: all stays on the sheet, whatever positions and plans say."""

from __future__ import annotations

import math
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from officers.desk.report.drawing import WIDTH_MM, Box, Disc, Drawing, Label, Path
from officers.desk.report.plan import Plan
from officers.desk.report.route_map import Sheet, Stop, off_map, route_map
from officers.desk.report.words import Words

WORDS = Words("en", UTC)
DEGREES = st.tuples(st.floats(-180, 180), st.floats(-90, 90))
METRES = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))


def points(of: Drawing) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for shape in of.shapes:
        match shape:
            case Path(corners):
                found += corners
            case Disc(centre):
                found.append(centre)
            case Box(corner, width, height):
                found += [corner, (corner[0] + width, corner[1] + height)]
            case Label(at):
                found.append(at)
    return found


def labels(of: Drawing) -> list[str]:
    return [shape.text for shape in of.shapes if isinstance(shape, Label)]


def stops(*cameras: str) -> list[Stop]:
    return [Stop(camera, f"place of {camera}") for camera in cameras]


@given(st.lists(DEGREES, min_size=1, max_size=8), st.lists(DEGREES, min_size=2, max_size=6))
def test_all_is_on_the_sheet_wherever_on_the_globe(
    places: list[tuple[float, float]], wall: list[tuple[float, float]]
) -> None:
    positions = {f"cam-{at}": place for at, place in enumerate(places)}
    sheet = Sheet(positions, True, plan=Plan((tuple(wall),)))
    drawn = route_map(stops(*positions), sheet, WORDS)
    for x, y in points(drawn):
        assert math.isfinite(x) and math.isfinite(y)
        assert -60 <= x <= WIDTH_MM + 60
        assert -1 <= y <= drawn.height + 1
    marks = [shape for shape in drawn.shapes if isinstance(shape, Disc)]
    assert all(0 <= mark.centre[0] <= WIDTH_MM for mark in marks)


@given(st.lists(METRES, min_size=1, max_size=8))
def test_a_plan_in_metres_has_no_north(places: list[tuple[float, float]]) -> None:
    positions = {f"cam-{at}": place for at, place in enumerate(places)}
    drawn = route_map(stops(*positions), Sheet(positions, False), WORDS)
    assert "N" not in labels(drawn)
    assert any(text.endswith((" m", " km")) for text in labels(drawn))


def test_stops_have_numbers_in_order_of_time_and_one_mark_a_place() -> None:
    positions = {"a": (127.0, 37.5), "b": (127.01, 37.5)}
    drawn = route_map(stops("a", "b", "a"), Sheet(positions), WORDS)
    assert {"1,3", "2"} <= set(labels(drawn))
    assert sum(isinstance(shape, Disc) for shape in drawn.shapes) == 2


def test_who_was_found_by_clothes_has_a_hollow_mark_and_a_dashed_way() -> None:
    positions = {"a": (127.0, 37.5), "b": (127.01, 37.5)}
    way = [Stop("a", "A"), Stop("b", "B", by_appearance=True)]
    drawn = route_map(way, Sheet(positions), WORDS)
    assert any(isinstance(one, Path) and one.dashed for one in drawn.shapes)
    sure = route_map(stops("a", "b"), Sheet(positions), WORDS)
    assert not any(isinstance(one, Path) and one.dashed for one in sure.shapes)


def test_without_a_position_the_stops_stand_in_a_row() -> None:
    drawn = route_map(stops(*"abcdefgh"), Sheet({}), WORDS)
    assert [text for text in labels(drawn) if text.isdigit()] == [str(n) for n in range(1, 9)]
    assert off_map(stops("a", "b"), Sheet({})) == []


def test_stops_without_a_position_are_named_beside_the_map() -> None:
    sheet = Sheet({"a": (127.0, 37.5)})
    assert off_map(stops("a", "b", "b"), sheet) == ["place of b"]
    assert "place of b" not in labels(route_map(stops("a", "b"), sheet, WORDS))


@pytest.mark.parametrize("count", [2, 12])
def test_labels_stand_on_no_other_label(count: int) -> None:
    positions = {
        f"cam-{at}": (127 + at % 4 * 0.001, 37.5 + at // 4 * 0.0008) for at in range(count)
    }
    drawn = route_map(stops(*positions), Sheet(positions), WORDS)
    boxes = [shape for shape in drawn.shapes if isinstance(shape, Box)]
    for at, one in enumerate(boxes):
        for other in boxes[at + 1 :]:
            assert (
                one.corner[0] + one.width <= other.corner[0] + 1
                or other.corner[0] + other.width <= one.corner[0] + 1
                or one.corner[1] + one.height <= other.corner[1] + 1
                or other.corner[1] + other.height <= one.corner[1] + 1
            )
