"""A query's page tells what each custodian opened, when, and whether that is what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import protocol_samples as s
import pytest
from candidates import opened_candidate
from desk_pages import PageDesk, page_desk, words_of
from filed_queries import file_query
from officer_site import DOWN, OfficerSite
from opened_rows import RowsOf, opening_by, row_name

from officers.desk.receipts import Counted, Receipts
from officers.desk.receipts_told import told_against
from protocol.sightings import MaskStatus
from protocol.v2.sightings import Row

POLICY = (
    b'policy_schema = 2\nconfirmations = 1\ncontacts = "near"\npurposes = ["exercise"]\n'
    b"enrolment_without_witness = true\n"
) + s.POLICY_TEXT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"), policy=POLICY)
    yield made
    made.close()


@pytest.fixture(scope="module")
def ana(site: OfficerSite) -> Iterator[PageDesk]:
    with page_desk(site, "ana") as made:
        yield made


@dataclass
class Opened:
    """A query of ana's by which rows were opened."""

    site: OfficerSite
    id: str
    c1: RowsOf
    c2: RowsOf

    def open(self, *numbers: int) -> None:
        begins_ms, digest = self._begins_ms(), self.c1.query_digest
        rows = [row_name(number, at_ms=begins_ms) for number in numbers]
        self.site.add_opening(opening_by((self.c1, self.c2), rows), digest, readers=["ana"])
        for name, number in zip(rows, numbers, strict=True):
            at_ms = begins_ms + number * 60_000
            row = Row(at_ms, at_ms + 60_000, MaskStatus.UNMASKED, 0.9, 0.8)
            episode = f"episode{number}".encode()
            made = opened_candidate(name, row, site=s.SITE, episode=episode)
            self.site.add_candidate(made, digest, readers=["ana"])

    def keep(self) -> None:
        for custodian in (self.c1, self.c2):
            self.site.keep_receipts(custodian, readers=["ana"])

    def _begins_ms(self) -> int:
        return int(self.site.record(self.id).query.window_from_ms)


@pytest.fixture
def opened(site: OfficerSite) -> Opened:
    query_id = file_query(site)
    digest = site.record(query_id).digest
    site.aggregator.desk.set_state(digest, "running")
    return Opened(site, query_id, RowsOf("c1", digest), RowsOf("c2", digest))


def part_of(desk: PageDesk, query_id: str) -> str:
    return words_of(desk.get(f"/queries/{query_id}/custodians"))


@pytest.mark.slow
def test_each_custodian_is_told_with_what_it_opened_and_that_it_agrees(
    ana: PageDesk, opened: Opened
) -> None:
    opened.open(1, 2)
    opened.open(3)
    opened.keep()
    page = ana.get(f"/queries/{opened.id}")
    assert f'hx-get="/queries/{opened.id}/custodians?part=yes"' in page.text
    said = part_of(ana, opened.id)
    assert "Headquarters show 3 rows" in said
    assert "the receipts agree: no others were opened" in said
    assert "c1 agrees with what is shown 3 rows opened 2 answers" in said
    assert "c2 agrees with what is shown 3 rows opened" in said
    assert f"{DOWN} does not answer" in said
    part = ana.get(f"/queries/{opened.id}/custodians?part=yes").text
    assert "<html" not in part
    assert "c1" in part


def test_what_is_opened_and_not_shown_is_said_on_the_same_page(
    ana: PageDesk, opened: Opened
) -> None:
    opened.open(1)
    hidden = [row_name(9)]
    opened.c1.open(hidden)
    opened.c2.open(hidden)
    opened.keep()
    said = part_of(ana, opened.id)
    assert "They do not agree with what headquarters show" in said
    assert "tell the auditors" in said
    assert said.count("it opened 1 row that is not shown under its name") == 2


def test_before_anybody_approved_no_custodian_is_asked(site: OfficerSite, ana: PageDesk) -> None:
    assert "custodians?part" not in ana.get(f"/queries/{file_query(site)}").text


def test_who_does_not_read_the_results_is_not_told(site: OfficerSite, opened: Opened) -> None:
    opened.open(1)
    opened.keep()
    with page_desk(site, "bo") as bo:
        assert "custodians?part" not in bo.get(f"/queries/{opened.id}").text
        assert "rows opened" not in part_of(bo, opened.id)


@pytest.mark.slow
def test_an_auditor_reads_how_many_each_opened_without_what_is_sealed(
    site: OfficerSite, opened: Opened
) -> None:
    opened.open(1, 2)
    opened.keep()
    with page_desk(site, "eve") as eve:
        assert "custodians?part" in eve.get(f"/queries/{opened.id}").text
        said = part_of(eve, opened.id)
    assert "sealed to those who confirm, so it is not compared here" in said
    assert "c1 as many as any custodian 2 rows opened" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counted", "kind", "words"),
    [
        (Counted("c1", 2, listed=2), "confirmed", "agrees with what is shown"),
        (Counted("c1", 5, listed=2), "refused", "it opened 3 rows that are not shown"),
        (Counted("c1", 1, listed=2), "refused", "more is shown under its name"),
        (Counted("c1", 0), "waiting", "opened nothing"),
        (Counted("c1", 2, "switched off", listed=2), "blocked", "does not answer"),
    ],
)
def test_a_line_says_in_shape_and_words_whether_it_agrees(
    counted: Counted, kind: str, words: str
) -> None:
    (told,) = told_against(Receipts(2, (counted,)))
    assert told.kind == kind
    assert words in str(told.words)
