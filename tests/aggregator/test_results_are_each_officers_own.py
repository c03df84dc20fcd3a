"""What a query found goes, sealed, to who asked and who confirms; each of them decides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
import query_samples_v2 as q2
from custodian_site import HOUR_MS
from officer_site import OfficerSite
from row_desk import founds_of

from aggregator.store.sqlite.schema import MIGRATIONS
from aggregator.store.sqlite.store import SqliteStore
from protocol.auditlog import Entry
from protocol.encoding import decode
from protocol.exports import Export
from protocol.names import SLOT_MS, CameraAddress
from protocol.query import Query
from protocol.results import CONFIRMED, REJECTED, Candidate, Decision, Opening
from protocol.signing import Signed
from runtime.clock import system_ms
from runtime.database import open_database
from runtime.http import CBOR, client

FOUND = founds_of("one", "two")


def candidate(number: int) -> Candidate:
    found = FOUND[number]
    return Candidate(
        "P-17", s.ADDRESS, found.name.sighting_id, v2.sighting("one").row, "face", s.MODEL,
        0.9, None, found.name, found.episode,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    one = OfficerSite(tmp_path_factory.mktemp("site"), policy=q2.POLICY_TEXT)
    yield one
    one.close()


@pytest.fixture(scope="module")
def filed(site: OfficerSite) -> Signed:
    """A query of ana's that dan confirms, with two candidates and an opening."""
    now_ms = system_ms()
    asked = q2.query(
        confirmers=("dan",), requested_at_ms=now_ms, not_after_ms=now_ms + HOUR_MS, live=False
    )
    signed = asked.sign(s.signing_key("ana"))
    site.aggregator.desk.file(signed.to_bytes())
    officers = {name: s.sealing_key(name).public for name in ("ana", "dan")}
    opening = Opening(tuple(found.name for found in FOUND), {"c1": (b"receipt", bytes(32))})
    with site.aggregator.store.writing() as unit:
        for number in range(2):
            one = candidate(number)
            sealed = {n: one.seal(k, query_digest=signed.digest) for n, k in officers.items()}
            unit.ledger.add_result(
                signed.digest, one.candidate_id(signed.digest), sealed, found_ms=number
            )
        sealed = {n: opening.seal(k, query_digest=signed.digest) for n, k in officers.items()}
        unit.ledger.add_opening(signed.digest, sealed, marks=[b"mark"], opened_ms=1)
    return signed


def ask(
    site: OfficerSite, officer: str, signed: Signed, what: str, content: bytes | None = None
) -> httpx.Response:
    path = f"/v1/queries/{Query.parse(signed.payload).query_id.hex()}/{what}"
    url = f"https://localhost:{site.ports['aggregator']}"
    with client(url, site.ca.issue(officer), 10.0, max_answer_bytes=1 << 20) as http:
        if content is None:
            return http.get(path)
        return http.post(path, content=content, headers={"content-type": CBOR})


def decide(
    site: OfficerSite, officer: str, signed: Signed, verdict: str, number: int = 0
) -> httpx.Response:
    which = candidate(number).candidate_id(signed.digest)
    decision = Decision(signed.digest, which, verdict, system_ms()).sign(s.signing_key(officer))
    return ask(site, officer, signed, "decisions", decision.to_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("officer", ["ana", "dan"])
def test_who_asked_and_who_confirms_read_what_is_sealed_to_them(
    site: OfficerSite, filed: Signed, officer: str
) -> None:
    key = s.sealing_key(officer)
    listed = decode(ask(site, officer, filed, "results").content, what="results")
    opened = [Candidate.open(sealed, key, query_digest=filed.digest) for _, sealed, _ in listed]
    assert opened == [candidate(0), candidate(1)]
    (sealed,) = decode(ask(site, officer, filed, "openings").content, what="openings")
    assert Opening.open(sealed, key, query_digest=filed.digest).rows == tuple(
        found.name for found in FOUND
    )


@pytest.mark.parametrize("what", ["results", "openings", "decisions", "watching", "links"])
@pytest.mark.parametrize("officer", ["bo", "eve"])
def test_nobody_else_reads_them(site: OfficerSite, filed: Signed, officer: str, what: str) -> None:
    answer = ask(site, officer, filed, what)
    assert answer.status_code == 403
    assert "ana, dan" in answer.text


def test_each_officer_decides_for_themselves(site: OfficerSite, filed: Signed) -> None:
    assert decide(site, "ana", filed, REJECTED).status_code == 204
    assert decide(site, "ana", filed, CONFIRMED).status_code == 204
    assert decide(site, "dan", filed, REJECTED).status_code == 204
    assert decide(site, "bo", filed, CONFIRMED).status_code == 403
    for officer, verdict in (("ana", CONFIRMED), ("dan", REJECTED)):
        (_, _, own), (_, _, none) = decode(
            ask(site, officer, filed, "results").content, what="results"
        )
        signed = Signed.parse(own, kind="decision")
        assert (signed.signer, Decision.parse(signed.payload).verdict) == (officer, verdict)
        assert none is None
    everybody = decode(ask(site, "dan", filed, "decisions").content, what="decisions")
    assert [Signed.parse(one, kind="decision").signer for one in everybody] == ["ana", "dan"]


def export(
    site: OfficerSite, officer: str, signed: Signed, *, of: bytes | None = None, by: str = ""
) -> httpx.Response:
    said = Export(of or signed.digest, "report", (s.fixed("file", 32),), system_ms())
    return ask(site, officer, signed, "exports", said.sign(s.signing_key(by or officer)).to_bytes())


def exported(site: OfficerSite) -> int:
    entries = map(Entry.parse, site.aggregator.written_log.entries())
    return sum(entry.kind == "exported" for entry in entries)


@pytest.mark.parametrize("officer", ["ana", "dan"])
def test_an_export_is_logged_of_who_may_read(
    site: OfficerSite, filed: Signed, officer: str
) -> None:
    before = exported(site)
    assert export(site, officer, filed).status_code == 204
    assert exported(site) == before + 1


def test_an_export_of_anybody_else_or_of_another_query_is_refused(
    site: OfficerSite, filed: Signed
) -> None:
    before = exported(site)
    assert export(site, "bo", filed).status_code == 403
    assert export(site, "ana", filed, of=bytes(32)).status_code == 403
    assert ask(site, "ana", filed, "exports", b"nonsense").status_code == 400
    forged = Export(filed.digest, "report", (bytes(32),), 1).sign(s.signing_key("ana"))
    forged = replace(forged, signature=bytes(64))
    assert ask(site, "ana", filed, "exports", forged.to_bytes()).status_code == 403
    assert exported(site) == before


@pytest.mark.slow
def test_approvers_are_told_of_generations_that_open_by_the_slot(site: OfficerSite) -> None:
    address = CameraAddress(s.SITE, "box-1", "cam-1")
    with site.aggregator.store.writing() as unit:
        stream = unit.ledger.add_stream(address).number
        for generation, version in ((1, 1), (2, 1), (3, 2)):
            made = s.announcement() if version == 1 else v2.announcement()
            unit.ledger.add_announcement(
                stream, replace(made, generation=generation, sequence=generation), b"signed"
            )
    begin_ms = s.NOW_MS // SLOT_MS * SLOT_MS
    window = {"from_ms": begin_ms, "to_ms": begin_ms + SLOT_MS}
    url = f"https://localhost:{site.ports['aggregator']}"
    with client(url, site.ca.issue("bo"), 10.0, max_answer_bytes=1 << 20) as http:
        counted = http.post("/v1/estimates", json={"cameras": ["cam-1"], **window}).json()
        assert counted["version_1_generations"] == 2
        assert counted["at_most"] is False
        later = {name: moment + 96 * SLOT_MS for name, moment in window.items()}
        counted = http.post("/v1/estimates", json={"cameras": ["cam-1"], **later}).json()
        assert counted["version_1_generations"] == 0
        other = http.post("/v1/estimates", json={"cameras": ["cam-2"], **window}).json()
        assert other["version_1_generations"] == 0


@pytest.mark.slow
def test_results_of_before_are_sealed_to_who_asked_and_decisions_are_theirs(tmp_path: Path) -> None:
    path = tmp_path / "aggregator.db"
    before = next(n for n, step in enumerate(MIGRATIONS) if "openings" in step.name)
    case = s.case()
    decision = Decision(case.query.digest, b"c" * 16, CONFIRMED, 5).sign(s.signing_key("ana"))
    database = open_database(path, MIGRATIONS[:before])
    query = Query.parse(case.query.payload)
    database.execute(
        "INSERT INTO queries (query_id, digest, requester, signed, state, live, window_from_ms,"
        " window_to_ms, not_after_ms, filed_ms, changed_ms)"
        " VALUES (?, ?, 'ana', ?, 'complete', 0, 0, 0, 0, 0, 0)",
        [query.query_id, case.query.digest, case.query.to_bytes()],
    )
    for number in (b"c", b"d"):
        database.execute(
            "INSERT INTO results (query_digest, candidate_id, sealed, found_ms)"
            " VALUES (?, ?, ?, 1)",
            [case.query.digest, number * 16, b"sealed " + number],
        )
    database.execute(
        "INSERT INTO decisions VALUES (?, ?, 'ana', ?, 5)",
        [case.query.digest, b"c" * 16, decision.to_bytes()],
    )
    database.conn.close()
    with closing(SqliteStore(path)) as store:
        assert store.ledger.results(case.query.digest, "ana") == [
            (b"c" * 16, b"sealed c", decision.to_bytes()),
            (b"d" * 16, b"sealed d", None),
        ]
        assert store.ledger.results(case.query.digest, "bea") == []
        assert store.ledger.decisions(case.query.digest) == [decision.to_bytes()]
        assert store.ledger.count_results(case.query.digest) == 2
