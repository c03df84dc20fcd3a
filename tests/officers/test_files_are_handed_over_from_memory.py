"""A page hands over files that it never writes: signed in between, logged, kept for minutes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from traced_query import ONE_CONFIRMS, TracedQuery, TracedSite, on_their_way

from officers import desk
from officers.desk.exporting import rendered
from officers.desk.files_at_hand import FilesAtHand, NotAtHand
from officers.desk.handing_over import hand_in_export, to_hand_over
from officers.desk.report.making import FORM, set_report
from officers.desk.report.verifying import FileAltered, verify_content
from protocol.errors import SignatureInvalid
from protocol.exports import Export
from protocol.results import CONFIRMED


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedSite]:
    made = TracedSite(tmp_path_factory.mktemp("officers"), policy=ONE_CONFIRMS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def query(site: TracedSite) -> TracedQuery:
    made = on_their_way(site)
    made.decide("ana", CONFIRMED, 1)
    return made


@contextmanager
def at_work(
    query: TracedQuery, name: str = "ana"
) -> Iterator[tuple[desk.Session, desk.Results, desk.Keys]]:
    assert isinstance(query.site, TracedSite)
    me, keys = query.site.person(name)
    with desk.connect(me) as session:
        case = desk.sealed_to_me(session, query.id)
        yield session, desk.open_results(session, case, keys.sealing), keys


def logged(query: TracedQuery) -> int:
    return query.site.aggregator.log.size


def everything_under(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_report_is_set_signed_and_logged_and_is_on_no_disk(query: TracedQuery) -> None:
    with at_work(query) as (session, results, keys):
        around = desk.around_of(session, results, keys.sealing, hits_only=True)
        made = set_report(session, results, around=around, language="ko")
        assert made.hits == 1
        files = {"r.pdf": made.pdf, "r.html": made.html}
        folder = query.site.officer("ana").parent
        before, size = everything_under(folder), logged(query)
        prepared = to_hand_over(session, results.case, FORM, files)
        assert logged(query) == size, "nothing is logged before it is signed"
        signed = prepared.unsigned.by_key(keys.identity)
        hand_in_export(session, results.case, prepared, signed)
        assert logged(query) == size + 1
        assert everything_under(folder) == before
        found = verify_content(
            made.pdf, signed.to_bytes(), session.officer.directory, names=("r.pdf", "r.sig")
        )
        assert (found.officer, found.form) == ("ana", "report")
        assert found.sha256 == hashlib.sha256(made.pdf).digest()
        with pytest.raises(FileAltered, match=r"r\.pdf is not the file that ana signed"):
            verify_content(
                made.pdf + b" ", signed.to_bytes(), session.officer.directory,
                names=("r.pdf", "r.sig"),
            )  # fmt: skip


@pytest.mark.slow
def test_a_form_is_filled_in_as_the_command_writes_it(query: TracedQuery, tmp_path: Path) -> None:
    with at_work(query) as (session, results, keys):
        around = desk.around_of(session, results, keys.sealing)
        made = rendered(session, results, "csv-line-list", around=around)
        out = tmp_path / "list.csv"
        wrote = desk.export(session, results, "csv-line-list", out, keys.identity, around=around)
        assert out.read_bytes() == made.content
        assert (made.hits, made.undecided, made.kept_back) == (
            wrote.hits, wrote.undecided, wrote.kept_back,
        )  # fmt: skip


@pytest.mark.slow
def test_what_was_signed_of_other_files_is_not_handed_in(query: TracedQuery) -> None:
    with at_work(query) as (session, results, keys):
        prepared = to_hand_over(session, results.case, "json", {"a": b"one"})
        other = to_hand_over(session, results.case, "json", {"a": b"two"})
        size = logged(query)
        with pytest.raises(SignatureInvalid, match="another file"):
            hand_in_export(session, results.case, prepared, other.unsigned.by_key(keys.identity))
        named = to_hand_over(session, results.case, "fhir", {"a": b"one"})
        with pytest.raises(SignatureInvalid, match="another form"):
            hand_in_export(session, results.case, prepared, named.unsigned.by_key(keys.identity))
        elsewhere = Export(bytes(32), "json", (bytes(32),), s.NOW_MS).sign(keys.identity)
        with pytest.raises(SignatureInvalid, match="another query"):
            hand_in_export(session, results.case, prepared, elsewhere)
        theirs = replace(prepared.unsigned, signer="dan").by_key(s.signing_key("dan"))
        with pytest.raises(SignatureInvalid):
            hand_in_export(session, results.case, prepared, theirs)
        assert logged(query) == size


# -- until the browser has fetched them -----------------------------------------------------------


@pytest.mark.slow
def test_files_are_kept_for_a_while_of_their_query_alone_and_forgotten_at_once() -> None:
    now = 0.0
    shelf = FilesAtHand(kept_s=60, most_bytes=10, clock=lambda: now)
    token = shelf.put("q1", "json", {"a.json": b"12345"})
    assert shelf.get(token, "q1").contents == {"a.json": b"12345"}
    with pytest.raises(NotAtHand, match="no longer kept"):
        shelf.get(token, "q2")
    with pytest.raises(NotAtHand, match="no room"):
        shelf.put("q1", "json", {"b.json": b"123456"})
    now = 60.0
    with pytest.raises(NotAtHand, match="make them anew"):
        shelf.get(token, "q1")
    token = shelf.put("q1", "json", {"b.json": b"1234567890"})
    shelf.forget()
    with pytest.raises(NotAtHand):
        shelf.get(token, "q1")
