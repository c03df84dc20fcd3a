"""`sealtrace trace` for a query that two officers confirm, and what custodians say was opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import protocol_samples as s
import pytest
from candidates import opened_candidate
from officer_site import DOWN, OfficerSite
from opened_rows import RowsOf, opening_by, row_name
from typer.testing import Result

from officers import query_cli
from officers.trace_cli import app
from protocol.results import Candidate
from protocol.sightings import MaskStatus
from protocol.v2.sightings import Row

POLICY = (
    b'policy_schema = 2\nconfirmations = 2\ncontacts = "near"\npurposes = ["exercise"]\n'
    b"enrolment_without_witness = true\n"
) + s.POLICY_TEXT
BOTH = ("ana", "dan")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"), policy=POLICY)
    yield made
    made.close()


@dataclass
class Opened:
    """A query of ana's that dan confirms: a hit, what was opened with it, and what cannot be."""

    site: OfficerSite
    id: str
    digest: bytes
    begins_ms: int
    c1: RowsOf
    c2: RowsOf

    def run(self, officer: str, *arguments: str) -> Result:
        return self.site.run(app, officer, *arguments)

    def hits(self, officer: str) -> list[list[int]]:
        printed = json.loads(self.run(officer, "show", self.id, "--json").stdout)
        (subject,) = printed["subjects"]
        return [stay["candidate_numbers"] for stay in subject["hits"]]

    def candidate(self, number: int, **more: object) -> Candidate:
        from_ms = self.begins_ms + number * 60_000
        row = Row(from_ms, from_ms + 60_000, MaskStatus.UNMASKED, 0.9, 0.8)
        name = row_name(number, at_ms=self.begins_ms)
        return opened_candidate(name, row, site=s.SITE, **more)  # type: ignore[arg-type]

    def show(self, *candidates: Candidate) -> None:
        for one in candidates:
            self.site.add_candidate(one, self.digest, readers=BOTH)

    def open(self, *numbers: int, listed: bool = True) -> None:
        opening = opening_by(
            (self.c1, self.c2), [row_name(number, at_ms=self.begins_ms) for number in numbers]
        )
        if listed:
            self.site.add_opening(opening, self.digest, readers=BOTH)

    def keep_receipts(self) -> None:
        for custodian in (self.c1, self.c2):
            self.site.keep_receipts(custodian, readers=BOTH)


@pytest.fixture
def opened(site: OfficerSite) -> Opened:
    printed = site.run(
        query_cli.app, "ana", "file", "--subject", str(site.subject_file("P-17")),
        "--all-cameras", "--from", "-2h", "--to", "now", "--purpose", "contact tracing",
        "--confirmer", "dan", "--yes", "--json",
    )  # fmt: skip
    query_id = json.loads(printed.stdout)["id"]
    record = site.record(query_id)
    begins_ms, digest = record.query.window_from_ms, record.digest
    made = Opened(site, query_id, digest, begins_ms, RowsOf("c1", digest), RowsOf("c2", digest))
    made.show(
        made.candidate(1),
        made.candidate(2, score=None, through=(1).to_bytes(8, "big")),
        made.candidate(3, episode=b"episode3", impossible="its times contradict each other"),
    )
    return made


def words(result: Result) -> str:
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.mark.slow
def test_two_officers_confirm_and_both_see_the_hit(opened: Opened) -> None:
    opened.open(1, 2, 3)
    opened.keep_receipts()
    first = opened.run("ana", "confirm", opened.id, "1", "--yes")
    assert first.exit_code == 0, first.output
    assert "2 officers must confirm each: dan can, as you did" in words(first)
    assert opened.hits("ana") == opened.hits("dan") == []
    shown = opened.run("dan", "show", opened.id)
    assert shown.exit_code == 0, shown.output
    assert "undecided, 1 of 2 confirm it: ana" in words(shown)
    assert "nothing to do" in words(opened.run("ana", "confirm", opened.id, "--all", "--yes"))
    second = words(opened.run("dan", "confirm", opened.id, "--all", "--yes"))
    assert "confirmed: 1" in second
    assert "must confirm each" not in second
    assert opened.hits("ana") == opened.hits("dan") == [[1, 2]]
    assert "rejected: 1" in words(opened.run("ana", "reject", opened.id, "1", "--yes"))
    assert opened.hits("ana") == opened.hits("dan") == []


@pytest.mark.slow
def test_what_cannot_be_true_is_shown_apart_and_confirmed_by_nobody(opened: Opened) -> None:
    opened.open(1, 2, 3)
    opened.keep_receipts()
    shown = words(opened.run("ana", "show", opened.id))
    assert "opened, and cannot be true (in no trace)" in shown
    assert "its times contradict each other" in shown
    refused = opened.run("ana", "confirm", opened.id, "3", "--yes")
    assert refused.exit_code == 1
    assert "candidate 3 cannot be true" in words(refused)
    assert opened.run("ana", "reject", opened.id, "3", "--yes").exit_code == 0


@pytest.mark.slow
def test_counts_of_custodians_are_shown_and_the_silent_one_named(opened: Opened) -> None:
    opened.open(1, 2, 3)
    opened.keep_receipts()
    for officer in BOTH:
        shown = words(opened.run(officer, "show", opened.id))
        assert "3 rows of times, masks and contacts" in shown
        assert "c1: 3 by its receipts" in shown
        assert f"{DOWN}: does not answer" in shown


def test_an_aggregator_that_hides_what_it_opened_is_accused_after_all_is_shown(
    opened: Opened, tmp_path: Path
) -> None:
    opened.open(1, 2, 3)
    opened.open(4, 5, listed=False)
    opened.keep_receipts()
    shown = opened.run("ana", "show", opened.id)
    assert shown.exit_code == 1
    assert "lists nowhere (c1: 2 rows, c2: 2 rows)" in words(shown)
    assert "tell the auditors" in words(shown)
    assert "considered, not decided" in words(shown)
    out = tmp_path / "trace.json"
    written = opened.run("dan", "export", opened.id, "--format", "json", "--out", str(out))
    assert written.exit_code == 1
    assert "lists nowhere" in words(written)
    (problem,) = json.loads(out.read_text())["opened"]["problems"]
    assert "lists nowhere" in problem


def test_an_aggregator_that_keeps_an_opened_row_from_officers_is_accused(opened: Opened) -> None:
    opened.open(1, 2, 3, 4)
    opened.keep_receipts()
    shown = opened.run("dan", "show", opened.id)
    assert shown.exit_code == 1
    assert "of what was opened, 1 row of cam-1 cannot be found among the results" in words(shown)


def test_a_candidate_that_no_custodian_signs_for_is_not_believed_in_silence(
    opened: Opened,
) -> None:
    shown = opened.run("ana", "show", opened.id, "--json")
    assert shown.exit_code == 1
    assert "no 2 custodians sign for candidate 1, candidate 2, candidate 3" in words(shown)
    assert json.loads(shown.stdout)["opened"]["rows"] == 0


@pytest.mark.slow
def test_a_row_of_another_hour_than_the_query_asks_for_is_not_used(opened: Opened) -> None:
    elsewhere = row_name(9, at_ms=opened.begins_ms - 86_400_000)
    row = Row(opened.begins_ms, opened.begins_ms + 1000, MaskStatus.UNMASKED, 0.9, 0.8)
    opened.show(opened_candidate(elsewhere, row, site=s.SITE))
    opened.open(1, 2, 3)
    opened.keep_receipts()
    shown = opened.run("ana", "show", opened.id)
    assert "result 4 cannot be used: it is of a quarter hour" in words(shown)


@pytest.mark.slow
def test_a_third_officer_reads_nothing(opened: Opened) -> None:
    shown = opened.run("bo", "show", opened.id)
    assert shown.exit_code == 1
    assert "takes an investigator" in words(shown)
