"""Drafts are kept sealed as they were typed, and each step says what is wrong in which field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import protocol_samples as s
import pytest
from officer_site import OfficerSite

from officers import desk
from officers.desk.draft_steps import cost, request_of
from officers.desk.draft_troubles import troubles
from officers.desk.draft_window import window_of
from officers.desk.drafts import (
    DraftNotFound,
    SavedDraft,
    discard,
    drafts,
    new_draft,
    one_each,
    read_draft,
    save,
)
from officers.desk.offers import offers
from officers.desk.officer import Officer, OfficerError
from officers.desk.own_files import OwnFileInvalid
from officers.desk.patients import Patient, patients, take_in
from officers.desk.usual_cases import entered_by, usual_cases
from protocol.policy import parse_policy
from protocol.query import Asked

POLICY = (
    b"""policy_schema = 2
confirmations = 1
contacts = "linked"
live = true
same_place_counts = true
evidence_stills = 8
purposes = ["exercise", "tracing"]
enrolment_without_witness = true
"""
    + s.POLICY_TEXT
)
KEY = s.sealing_key("ana")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("drafts"), policy=POLICY)
    yield made
    made.close()


@pytest.fixture
def ana(site: OfficerSite) -> Officer:
    officer = Officer.load(site.officer("ana"))
    for one in drafts(officer, KEY):
        discard(officer, one.id)
    return officer


@pytest.fixture
def known(site: OfficerSite, ana: Officer) -> tuple[Patient, ...]:
    for name in ("p-1", "p-2"):
        if name not in {one.pseudonym for one in patients(ana, KEY)}:
            take_in(ana, site.subject_file(name).read_bytes(), KEY)
    return patients(ana, KEY)


def whole(**changes: Any) -> SavedDraft:
    now = datetime.now(UTC).astimezone()
    day = now - timedelta(hours=3)
    entered: dict[str, Any] = {
        "patients": ("p-1",),
        "cameras": ("cam-2", "cam-1"),
        "from_day": f"{day:%Y-%m-%d}",
        "from_time": f"{day:%H:%M}",
        "purpose": "where p-1 was, as the exercise has it",
        "purpose_kind": "exercise",
    }
    return SavedDraft("0" * 16, 0, **(entered | changes))


def fields_wrong(officer: Officer, draft: SavedDraft, known: Any) -> dict[str, str]:
    found = troubles(officer, draft, known, now=datetime.now(UTC))
    fields = {one.field for one in found}
    return {field: " ".join(one.words for one in found if one.field == field) for field in fields}


@pytest.mark.slow
def test_what_was_typed_is_there_again_and_nowhere_in_the_clear(ana: Officer) -> None:
    made = new_draft(ana, purpose="sûr, 환자", from_time="25:99", patients=("p-1",))
    assert read_draft(ana, made.id, KEY) == made
    for path in ana.config.state_dir.rglob("*.draft"):
        assert "환자".encode() not in path.read_bytes()
        assert b"p-1" not in path.read_bytes()
    with pytest.raises(OwnFileInvalid, match="does not open"):
        read_draft(ana, made.id, s.sealing_key("dan"))


def test_drafts_are_listed_changed_and_discarded(ana: Officer) -> None:
    one, other = new_draft(ana), new_draft(ana)
    changed = save(ana, replace(one, purpose="again", changed_ms=0))
    assert {draft.id for draft in drafts(ana, KEY)} == {one.id, other.id}
    assert read_draft(ana, one.id, KEY) == changed
    discard(ana, one.id)
    discard(ana, one.id)
    for gone in (one.id, "../../x", "0" * 16):
        with pytest.raises(DraftNotFound, match="not here any more"):
            read_draft(ana, gone, KEY)


def test_a_draft_in_the_place_of_another_does_not_open(ana: Officer) -> None:
    one, other = new_draft(ana), new_draft(ana)
    folder = ana.config.state_dir / "drafts"
    (folder / f"{one.id}.draft").write_bytes((folder / f"{other.id}.draft").read_bytes())
    with pytest.raises(OwnFileInvalid):
        read_draft(ana, one.id, KEY)


def test_who_is_no_investigator_drafts_nothing(site: OfficerSite) -> None:
    with pytest.raises(OfficerError):
        new_draft(Officer.load(site.officer("bo")))


def test_ten_patients_become_a_draft_each(ana: Officer) -> None:
    names = tuple(f"p-{number}" for number in range(10))
    made = one_each(ana, new_draft(ana, patients=names, purpose="outbreak"))
    assert [one.patients for one in made] == [(name,) for name in names]
    assert {one.purpose for one in made} == {"outbreak"}
    assert len(drafts(ana, KEY)) == 10


def test_a_whole_draft_has_nothing_wrong(ana: Officer, known: tuple[Patient, ...]) -> None:
    assert fields_wrong(ana, whole(), known) == {}


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"patients": ()}, "patients", "whom to look for"),
        ({"patients": ("p-77",)}, "patients", "not enrolled here any more"),
        ({"patients": tuple(f"p-{n}" for n in range(11))}, "patients", "at most 10"),
        ({"cameras": ()}, "cameras", "at least one"),
        ({"cameras": ("cam-1", "<b>")}, "cameras", "knows no camera"),
        ({"from_time": ""}, "from_time", "the day and the time"),
        ({"from_day": "31 June"}, "from_day", "no day and time"),
        ({"to_day": "2020-01-01", "to_time": "10:00"}, "to_day", "before it begins"),
        ({"from_day": "2020-01-01"}, "to_day", "windows of 2 d"),
        ({"live": True}, "to_day", "until when to watch"),
        ({"purpose": "  "}, "purpose", "in words why"),
        ({"purpose": "x" * 2001}, "purpose", "in words why"),
        ({"purpose_kind": ""}, "purpose_kind", "which of the policy's"),
        ({"legal_basis": "whim"}, "legal_basis", "legal ground"),
        ({"confirmers": ("mallory",)}, "confirmers", "cannot confirm"),
        ({"continuation": True}, "continuation", "followed by clothes"),
        ({"counts": "after", "afterwards": "50m"}, "afterwards", "quarter hours"),
        ({"stills": "9"}, "stills", "0 to 8"),
        ({"stills": "-1"}, "stills", "0 to 8"),
        ({"valid_days": "15"}, "valid_days", "1 to 14"),
        ({"max_candidates": "¹"}, "max_candidates", "1 to 100"),
    ],
)
def test_what_is_wrong_is_said_of_its_field(
    ana: Officer, known: tuple[Patient, ...], changes: dict[str, Any], field: str, said: str
) -> None:
    assert said in fields_wrong(ana, whole(**changes), known)[field]


def test_the_cost_is_cameras_by_quarter_hours_and_headquarters_word_of_the_rest(
    ana: Officer, known: tuple[Patient, ...]
) -> None:
    now = datetime.now(UTC)
    draft = whole(to_day=f"{now.astimezone():%Y-%m-%d}", to_time="")
    with desk.connect(ana) as session:
        assert cost(session, draft, None, known, now=now).opens == 0
        window = window_of(ana, whole(), now=now)
        told = cost(session, whole(), window, known, now=now)
        of_nobody = cost(session, whole(patients=()), window, known, now=now)
    assert of_nobody.counted is not None
    assert of_nobody.counted.expected_false is None, "clothes would be counted, too"
    assert told.opens == 2 * window.quarter_hours
    assert told.counted is not None
    assert told.counted.sightings == 0
    assert told.counted.expected_false == 0
    assert cost(None, whole(), window, known, now=now).counted is None


def test_a_draft_makes_the_query_that_the_command_would(
    site: OfficerSite, ana: Officer, known: tuple[Patient, ...]
) -> None:
    now = datetime.now(UTC)
    entered = whole(contacts="linked", counts="after", afterwards="3h", valid_days="3")
    (path,) = (one.path for one in known if one.pseudonym == "p-1")
    with desk.connect(ana) as session:
        window = window_of(ana, entered, now=now)
        by_command = desk.Request(
            scope=desk.scope(session, ["cam-1", "cam-2"], window.starts, window.ends),
            subjects=(path,),
            purpose=entered.purpose,
            valid_days=3,
            contacts=True,
            purpose_kind="exercise",
            asks=Asked(linked_contacts=True, same_place_counts=True, afterwards_min=180),
        )
        by_page = request_of(session, entered, known, KEY, now=now)
        assert by_page == by_command
        with closing(desk.draft(session, by_page, KEY)) as made:
            assert made.query.cameras == ("cam-1", "cam-2")
            assert made.query.asks.afterwards_min == 180


def test_options_are_offered_with_their_price_or_the_reason_why_not() -> None:
    held = offers(parse_policy(POLICY))
    assert str(held["linked"].price) == "1 approval more"
    assert held["evidence"].most == 8
    assert "does not permit" in str(held["continuation"].why_not)
    assert held["live"].why_not is None


@pytest.mark.slow
def test_usual_cases_begin_with_what_the_policy_permits() -> None:
    policy, now = parse_policy(POLICY), datetime(2031, 5, 4, 10, 7, tzinfo=UTC)
    cases = {one.name: one for one in usual_cases(policy)}
    assert cases["follow"].why_not is not None
    assert entered_by(policy, "follow", now=now) == {}
    live = entered_by(policy, "live", now=now)
    assert (live["live"], live["from_time"], live["to_time"]) == (True, "10:00", "22:00")
    closed = parse_policy(s.POLICY_TEXT)
    assert "stills" not in entered_by(closed, "infectious", now=now)
    assert entered_by(policy, "contacts", now=now)["contacts"] == "linked"


@pytest.mark.slow
def test_a_draft_of_a_version_to_come_says_so(ana: Officer) -> None:
    made = new_draft(ana)
    path = ana.config.state_dir / "drafts" / f"{made.id}.draft"
    seal = ana.directory.principals["ana"].seal_key
    assert seal is not None
    path.write_bytes(seal.seal(b'{"schema": 2}', purpose="query-draft/1", context=["ana", made.id]))
    with pytest.raises(OwnFileInvalid, match=r"of schema 2.*needs its update"):
        read_draft(ana, made.id, KEY)
    assert drafts(ana, KEY) == ()
