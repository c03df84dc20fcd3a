"""Several are asked at once; what one says after it was waited for is handed on, once."""

from __future__ import annotations

import threading
from threading import Event, Lock, get_ident

import pytest
from structlog.testing import capture_logs
from waiting import DEADLINE_S, wait_for

from aggregator.asking import Panel, Patience

HASTY = Patience(least_s=0.0, most_s=0.0)


def test_an_answer_that_comes_after_the_patience_is_over_is_handed_on() -> None:
    panel: Panel[str] = Panel(HASTY)
    go, came = Event(), list[tuple[str, str, bool]]()

    def slow() -> str:
        assert go.wait(DEADLINE_S)
        return "yes"

    here = get_ident()
    found = panel.ask(
        {"c1": slow},
        enough=lambda _: False,
        late=lambda name, answer: came.append((name, answer, get_ident() == here)),
    )
    assert (found, came) == ({}, [])
    go.set()
    wait_for(lambda: came, "the late answer", every_s=0.01)
    assert came == [("c1", "yes", False)]


def test_a_party_is_not_asked_again_until_its_late_answer_was_taken() -> None:
    panel: Panel[str] = Panel(HASTY)
    go, taking, taken = Event(), Event(), Event()

    def slow() -> str:
        assert go.wait(DEADLINE_S)
        return "yes"

    def take(_name: str, _answer: str) -> None:
        taking.set()
        assert taken.wait(DEADLINE_S)

    panel.ask({"c1": slow}, enough=lambda _: False, late=take)
    go.set()
    assert taking.wait(DEADLINE_S)
    asked = Event()

    def ask() -> str:
        asked.set()
        return "again"

    assert panel.ask({"c1": ask}, enough=lambda _: False) == {}
    assert not asked.is_set()
    taken.set()
    wait_for(
        lambda: panel.ask({"c1": ask}, enough=lambda _: False) or asked.is_set(),
        "that it is asked again",
        every_s=0.01,
    )


def test_who_cannot_take_a_late_answer_ends_nothing() -> None:
    panel: Panel[str] = Panel(HASTY)
    go = Event()

    def slow() -> str:
        assert go.wait(DEADLINE_S)
        return "yes"

    def refuse(_name: str, _answer: str) -> None:
        raise RecursionError("too deep")

    with capture_logs() as logged:
        panel.ask({"c1": slow}, enough=lambda _: False, late=refuse)
        go.set()
        wait_for(lambda: len(logged) > 1, "the log", every_s=0.01)
    assert [entry["event"] for entry in logged] == ["no_answer_in_time", "late_answer_lost"]
    patient: list[str] = []
    wait_for(
        lambda: (
            panel.ask(
                {"c1": lambda: "again"},
                enough=lambda _: False,
                late=lambda _name, answer: patient.append(answer),
            )
            or patient
        ),
        "that it can be asked again",
        every_s=0.01,
    )


def test_an_answer_that_comes_just_as_the_patience_ends_is_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    panel: Panel[str] = Panel(HASTY)
    go, late = Event(), list[str]()

    def slow() -> str:
        assert go.wait(DEADLINE_S)
        return "yes"

    class Unhurried:
        """A log that is written so slowly that the answer is there before the next step."""

        def warning(self, event: str, **_: object) -> None:
            assert event == "no_answer_in_time"
            go.set()
            for thread in threading.enumerate():
                if thread.name == "ask-c1":
                    thread.join(DEADLINE_S)

    monkeypatch.setattr("aggregator.asking._log", Unhurried())
    found = panel.ask(
        {"c1": slow}, enough=lambda _: False, late=lambda _name, answer: late.append(answer)
    )
    assert (found, late) == ({"c1": "yes"}, [])


@pytest.mark.slow
def test_no_answer_is_lost_or_told_twice_however_short_the_patience_is() -> None:
    panel: Panel[int] = Panel(HASTY)
    lock, said, in_time, late = Lock(), list[int](), list[int](), list[int]()

    def say() -> int:
        with lock:
            said.append(len(said))
            return said[-1]

    def take(_name: str, answer: int) -> None:
        with lock:
            late.append(answer)

    for _ in range(500):
        found = panel.ask({"c1": say, "c2": say}, enough=lambda got: len(got) > 0, late=take)
        in_time += found.values()

    def all_told() -> bool:
        with lock:
            return len(in_time) + len(late) >= len(said)

    wait_for(all_told, "every answer", every_s=0.01)
    assert sorted(in_time + late) == said
