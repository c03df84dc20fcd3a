"""One still is in memory at a time, wiped when the officer goes on; no score comes before it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from officers.desk.still_viewer import ABSENT, ASKING, FAILED, SHOWN, Seen, Viewer
from officers.desk.views import Gate, gate
from runtime.errors import OperationError

QUERY = "0" * 32
WAIT_S = 30


@dataclass
class Still:
    """What a fetch comes back with."""

    jpeg: bytearray = field(default_factory=lambda: bytearray(b"picture"))
    absent: str | None = None
    final: bool = True
    opened: int = 1
    most: int = 20
    wiped: bool = False

    def close(self) -> None:
        self.wiped = True


class Box:
    """A box that answers when the test lets it."""

    def __init__(self, answer: Still | Exception) -> None:
        self.answer = answer
        self.go = threading.Event()
        self.asked = threading.Event()
        self.done = threading.Event()
        self.cancelled: Callable[[], bool] = lambda: False

    def fetch(self, tell: Callable[[str], None], cancelled: Callable[[], bool]) -> Still:
        self.cancelled = cancelled
        tell("asking box-1")
        self.asked.set()
        assert self.go.wait(WAIT_S)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def finished(self, _seen: Seen) -> None:
        self.done.set()


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    made = Viewer()
    yield made
    made.forget()


def ask(viewer: Viewer, number: int, answer: Still | Exception) -> Box:
    box = Box(answer)
    viewer.ask(QUERY, number, box.fetch, done=box.finished)
    assert box.asked.wait(WAIT_S)
    return box


def ended() -> None:
    """Wait until nothing is fetched any more."""
    for thread in threading.enumerate():
        if thread.name == "still":
            thread.join(WAIT_S)
            assert not thread.is_alive()


def answered(viewer: Viewer, number: int, answer: Still | Exception) -> Seen:
    box = ask(viewer, number, answer)
    box.go.set()
    assert box.done.wait(WAIT_S)
    seen = viewer.seen(QUERY, number)
    assert seen is not None
    return seen


def test_it_is_told_how_far_it_is_and_then_shown(viewer: Viewer) -> None:
    still = Still()
    box = ask(viewer, 2, still)
    assert viewer.seen(QUERY, 2) == Seen(ASKING, "asking box-1")
    assert viewer.jpeg(QUERY, 2) is None
    box.go.set()
    assert box.done.wait(WAIT_S)
    words = "1 of the 20 stills that this query may open are opened."
    assert viewer.seen(QUERY, 2) == Seen(SHOWN, words)
    assert viewer.jpeg(QUERY, 2) == b"picture"
    assert viewer.jpeg(QUERY, 3) is None
    assert viewer.seen("1" * 32, 2) is None


def test_going_on_wipes_it_and_staying_does_not(viewer: Viewer) -> None:
    still = Still()
    answered(viewer, 2, still)
    viewer.leave(QUERY, 2)
    assert not still.wiped
    viewer.leave(QUERY, 3)
    assert still.wiped
    assert viewer.jpeg(QUERY, 2) is None


def test_another_still_takes_the_place_of_the_first(viewer: Viewer) -> None:
    first = Still()
    answered(viewer, 2, first)
    answered(viewer, 3, Still(jpeg=bytearray(b"other")))
    assert first.wiped
    assert viewer.jpeg(QUERY, 3) == b"other"


def test_what_comes_after_the_officer_went_on_is_wiped_unseen(viewer: Viewer) -> None:
    late = Still()
    box = ask(viewer, 2, late)
    answered(viewer, 3, Still(jpeg=bytearray(b"other")))
    assert box.cancelled()
    box.go.set()
    ended()
    assert late.wiped
    assert viewer.jpeg(QUERY, 3) == b"other"
    assert not box.done.is_set(), "nobody is told of it"


def test_locking_wipes_what_is_on_the_screen_and_what_is_on_its_way(viewer: Viewer) -> None:
    still = Still()
    answered(viewer, 2, still)
    viewer.forget()
    assert still.wiped
    assert viewer.seen(QUERY, 2) is None


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Still(absent="the box no longer has it"), ABSENT),
        (Still(absent="the box is offline", final=False), FAILED),
        (OperationError("custodian c3 does not answer"), FAILED),
        (ZeroDivisionError("a fault"), FAILED),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_why_there_is_none_is_told_and_whether_that_stays(
    viewer: Viewer, answer: Still | Exception, state: str
) -> None:
    box = ask(viewer, 2, answer)
    box.go.set()
    ended()
    seen = viewer.seen(QUERY, 2)
    assert seen is not None
    assert seen.state == state
    assert seen.words
    assert viewer.jpeg(QUERY, 2) is None


def test_asking_twice_asks_once(viewer: Viewer) -> None:
    box = ask(viewer, 2, Still())
    again = Box(Still())
    viewer.ask(QUERY, 2, again.fetch)
    box.go.set()
    assert box.done.wait(WAIT_S)
    assert not again.asked.is_set()
    assert viewer.jpeg(QUERY, 2) == b"picture"


# -- the score comes after the look ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("viewed", "decided", "possible", "still", "opens"),
    [
        (False, False, True, None, Gate(score=False, same=False)),
        (False, False, True, True, Gate(score=False, same=True)),
        (True, False, True, True, Gate(score=True, same=True)),
        (True, False, True, None, Gate(score=True, same=False)),
        (False, False, True, False, Gate(score=True, same=True)),
        (False, False, False, None, Gate(score=True, same=True)),
        (False, True, True, None, Gate(score=True, same=False)),
    ],
)
def test_the_score_waits_for_the_view_and_same_waits_for_the_still(
    viewed: bool, decided: bool, possible: bool, still: bool | None, opens: Gate
) -> None:
    assert gate(viewed=viewed, decided=decided, possible=possible, still=still) == opens
