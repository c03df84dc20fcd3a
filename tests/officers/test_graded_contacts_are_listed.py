"""A case file is sealed to its investigator, and the contact list is graded by it."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import protocol_samples as s
import pytest
from candidates import candidate_of
from officer_site import OfficerSite
from typer.testing import Result

from officers import query_cli, trace_cli
from officers.desk.case_files import CaseFileInvalid, read_case
from officers.desk.officer import Officer
from protocol.names import CameraAddress
from protocol.results import Candidate
from protocol.sightings import Encounter, MaskStatus
from sealtrace.subject_cli import app as subject_app

TODAY = datetime.fromtimestamp(s.NOW_MS / 1000, UTC).date()
LONG, SHORT = b"long-met", b"shortmet"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


def candidate(minutes: int, *met: Encounter) -> Candidate:
    return candidate_of(
        subject="P-17",
        address=CameraAddress(s.SITE, "box-1", "cam-1"),
        sighting_id=os.urandom(8),
        first_seen_ms=s.NOW_MS,
        last_seen_ms=s.NOW_MS + minutes * 60_000,
        mask=MaskStatus.UNMASKED,
        mask_confidence=0.93,
        quality=0.8,
        modality="face",
        model=s.MODEL,
        score=0.8,
        log10_lr=3.0,
        encounters=met,
    )


@pytest.fixture(scope="module")
def query_id(site: OfficerSite) -> str:
    """A query whose one hit lasted twenty minutes, with two people near."""
    printed = site.run(
        query_cli.app, "ana", "file", "--subject", str(site.subject_file("P-17")), "--all-cameras",
        "--from", "-2h", "--to", "now", "--purpose", "contact tracing", "--yes", "--json",
    )  # fmt: skip
    query_id = str(json.loads(printed.stdout)["id"])
    one = candidate(
        20,
        Encounter(SHORT, 1.2, 60.0, MaskStatus.MASKED, 0.95),
        Encounter(LONG, 1.5, 1080.0, MaskStatus.UNMASKED, 0.9),
    )
    site.add_candidate(one, site.record(query_id).digest)
    assert site.run(trace_cli.app, "ana", "confirm", query_id, "1", "--yes").exit_code == 0
    return query_id


@pytest.fixture
def cases(site: OfficerSite) -> Iterator[Path]:
    folder = Officer.load(site.officer("ana")).config.state_dir / "cases"
    yield folder
    for path in folder.glob("*") if folder.is_dir() else ():
        path.unlink()


def keep(site: OfficerSite, *arguments: str, officer: str = "ana") -> Result:
    return site.run(subject_app, officer, "case", "P-17", *arguments)


def contacts(site: OfficerSite, query_id: str, *arguments: str) -> Result:
    return site.run(trace_cli.app, "ana", "contacts", query_id, *arguments)


def explained(result: Result, *words: str) -> None:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    for word in words:
        assert word in " ".join(result.output.split())


def test_what_is_kept_is_sealed_and_shown_to_its_owner_alone(
    site: OfficerSite, cases: Path
) -> None:
    made = keep(
        site, "--name", "김 환자", "--preset", "covid-19", "--onset", str(TODAY - timedelta(days=1))
    )
    assert made.exit_code == 0, made.output
    (path,) = cases.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cases.stat().st_mode) == 0o700
    assert "김".encode() not in path.read_bytes()
    assert b"covid" not in path.read_bytes()
    shown = keep(site)
    for words in ("P-17 (김 환자)", "COVID-19 (covid-19)", "the first symptoms"):
        assert words in shown.output
    assert f"{TODAY - timedelta(days=3)} to {TODAY + timedelta(days=9)}" in shown.output
    with pytest.raises(CaseFileInvalid, match="does not open with your sealing key"):
        read_case(Officer.load(site.officer("ana")), "P-17", s.sealing_key("dan"))
    explained(keep(site, officer="dan"), "there is no case file of 'P-17'")


def test_what_is_not_named_stays_and_an_empty_text_takes_out(
    site: OfficerSite, cases: Path
) -> None:
    keep(site, "--name", "one", "--preset", "measles", "--onset", str(TODAY))
    before = (cases / "P-17.case").read_bytes()
    again = keep(site, "--onset", str(TODAY))
    assert "as it was" in again.output
    assert (cases / "P-17.case").read_bytes() == before
    values = json.loads(keep(site, "--name", "", "--tested", str(TODAY), "--json").stdout)
    assert (values["name"], values["preset"], values["onset"]) == (None, "measles", str(TODAY))
    assert values["infectious_window_ms"] is not None
    assert "is deleted" in keep(site, "--forget").output
    assert "there is no case file" in keep(site, "--forget").output
    assert not list(cases.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--onset", "01.05.2031"), "write it as 2031-05-01"),
        (("--onset", str(TODAY + timedelta(days=400))), "lies ahead"),
        (("--onset", "0001-01-01"), "is of no year that counts"),
        (("--onset", "9999-12-31"), "is of no year that counts"),
        (("--name", "\u0440atient"), "mixes Cyrillic and Latin letters"),
        (("--preset", "plague"), "there is no preset 'plague'"),
        (("--preset", "./nowhere.toml"), "cannot be used"),
        (("--name", "ana\u202e17"), "nobody sees or that turns text around"),
        (("--name", "x" * 300), "text of 1 to 128 characters"),
        (("--onset", "2019-05-01", "--tested", str(TODAY)), "years apart"),
        (("--forget", "--name", "x"), "give nothing with it"),
    ],
)
def test_what_makes_no_case_file_is_refused(
    site: OfficerSite, cases: Path, arguments: tuple[str, ...], words: str
) -> None:
    explained(keep(site, *arguments), words)
    assert not cases.exists() or not list(cases.iterdir())


def test_a_pseudonym_leads_nowhere_else(site: OfficerSite) -> None:
    for name in ("../../officer", ".hidden", "p 17", "환자"):
        result = site.run(subject_app, "ana", "case", name, "--name", "x")
        assert result.exit_code == 1 or "officer" in name
    explained(site.run(subject_app, "ana", "case", "환자"), "in any script, is kept with")


def test_a_damaged_case_file_is_said_to_be_one(site: OfficerSite, cases: Path) -> None:
    keep(site, "--name", "one")
    path = cases / "P-17.case"
    path.write_bytes(path.read_bytes()[:-1])
    explained(keep(site), "does not open with your sealing key", "--forget")


@pytest.mark.slow
def test_contacts_are_listed_those_to_ring_first_in_front(
    site: OfficerSite, query_id: str, cases: Path
) -> None:
    keep(site, "--name", "김 환자", "--preset", "covid-19", "--onset", str(TODAY))
    shown = contacts(site, query_id, "--explain", "1")
    assert shown.exit_code == 0, shown.output
    assert "P-17 (김 환자): 2 contacts, 1 high, 1 low" in shown.output
    rows = re.findall(r"^ *\d  +(high|low) ", shown.output, re.MULTILINE)
    assert rows == ["high", "low"]
    text = " ".join(shown.output.split())
    assert "in or outdoors not known, taken as indoors" in text
    assert "weighted minutes" in text
    assert all(len(line) <= 200 for line in shown.output.splitlines())


def test_programs_read_the_account_and_by_which_rules(site: OfficerSite, query_id: str) -> None:
    result = contacts(site, query_id, "--preset", "covid-19", "--onset", str(TODAY), "--json")
    (subject,) = json.loads(result.stdout)
    assert subject["graded_by"]["preset"] == "covid-19"
    assert len(subject["graded_by"]["sha256"]) == 64
    grades = [one["grade"]["level"] for one in subject["persons"]]
    assert grades == ["high", "low"]
    assert len(subject["persons"][0]["grade"]["account"]) == 2


def test_what_is_given_goes_before_the_case_file_and_changes_nothing(
    site: OfficerSite, query_id: str, cases: Path
) -> None:
    keep(site, "--preset", "covid-19", "--onset", str(TODAY))
    before = (cases / "P-17.case").read_bytes()
    early = contacts(site, query_id, "--onset", str(TODAY - timedelta(days=40)))
    assert "2 contacts, 2 none" in early.output
    told = contacts(site, query_id, "--onset", str(TODAY - timedelta(days=40)), "--explain", "1")
    assert "after the infectious window, not counted" in told.output
    assert (cases / "P-17.case").read_bytes() == before


def test_without_rules_contacts_are_listed_and_it_is_said_how_to_grade(
    site: OfficerSite, query_id: str, cases: Path
) -> None:
    shown = contacts(site, query_id)
    assert shown.exit_code == 0
    text = " ".join(shown.output.split())
    assert "P-17: 2 contacts" in text
    assert "not graded: say by which rules" in text
    assert "covid-19, measles, mers, tuberculosis" in text


def test_a_number_that_is_nobody_and_rules_that_are_none_are_refused(
    site: OfficerSite, query_id: str
) -> None:
    explained(contacts(site, query_id, "--explain", "9"), "there is no contact 9")
    explained(contacts(site, query_id, "--preset", "flu"), "there is no preset 'flu'")


@pytest.mark.slow
def test_the_sources_of_the_rules_are_shown(site: OfficerSite, query_id: str) -> None:
    shown = contacts(site, query_id, "--preset", "covid-19", "--sources")
    assert "MMWR" in shown.output
    assert "our own choice" in shown.output


@pytest.mark.slow
def test_the_trace_itself_says_how_its_contacts_are_graded(
    site: OfficerSite, query_id: str, cases: Path
) -> None:
    plain = site.run(trace_cli.app, "ana", "show", query_id)
    assert "1 high" not in plain.output
    keep(site, "--preset", "covid-19", "--onset", str(TODAY))
    shown = site.run(trace_cli.app, "ana", "show", query_id)
    assert "P-17, by COVID-19: 2 contacts, 1 high, 1 low (trace contacts" in shown.output
    values = json.loads(site.run(trace_cli.app, "ana", "show", query_id, "--json").stdout)
    assert values["graded"][0]["persons"][0]["grade"]["level"] == "high"


def filed(site: OfficerSite, *window: str) -> Result:
    return site.run(
        query_cli.app, "ana", "file", "--subject", str(site.subject_file("P-17")), "--all-cameras",
        *window, "--purpose", "contact tracing", "--yes", "--json",
    )  # fmt: skip


def test_a_query_asks_for_the_days_on_which_the_case_was_infectious(
    site: OfficerSite, cases: Path
) -> None:
    today = datetime.now().astimezone().date()
    keep(site, "--preset", "measles", "--onset", str(today - timedelta(days=1)))
    result = filed(site, "--infectious", "P-17")
    said = " ".join(result.stderr.split())
    assert f"was infectious {today - timedelta(days=5)} to {today + timedelta(days=3)}" in said
    assert "what lies ahead is left out" in said
    assert "what is more than the 48 hours of one query is left out" in said
    assert result.exit_code == 0, result.output
    asked = json.loads(result.stdout)["query"]
    assert asked["window_to_ms"] - asked["window_from_ms"] == 48 * 3_600_000


def test_days_that_nobody_knows_are_not_asked_for(site: OfficerSite, cases: Path) -> None:
    explained(filed(site, "--infectious", "P-17"), "there is no case file of 'P-17'")
    keep(site, "--preset", "measles", "--tested", str(TODAY))
    explained(filed(site, "--infectious", "P-17"), "no infectious window is known of 'P-17'")
    keep(site, "--preset", "measles", "--onset", str(TODAY - timedelta(days=100)))
    explained(filed(site, "--infectious", "P-17"), "nothing is left to open")
    explained(filed(site), "say which days")
    explained(filed(site, "--infectious", "P-17", "--from", "-2h"), "say which days")


def test_two_cases_whose_names_read_alike_are_told_apart(site: OfficerSite, cases: Path) -> None:
    keep(site, "--name", "COP 1")
    other = site.run(subject_app, "ana", "case", "P-18", "--name", "\u0421\u041e\u0420 1")
    assert other.exit_code == 0, other.output
    said = " ".join(other.output.split())
    assert "P-17 (COP 1) has a name that reads like this one" in said
    apart = site.run(subject_app, "ana", "case", "P-18", "--name", "COP 2")
    assert "reads like" not in apart.output


@pytest.mark.slow
def test_a_case_file_that_cannot_be_used_hides_no_trace(
    site: OfficerSite, query_id: str, cases: Path
) -> None:
    keep(site, "--preset", "covid-19")
    (cases / "P-17.case").write_bytes(b"rubbish")
    shown = site.run(trace_cli.app, "ana", "show", query_id)
    assert shown.exit_code == 0, shown.output
    assert "the contacts of P-17 are not graded" in " ".join(shown.output.split())
    assert "1 hit" in shown.output


@pytest.mark.slow
def test_days_beyond_the_calendar_end_in_words(site: OfficerSite, query_id: str) -> None:
    for day in ("0001-01-01", "9999-12-31", "2031-02-30"):
        explained(contacts(site, query_id, "--preset", "tuberculosis", "--onset", day), "--onset")
