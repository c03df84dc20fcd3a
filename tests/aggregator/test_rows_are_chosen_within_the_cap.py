"""Rows are chosen once, never more than the query may bring, and no camera keeps others out."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from aggregator.matching.found import Found
from aggregator.wanted_rows import WantedRows, mark_of
from protocol.names import SightingName

CAP = 10
DIGEST = bytes(32)


def find(
    camera: str,
    number: int,
    *,
    score: float | None = 0.9,
    through: int | None = None,
    slot: int = 40,
    subject: str = "P-17",
) -> Found:
    name = SightingName(f"box of {camera}", camera, 3, 7, slot, number.to_bytes(8, "big"))
    hit = None if through is None else through.to_bytes(8, "big")
    return Found(subject, name, b"episode.", score, "face", "space", b"", b"", hit)


def finds(camera: str, count: int, *, first: int = 0) -> list[Found]:
    return [find(camera, first + number) for number in range(count)]


def chosen(rows: WantedRows) -> Counter[str]:
    return Counter(name.camera for name in rows.waiting)


def take(
    rows: WantedRows, founds: list[Found], *, more: bool = True, one_camera: bool = False
) -> Counter[str]:
    return rows.take(founds, digest=DIGEST, cap=CAP, one_camera=one_camera, more_may_come=more)


def test_a_camera_that_floods_early_leaves_room_for_who_is_found_later() -> None:
    rows = WantedRows()
    take(rows, finds("cam-1", 4 * CAP))
    take(rows, finds("cam-1", 4 * CAP, first=100))
    assert chosen(rows) == {"cam-1": CAP // 2}
    assert take(rows, finds("cam-2", 3)) == {"cam-1": 3}
    assert chosen(rows) == {"cam-1": CAP // 2, "cam-2": 3}


def test_what_was_held_back_gets_the_room_that_is_left_in_the_end() -> None:
    rows = WantedRows()
    left_out = take(rows, finds("cam-1", CAP + 2))
    left_out += take(rows, finds("cam-2", 1))
    left_out += take(rows, [], more=False)
    assert chosen(rows) == {"cam-1": CAP - 1, "cam-2": 1}
    assert left_out == {"cam-1": 3}
    assert rows.held == []


def test_a_query_of_one_camera_holds_nothing_back() -> None:
    rows = WantedRows()
    assert not take(rows, finds("cam-1", CAP), one_camera=True)
    assert chosen(rows) == {"cam-1": CAP}


def test_at_once_each_camera_gets_its_share() -> None:
    rows = WantedRows()
    take(rows, [*finds("cam-1", 50), *finds("cam-2", 3)], more=False)
    assert chosen(rows) == {"cam-1": CAP - 3, "cam-2": 3}


def test_rows_of_an_episode_go_with_their_hit_or_not_at_all() -> None:
    rows = WantedRows()
    hit, before = find("cam-1", 1), find("cam-1", 2, score=None, through=1, slot=39)
    stray = find("cam-2", 3, score=None, through=99)
    take(rows, [before, hit, stray])
    assert set(rows.waiting) == {hit.name, before.name}


def test_a_row_that_is_found_for_two_is_one_row() -> None:
    rows = WantedRows()
    take(rows, [find("cam-1", 1), find("cam-1", 1, subject="P-18")])
    (row,) = rows.waiting.values()
    assert {found.subject for found in row.founds} == {"P-17", "P-18"}


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(1, 4), st.integers(0, 30), st.floats(0.4, 1.0)), max_size=25
        ),
        max_size=6,
    ),
    st.integers(0, CAP + 3),
)
def test_whatever_comes_no_more_rows_are_chosen_than_may_be(
    passes: list[list[tuple[int, int, float]]], earlier: int
) -> None:
    before = finds("cam-9", earlier)
    rows = WantedRows(earlier=frozenset(mark_of(DIGEST, found.name) for found in before))
    for number, listed in enumerate(passes):
        more = number + 1 < len(passes)
        take(rows, [find(f"cam-{c}", n, score=score) for c, n, score in listed], more=more)
        for name in list(rows.waiting)[::2]:
            rows.open(name)
        assert len({*rows.waiting, *rows.opened}) <= max(0, CAP - earlier)
        assert len({found.name for found in rows.held}) <= CAP
        if more:
            places = Counter(name.camera for name in [*rows.waiting, *rows.opened])
            assert all(count <= CAP // 2 for count in places.values())


def test_what_an_earlier_process_had_released_keeps_its_place_and_needs_no_other() -> None:
    before = finds("cam-1", CAP)
    rows = WantedRows(earlier=frozenset(mark_of(DIGEST, found.name) for found in before))
    assert take(rows, [*before[:3], *finds("cam-2", 2)]) == {"cam-2": 2}
    assert set(rows.waiting) == {found.name for found in before[:3]}
