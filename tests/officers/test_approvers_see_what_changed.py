"""Before an approver signs: what differs from the last query of the same case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import protocol_samples as s
import pytest
from officer_site import OfficerSite
from store_file import altering

from officers import desk
from officers.desk.case import CaseInvalid
from officers.desk.differences import LESS, MORE, OTHER, differences
from protocol.names import SLOT_MS
from protocol.query import Asked

BEFORE = replace(s.query(), version=2, cameras=("cam-1",), thresholds={s.MODEL: 0.6})


def told(**changes: object) -> list[tuple[str, str]]:
    now = replace(BEFORE, **changes)  # type: ignore[arg-type]
    return [(one.kind, str(one.words)) for one in differences(BEFORE, now)]


def test_the_same_again_differs_in_nothing() -> None:
    assert told(query_id=bytes(16), requested_at_ms=BEFORE.requested_at_ms) == []


def test_more_cameras_and_longer_hours_are_more() -> None:
    asked = told(
        cameras=("cam-1", "cam-2", "cam-3"), window_to_ms=BEFORE.window_to_ms + 2 * SLOT_MS
    )
    quarters = (BEFORE.window_to_ms - BEFORE.window_from_ms) // SLOT_MS
    assert asked == [
        (MORE, "2 cameras more: cam-2, cam-3"),
        (MORE, "ends 30 min later"),
        (MORE, f"{3 * (quarters + 2)} camera quarter hours in all, before {quarters}"),
    ]


def test_fewer_cameras_and_shorter_hours_are_less() -> None:
    wide = replace(
        BEFORE, cameras=("cam-1", "cam-2"), window_from_ms=BEFORE.window_from_ms - SLOT_MS
    )
    assert [(one.kind, str(one.words)) for one in differences(wide, BEFORE)][:2] == [
        (LESS, "1 camera less: cam-2"),
        (LESS, "begins 15 min later"),
    ]


def test_hours_that_do_not_meet_are_other_hours() -> None:
    day = 96 * SLOT_MS
    (one,) = told(
        window_from_ms=BEFORE.window_from_ms + day, window_to_ms=BEFORE.window_to_ms + day
    )
    assert one[0] == OTHER
    assert one[1].startswith("other hours: ")


def test_a_lower_threshold_is_more_and_says_what_it_means() -> None:
    assert told(thresholds={s.MODEL: 0.5}) == [
        (MORE, "threshold 0.500, before 0.600: more is found, and more strangers")
    ]
    assert told(thresholds={s.MODEL: 0.7})[0][0] == LESS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"live": not BEFORE.live}, "while it runs"),
        ({"contacts": not BEFORE.contacts}, "who was near"),
        ({"asks": Asked(continuation=True)}, "follows who is confirmed by their clothes"),
        ({"asks": Asked(same_place_counts=True)}, "counts how many people were there"),
        ({"asks": Asked(evidence_stills=3)}, "asks for stills"),
        ({"confirmers": ("dan",)}, "dan reads the results too"),
        ({"legal_basis": "statutory-order"}, "another legal ground"),
        ({"purpose_kind": "measles"}, "another purpose of the policy"),
        ({"purpose": "all else"}, f"before: “{BEFORE.purpose}”"),
        ({"policy_digest": bytes(32)}, "another policy"),
        ({"max_candidates": BEFORE.max_candidates + 1}, "candidates, before"),
        ({"modalities": ("face", "appearance")}, "clothes and build too"),
        ({"not_after_ms": BEFORE.not_after_ms + 3 * 86_400_000}, "days, before"),
    ],
)
def test_each_thing_that_is_asked_otherwise_is_told(changes: dict[str, object], words: str) -> None:
    (one,) = told(**changes)
    assert words in one[1]


def test_another_consent_and_other_templates_of_one_pseudonym_are_told() -> None:
    (subject,) = BEFORE.subjects
    other = replace(subject, consent_reference="C-2")
    (one,) = told(subjects=(other,))
    assert "another consent or order: “C-2”, before “" in one[1]


# ---------------------------------------------------------------------- over a site


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


def filed(site: OfficerSite, pseudonym: str, *cameras: str) -> str:
    ana = desk.Officer.load(site.officer("ana"))
    now = datetime.now(UTC)
    with desk.connect(ana) as session:
        scope = desk.scope(session, cameras, now - timedelta(hours=1), now)
        asked = desk.Request(scope, (site.subject_file(pseudonym),), purpose="tracing")
        with closing(desk.draft(session, asked, s.sealing_key("ana"))) as draft:
            signed = desk.to_file(session, draft).by_key(s.signing_key("ana"))
            return desk.file(session, draft, signed).id


def compared(site: OfficerSite, query_id: str) -> desk.Compared:
    with desk.connect(desk.Officer.load(site.officer("bo"))) as session:
        return desk.compare_with_last(session, session.case(query_id))


@pytest.mark.slow
def test_a_query_is_compared_with_the_last_that_looks_for_the_same_subject(
    site: OfficerSite,
) -> None:
    first = filed(site, "P-17", "cam-1")
    filed(site, "P-18", "cam-1", "cam-2")
    last = filed(site, "P-17", "cam-1", "cam-2")
    found = compared(site, last)
    assert found.earlier is not None
    assert found.earlier.id == first
    assert found.state == "awaiting-approvals"
    assert f"compared with {first[:8]} of ana" in found.words
    assert (MORE, "1 camera more: cam-2") in [(one.kind, str(one.words)) for one in found.rows]
    assert compared(site, first).earlier is None, "what came later is not the last before"
    assert "no earlier query" in compared(site, first).words


@pytest.mark.slow
def test_an_earlier_query_that_is_not_what_it_is_said_to_be_is_not_compared_with(
    site: OfficerSite,
) -> None:
    first, last = filed(site, "P-17", "cam-1"), filed(site, "P-17", "cam-2")
    record = site.record(first)
    with altering(site.aggregator.store) as connection:
        connection.execute(
            "UPDATE queries SET signed = ? WHERE digest = ?",
            [site.record(last).signed, record.digest],
        )
    with pytest.raises(CaseInvalid, match="handed out"):
        compared(site, last)
