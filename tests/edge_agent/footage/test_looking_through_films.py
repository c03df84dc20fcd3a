"""A passage of films, quarter hour by quarter hour: who was seen, and which seconds were told."""

from __future__ import annotations

from pathlib import Path

import pytest
from film_stand_ins import MinuteEyes, found, pictures

from edge_agent.coverage import View
from edge_agent.footage.found import FoundFile
from edge_agent.footage.planning import Part, Passage
from edge_agent.footage.seconds import Span
from edge_agent.footage.work import Message, PartEnded, Pulse, Seen, look_through
from protocol.names import SLOT_MS

BEGIN_MS = 1_800_000 * 1_000_000 // SLOT_MS * SLOT_MS
MINUTE = 60_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def passage(*films: FoundFile, spans: dict[str, tuple[Span, ...]] | None = None) -> Passage:
    parts = [
        Part(one, b"", (spans or {}).get(one.path.name, ((one.began_ms or 0, one.ends_ms or 0),)))
        for one in films
    ]
    return Passage("hall", "stamped", tuple(parts))


def look(one: Passage, eyes: MinuteEyes | None = None) -> list[Message]:
    return list(look_through(one, eyes=eyes or MinuteEyes(), frames=pictures))


def seen(messages: list[Message]) -> list[Seen]:
    return [one for one in messages if isinstance(one, Seen)]


def minutes(one: Seen) -> list[int]:
    return [(sighting.row.last_ms - BEGIN_MS) // MINUTE for sighting in one.sightings]


@pytest.mark.slow
def test_each_quarter_hour_is_told_once_in_order(folder: Path) -> None:
    messages = look(passage(found(folder / "a.mp4", "hall", BEGIN_MS + 5 * MINUTE, 25)))
    first, second = seen(messages)
    assert (first.number, second.number) == (BEGIN_MS // SLOT_MS, BEGIN_MS // SLOT_MS + 1)
    assert minutes(first) == list(range(5, 15))
    assert minutes(second) == list(range(15, 30))
    assert first.views.count(View.WATCHED) == 600
    assert second.views.count(View.WATCHED) == 900
    assert first.views[:300] == bytes(300)
    ended = [one for one in messages if isinstance(one, PartEnded)]
    assert ended == [PartEnded(0, "")]


@pytest.mark.slow
def test_progress_adds_up_to_what_there_is(folder: Path) -> None:
    messages = look(passage(found(folder / "a.mp4", "hall", BEGIN_MS, 20)))
    pulses = [one for one in messages if isinstance(one, Pulse)]
    assert sum(one.film_ms for one in pulses) == pytest.approx(20 * MINUTE, abs=4000)
    assert sum(one.sightings for one in pulses) == 20


@pytest.mark.slow
def test_a_gap_in_a_film_is_offline_and_one_between_films_is_in_no_count(folder: Path) -> None:
    first = found(folder / "gap.mp4", "hall", BEGIN_MS, 4)
    second = found(folder / "b.mp4", "hall", BEGIN_MS + 6 * MINUTE, 4)
    (one,) = seen(look(passage(first, second)))
    assert one.views.count(View.OFFLINE) == 120 - 61  # a picture speaks for five seconds
    assert one.views.count(View.WATCHED) == 61 + 120 + 240
    assert one.views[240:360] == bytes(120)


def test_only_the_spans_of_the_plan_are_looked_at_and_told(folder: Path) -> None:
    film = found(folder / "a.mp4", "hall", BEGIN_MS, 15)
    spans = (
        (BEGIN_MS + MINUTE, BEGIN_MS + 3 * MINUTE),
        (BEGIN_MS + 10 * MINUTE, BEGIN_MS + 11 * MINUTE),
    )
    eyes = MinuteEyes()
    (one,) = seen(look(passage(film, spans={"a.mp4": spans}), eyes))
    assert minutes(one) == [1, 2, 10]
    assert one.views.count(View.WATCHED) == 180
    assert one.views.count(0) == 720
    assert len(eyes.frames) == 45


def test_every_picture_is_wiped(folder: Path) -> None:
    eyes = MinuteEyes()
    look(passage(found(folder / "a.mp4", "hall", BEGIN_MS, 2)), eyes)
    assert len(eyes.frames) == 30
    assert not any(frame.image.any() for frame in eyes.frames)


def test_a_film_that_breaks_off_is_told_to_there_and_the_next_is_looked_at(folder: Path) -> None:
    first = found(folder / "broken.mp4", "hall", BEGIN_MS, 4)
    second = found(folder / "b.mp4", "hall", BEGIN_MS + 4 * MINUTE, 4)
    messages = look(passage(first, second))
    (one,) = seen(messages)
    assert minutes(one) == [0, 1, 4, 5, 6, 7]
    assert [end.trouble for end in messages if isinstance(end, PartEnded)] == [
        "It breaks off in the middle.",
        "",
    ]


@pytest.mark.parametrize("name", ["unreadable.mp4", "empty.mp4"])
def test_a_film_without_a_picture_is_named_and_nothing_is_told_of_it(
    folder: Path, name: str
) -> None:
    film = found(folder / name, "hall", BEGIN_MS, 0.001 if name == "empty.mp4" else 4)
    messages = look(passage(film))
    (end,) = [one for one in messages if isinstance(one, PartEnded)]
    assert end.trouble
    assert not any(one.views.strip(b"\0") or one.sightings for one in seen(messages))


@pytest.mark.slow
def test_who_is_told_of_late_is_in_the_quarter_hour_that_is_open(folder: Path) -> None:
    class Slow(MinuteEyes):
        def expire(self, now_ms: int) -> list:  # type: ignore[type-arg]
            return [] if now_ms < BEGIN_MS + 16 * MINUTE else super().expire(now_ms)

    first, second = seen(
        look(passage(found(folder / "a.mp4", "hall", BEGIN_MS + 13 * MINUTE, 7)), Slow())
    )
    assert minutes(first) == []
    assert minutes(second) == [13, 14, 15, 16, 17, 18, 19]


@pytest.mark.slow
def test_when_it_is_stopped_nothing_more_is_told(folder: Path) -> None:
    film = passage(found(folder / "a.mp4", "hall", BEGIN_MS, 30))
    eyes = MinuteEyes()
    messages = look_through(
        film, eyes=eyes, frames=pictures, stopped=lambda: len(eyes.frames) > 20 * 15
    )
    assert [one.number for one in seen(list(messages))] == [BEGIN_MS // SLOT_MS]
