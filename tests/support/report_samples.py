"""A made-up query with a way, contacts, gaps of watching and approvals, for reports in tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import protocol_samples as s
from candidates import candidate_of

from officers.desk.case import Case
from officers.desk.case_files import CaseFile
from officers.desk.export_forms import Report
from officers.desk.forms.around import Around
from officers.desk.graded import GradedPerson, GradedTrace
from officers.desk.grading import grade
from officers.desk.grading_rules import rules_of
from officers.desk.persons import persons_of
from officers.desk.report.gathering import Approved, Gathered, Head
from officers.desk.report.plan import Plan
from officers.desk.traces import Numbered, traces_of
from protocol.keytree import FOLLOWED
from protocol.names import SLOT_MS, CameraAddress
from protocol.places import GLOBE, CameraPlace, Places
from protocol.query import Query
from protocol.results import CONFIRMED, Candidate
from protocol.sightings import Encounter, MaskStatus
from protocol.watching import NO_SEGMENT, Watching

SEOUL = ZoneInfo("Asia/Seoul")
CAMERAS = tuple(f"cam-{number}" for number in range(1, 7))
BEGIN_MS = s.NOW_MS // SLOT_MS * SLOT_MS
SLOTS = 16
PLACES = Places(
    bytes(32),
    GLOBE,
    {
        name: CameraPlace(name, place, position, {"ko": korean}, indoor=True, room=room)
        for name, place, korean, position, room in (
            ("cam-1", "City Hall", "서울시청", (37.56637, 126.97794), "lobby"),
            ("cam-2", "Station, line 2", "시청역 2호선", (37.56495, 126.97722), None),
            ("cam-3", "Market", "남대문시장", (37.55927, 126.97763), None),
            ("cam-4", "Clinic", "중구보건소", (37.56345, 126.99702), None),
            ("cam-5", "Bus stop", "을지로 정류장", (37.56620, 126.98500), None),
            ("cam-6", "Library", "도서관", None, None),
        )
    },
)
PLAN = Plan((((126.970, 37.566), (127.0, 37.5655)), ((126.9775, 37.55), (126.9785, 37.58))))


def candidate(
    camera: str, from_s: int, to_s: int, *met: Encounter, modality: str = "face"
) -> Candidate:
    return candidate_of(
        subject="P-17",
        address=CameraAddress(s.SITE, f"box-{camera[-1]}", camera),
        sighting_id=s.fixed(f"{camera} {from_s}", 8),
        first_seen_ms=BEGIN_MS + from_s * 1000,
        last_seen_ms=BEGIN_MS + to_s * 1000,
        mask=MaskStatus.UNMASKED if from_s < 600 else MaskStatus.MASKED,
        mask_confidence=0.97,
        quality=0.8,
        modality=modality,
        model=s.MODEL,
        score=0.81,
        log10_lr=None if modality == FOLLOWED else 4.1,
        encounters=met,
    )


def report(*, by_clothes: bool = True) -> Report:
    """P-17 at four places, met by four people, once found by clothes."""
    seen = [
        candidate("cam-1", 60, 260, Encounter(b"person-a", 0.8, 190.0, MaskStatus.UNMASKED, 0.95),
                  Encounter(b"person-b", 1.9, 20.0, MaskStatus.MASKED, 0.9)),
        candidate("cam-2", 700, 760),
        candidate("cam-4", 3600, 5100,
                  Encounter(b"person-c", 1.1, 1320.0, MaskStatus.UNMASKED, 0.99)),
        candidate("cam-6", 6400, 6410, Encounter(b"person-d", None, 4.0, MaskStatus.UNKNOWN, 0)),
        candidate("cam-3", 9000, 9050, modality=FOLLOWED if by_clothes else "face"),
        candidate("cam-1", 12000, 12060),
    ]  # fmt: skip
    items = [
        Numbered(number, bytes([number]) * 16, one, CONFIRMED, needed=2,
                 said={"ana": CONFIRMED, "dan": CONFIRMED})
        for number, one in enumerate(seen, start=1)
    ]  # fmt: skip
    return Report(
        query(), bytes(range(32)), "ana", "complete", tuple(traces_of(["P-17"], items)),
        BEGIN_MS + SLOTS * SLOT_MS, watching=watching(),
    )  # fmt: skip


def query(**changed: Any) -> Query:
    return s.query(
        cameras=CAMERAS, window_from_ms=BEGIN_MS, window_to_ms=BEGIN_MS + SLOTS * SLOT_MS,
        purpose="patient 17, measles, traced with consent", **changed,
    )  # fmt: skip


def watching() -> Watching:
    """Two cameras missed some of it."""
    by_slot = np.full((len(CAMERAS), SLOTS), 900, np.uint16)
    by_slot[1, 4:8] = NO_SEGMENT
    by_slot[4, 2:4], by_slot[4, 9] = 0, 420
    seconds = np.zeros((len(CAMERAS), 8), np.uint32)
    seconds[:, 0] = np.where(by_slot == NO_SEGMENT, 0, by_slot).sum(axis=1)
    return Watching(BEGIN_MS, BEGIN_MS + SLOTS * SLOT_MS, CAMERAS, seconds, by_slot)


def around(of: Report, *, language: str = "en") -> Around:
    rules = rules_of("measles")
    (trace,) = of.traces
    contacts = tuple(
        GradedPerson(one, grade(one, rules, indoor=lambda _: True, window=None))
        for one in persons_of(trace)
    )
    case = CaseFile("P-17", preset="measles")
    return Around(
        zone=SEOUL, places=PLACES, officer="ana", language=language,
        graded=(GradedTrace("P-17", case, rules, None, contacts),),
    )  # fmt: skip


def gathered(*, language: str = "en", **changed: Any) -> Gathered:
    made = report()
    case = Case(made.query, made.digest, "ana", b"")
    told = Gathered(
        case=case,
        report=made,
        around=around(made, language=language),
        officer="ana",
        policy_version=3,
        needed=2,
        approvals=(Approved("bo", s.NOW_MS), Approved("cy", s.NOW_MS + 60_000)),
        approvals_needed=2,
        heads=(Head("aggregator", 41, s.fixed("root a", 32)), Head("c1", 12, s.fixed("root c", 32)),
               Head("c3", silence="cannot reach it")),
        plan=PLAN,
    )  # fmt: skip
    return replace(told, **changed)
