"""What is imported of which files, and why the rest is not: each second of a camera once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edge_agent.footage import seconds as s
from edge_agent.footage.desk import Standing
from edge_agent.footage.found import FoundFile
from edge_agent.footage.ledger import Known
from edge_agent.footage.planning import Fate, Film, Hours, Plan, plan
from protocol.names import EPOCH_MS, SLOT_MS
from protocol.v2.header import STAMPED, STATED

DAY = 20_700
NOON_MS = DAY * EPOCH_MS + 12 * 3_600_000
NOW_MS = NOON_MS + EPOCH_MS
MINUTE = 60_000
NOON = NOON_MS // SLOT_MS


def film(
    name: str = "a.mp4",
    *,
    at_ms: int = NOON_MS,
    minutes: float = 15,
    camera: str | None = "hall",
    source: str = STAMPED,
    known: Known | None = None,
    trouble: str = "",
) -> Film:
    file = FoundFile(
        Path(name), camera, at_ms, minutes * 60, "h264", 1, source, trouble, 25.0, 640, 360
    )
    return Film(file, b"\1" * 32, known)


def standing(*days: int, recordings: tuple[str, ...] = ("hall", "door")) -> Standing:
    return Standing("demo", "box-1", recordings, frozenset(days or (DAY, DAY + 1)), {}, True)


def planned(*films: Film, told: Mapping[str, Hours] | None = None, **options: object) -> Plan:
    def hours(camera: str, _first: int, _last: int) -> Hours:
        return (told or {}).get(camera, Hours())

    how: dict[str, object] = {"standing": standing(), "now_ms": NOW_MS, **options}
    return plan(films, hours=hours, **how)  # type: ignore[arg-type]


def spans(one: Plan) -> dict[str, list[s.Span]]:
    """Of each file, in minutes after noon."""
    return {
        part.file.path.name: [
            ((a - NOON_MS) // MINUTE, (b - NOON_MS) // MINUTE) for a, b in part.spans
        ]
        for passage in one.passages
        for part in passage.parts
    }


def test_a_film_is_imported_whole() -> None:
    one = planned(film())
    assert [verdict.fate for verdict in one.verdicts] == [Fate.IMPORT]
    assert spans(one) == {"a.mp4": [(0, 15)]}
    assert one.seconds == 900
    assert one.passages[0].slots() == [NOON]


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (film(trouble="It has no picture."), "It has no picture."),
        (film(camera=None), "which camera"),
        (film(source=""), "when it began"),
        (film(camera="cellar"), "sealtrace box recordings DIR box-1 --camera cellar"),
        (film(camera="cellar"), "say --camera cellar="),
        (film(at_ms=NOW_MS), "--clock-offset"),
        (film(at_ms=NOON_MS - 40 * EPOCH_MS), "older than what the site keeps"),
    ],
)
def test_a_film_that_cannot_be_imported_is_refused_at_once(one: Film, why: str) -> None:
    found = planned(one)
    assert not found.passages
    (verdict,) = found.verdicts
    assert verdict.fate is Fate.REFUSED
    assert why in verdict.why


def test_without_any_custodians_keys_nothing_is_imported_and_it_is_said_why() -> None:
    none = Standing("demo", "box-1", ("hall",), frozenset(), {}, False)
    (verdict,) = planned(film(), standing=none).verdicts
    assert verdict.fate is Fate.REFUSED
    assert "no custodians' day keys are known here yet" in verdict.why


def test_of_a_film_over_midnight_the_day_that_has_keys_is_imported() -> None:
    late = film(at_ms=DAY * EPOCH_MS - 10 * MINUTE, minutes=20)
    one = planned(late)
    (verdict,) = one.verdicts
    assert verdict.fate is Fate.PARTLY
    assert "10 min not: " in verdict.why
    assert one.passages[0].parts[0].spans == ((DAY * EPOCH_MS, DAY * EPOCH_MS + 10 * MINUTE),)


def test_of_a_film_that_says_it_began_years_ago_the_days_without_keys_are_said_once() -> None:
    years = film(at_ms=NOON_MS - 3000 * EPOCH_MS, minutes=3000 * 24 * 60)
    one = planned(years)
    (verdict,) = one.verdicts
    assert verdict.fate is Fate.PARTLY
    assert verdict.why.count("older than what the site keeps") == 1
    assert len(verdict.why) < 500
    assert one.passages[0].parts[0].spans[0][0] == DAY * EPOCH_MS


def test_where_two_films_of_a_camera_overlap_the_earlier_one_counts() -> None:
    later = film("b.mp4", at_ms=NOON_MS + 10 * MINUTE, minutes=10)
    one = planned(later, film("a.mp4"))
    assert spans(one) == {"a.mp4": [(0, 15)], "b.mp4": [(15, 20)]}
    assert [verdict.fate for verdict in one.verdicts] == [Fate.PARTLY, Fate.IMPORT]
    assert "5 min in an earlier file of the camera: counted once" in one.verdicts[0].why


def test_a_film_within_another_of_its_camera_brings_nothing_new() -> None:
    inner = film("b.mp4", at_ms=NOON_MS + MINUTE, minutes=5)
    one = planned(film("a.mp4"), inner)
    assert spans(one) == {"a.mp4": [(0, 15)]}
    assert one.verdicts[1].fate is Fate.NOTHING_NEW


def test_films_of_two_cameras_do_not_take_from_each_other() -> None:
    one = planned(film("a.mp4"), film("b.mp4", camera="door"))
    assert spans(one) == {"a.mp4": [(0, 15)], "b.mp4": [(0, 15)]}


def test_a_film_that_was_imported_brings_nothing_new() -> None:
    known = Known(NOON_MS, NOW_MS - 1000)
    (verdict,) = planned(film(known=known)).verdicts
    assert verdict.fate is Fate.NOTHING_NEW
    assert "imported before, on " in verdict.why


def test_a_film_that_was_imported_as_of_another_time_is_said_to_be() -> None:
    known = Known(NOON_MS - 200_000, NOW_MS - 1000)
    (verdict,) = planned(film(known=known)).verdicts
    assert verdict.fate is Fate.NOTHING_NEW
    assert "--anyway imports it once more" in verdict.why
    assert planned(film(known=known), anyway=True).seconds == 900


def test_what_was_imported_of_a_film_before_a_kill_is_not_looked_at_again() -> None:
    told = {"hall": Hours(recorded={NOON: s.WHOLE})}
    one = planned(film(minutes=30), told=told)
    assert spans(one) == {"a.mp4": [(15, 30)]}
    (verdict,) = one.verdicts
    assert verdict.why == "15 min imported before"


def seen_live(minutes: int) -> dict[str, Hours]:
    return {"hall": Hours(live={NOON: s.between(NOON, NOON_MS, NOON_MS + minutes * MINUTE)})}


def test_what_this_box_watched_live_is_refused_to_the_second() -> None:
    assert spans(planned(film(), told=seen_live(5))) == {"a.mp4": [(5, 15)]}
    (verdict,) = planned(film(), told=seen_live(15)).verdicts
    assert verdict.fate is Fate.REFUSED
    assert "15 min watched live by this box" in verdict.why


def test_what_another_box_told_of_is_refused_by_quarter_hours() -> None:
    told = {"hall": Hours(elsewhere={NOON})}
    assert spans(planned(film(minutes=20), told=told)) == {"a.mp4": [(15, 20)]}


def test_it_is_said_of_which_cameras_headquarters_told_nothing() -> None:
    told = {"hall": Hours(elsewhere=None)}
    one = planned(film(), film("b.mp4", camera="door"), told=told)
    assert one.unasked == ("hall",)
    assert len(one.passages) == 2


@pytest.mark.parametrize("told", [seen_live(15), {"hall": Hours(elsewhere={NOON})}])
def test_anyway_imports_what_was_watched_live(told: dict[str, Hours]) -> None:
    assert spans(planned(film(), told=told, anyway=True)) == {"a.mp4": [(0, 15)]}


def test_nothing_is_imported_twice_even_anyway() -> None:
    told = {"hall": Hours(recorded={NOON: s.WHOLE})}
    assert not planned(film(), told=told, anyway=True).passages


def names(one: Plan) -> list[list[str]]:
    return [[part.file.path.name for part in passage.parts] for passage in one.passages]


def test_films_that_follow_one_another_are_looked_at_as_one() -> None:
    row = [film(f"{n}.mp4", at_ms=NOON_MS + n * 5 * MINUTE + n, minutes=5) for n in range(6)]
    assert names(planned(*reversed(row))) == [[f"{n}.mp4" for n in range(6)]]


@pytest.mark.parametrize(
    "second",
    [
        film("b.mp4", at_ms=NOON_MS + 16 * MINUTE),
        film("b.mp4", at_ms=NOON_MS + 15 * MINUTE, source=STATED),
        film("b.mp4", at_ms=NOON_MS + 15 * MINUTE, camera="door"),
    ],
)
def test_films_apart_are_looked_at_apart(second: Film) -> None:
    assert names(planned(film("a.mp4"), second)) == [["a.mp4"], ["b.mp4"]]


def test_several_processes_share_a_long_row_of_films() -> None:
    row = [film(f"{n:02}.mp4", at_ms=NOON_MS + n * 15 * MINUTE) for n in range(40)]
    assert len(planned(*row, workers=1).passages) == 1
    shared = planned(*row, workers=4).passages
    assert 4 <= len(shared) <= 10
    assert min(passage.seconds for passage in shared[:-1]) >= 1800


@pytest.mark.parametrize("build", [lambda: film(minutes=0), lambda: film(at_ms=-1)])
def test_absurd_films_do_not_break_the_plan(build: Callable[[], Film]) -> None:
    assert len(planned(build()).verdicts) == 1
