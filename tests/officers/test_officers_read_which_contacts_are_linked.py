"""With a query's results its officers read which contacts are one person, if it asked for that."""

from __future__ import annotations

import json
from collections.abc import Iterator

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from officer_site import OfficerSite

from officers import desk, query_cli
from officers.desk.case import Case, open_case
from officers.desk.links import open_links
from protocol.links import Links
from protocol.names import CameraAddress
from protocol.query import Asked, Query

ONE = CameraAddress(s.SITE, "box-1", "cam-1")
NUMBERS = {(ONE, b"e" * 8): 271_828, (ONE, b"f" * 8): 314_159}
LINKED = q2.query(contacts=True, asks=Asked(linked_contacts=True))


def case_of(query: Query) -> Case:
    signed = query.sign(s.signing_key("ana"))
    return open_case(signed.to_bytes(), query.query_id.hex(), s.directory())


def opened(links: Links, query: Query = LINKED, reader: str = "ana") -> tuple[object, str]:
    case = case_of(query)
    sealed = links.seal(s.sealing_key(reader).public, query_digest=case.digest)
    numbers, problems = open_links([sealed], case, s.sealing_key("ana"))
    return numbers, " ".join(problems)


def test_the_numbers_are_read() -> None:
    assert opened(Links(NUMBERS)) == (NUMBERS, "")
    assert open_links([], case_of(LINKED), s.sealing_key("ana")) == ({}, ())


def test_it_is_said_of_how_many_nothing_is_known() -> None:
    numbers, words = opened(Links(NUMBERS, without=1, left_out=2))
    assert numbers == NUMBERS
    assert "1 contact could not be compared with others" in words
    assert "2 contacts who were near for the shortest time were not compared" in words


@pytest.mark.parametrize(
    ("links", "query", "reader", "said"),
    [
        (Links(NUMBERS), q2.query(contacts=True), "ana", "does not ask for that"),
        (Links({(CameraAddress(s.SITE, "box-9", "cam-9"), b"e" * 8): 271_828}), LINKED, "ana",
         "cameras that the query does not name"),
        (Links({(CameraAddress("other", "box-1", "cam-1"), b"e" * 8): 271_828}), LINKED, "ana",
         "cameras that the query does not name"),
        (Links(NUMBERS), LINKED, "bo", "cannot be used"),
    ],
)  # fmt: skip
def test_what_the_query_did_not_ask_for_is_not_believed(
    links: Links, query: Query, reader: str, said: str
) -> None:
    numbers, words = opened(links, query, reader)
    assert numbers == {}
    assert said in words


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    policy = b"enrolment_without_witness = true\n" + q2.POLICY_TEXT
    made = OfficerSite(tmp_path_factory.mktemp("officers"), policy=policy)
    yield made
    made.close()


@pytest.mark.slow
def test_an_officer_asks_for_linked_contacts_and_reads_the_numbers(site: OfficerSite) -> None:
    filed = site.run(
        query_cli.app, "ana", "file", "--subject", str(site.subject_file("P-17")),
        "--all-cameras", "--from", "-2h", "--to", "now", "--purpose", "tracing", "--yes",
        "--purpose-kind", "exercise", "--contacts", "linked", "--json",
    )  # fmt: skip
    assert filed.exit_code == 0, filed.output
    query_id = json.loads(filed.stdout)["id"]
    assert json.loads(filed.stdout)["approvals_needed"] == 3
    shown = " ".join(site.run(query_cli.app, "bo", "show", query_id).output.split())
    words = "yes: once a candidate is confirmed, the face templates of everybody who was near"
    assert f"linked contacts {words}" in shown
    assert "3 needed: 2 of every query, 1 for linked contacts" in shown
    record = site.record(query_id)
    sealed = Links(NUMBERS).seal(s.sealing_key("ana").public, query_digest=record.digest)
    with site.aggregator.store.writing() as unit:
        unit.ledger.put_links(record.digest, {"ana": sealed})
    officer = desk.Officer.load(site.officer("ana"))
    with desk.connect(officer) as session:
        case = desk.sealed_to_me(session, query_id)
        results = desk.open_results(session, case, s.sealing_key("ana"))
    assert (results.links, results.problems) == (NUMBERS, ())
