"""Two of three custodians are enough, one is not; what waits goes on when they are back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from puppet_box import PuppetBox, person, slots_ago
from query_desk import QueryDesk, template_of
from running_site import RunningSite

from protocol.names import SLOT_MS
from protocol.sightings import quantise_template
from protocol.templates import Template

SUBJECT = person(11)


@pytest.fixture(scope="module")
def window(quiet_site: RunningSite) -> tuple[int, int]:
    """A slot in which the subject was before camera 3."""
    slot_ms = slots_ago(3)
    with PuppetBox(quiet_site, "box-3") as box:
        box.show(slot_ms, person(12), SUBJECT)
    quiet_site.wait_stored("cam-3", 2)
    return slot_ms, slot_ms + SLOT_MS


@pytest.fixture
def subject() -> Iterator[list[Template]]:
    yield [template_of(*quantise_template(SUBJECT))]


def test_with_one_custodian_down_the_trace_goes_through(
    quiet_site: RunningSite, desk: QueryDesk, window: tuple[int, int], subject: list[Template]
) -> None:
    case = desk.draft(subject, ["cam-3"], *window)
    with quiet_site.without("c2"):
        found = desk.run(case)
    assert [(c.address.camera, c.subject) for c in found] == [("cam-3", "patient-17")]


def test_with_two_down_nothing_opens_and_the_query_says_why_and_goes_on_later(
    quiet_site: RunningSite, desk: QueryDesk, window: tuple[int, int], subject: list[Template]
) -> None:
    case = desk.draft(subject, ["cam-3"], *window)
    with quiet_site.without("c1", "c3"):
        desk.file(case)
        desk.approve(case)
        shown = desk.wait(case, "blocked")
        assert "1 of 3 custodians granted, 2 are needed, so nothing was opened" in shown["reason"]
        assert "c1: " in shown["reason"]
        assert "cannot be reached" in shown["reason"]
        assert shown["candidates"] == 0
        assert shown["progress"].get("sightings", 0) == 0
        assert desk.sealed(case) == []
        told = quiet_site.local.run("ana", "query", "show", case.id)
        assert "1 of 3 custodians granted, 2 are needed" in " ".join(told.split())
        digest = case.signed.digest
        assert quiet_site.rows("SELECT 1 FROM grants WHERE query_digest = ?", digest) == []
    desk.wait(case, "complete")
    assert [c.address.camera for c in desk.candidates(case)] == ["cam-3"]
