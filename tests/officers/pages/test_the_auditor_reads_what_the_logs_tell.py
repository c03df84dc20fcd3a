"""The auditor's pages: fetch, verdict, findings, a query's life, counts, one page to keep."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import protocol_samples as s
import pytest
from audit_samples import QUERY_ID
from audit_site import LoggedSite, LogInMaking
from desk_pages import PageDesk, links_of, words_of
from httpx import Response
from officer_site import DOWN, OfficerSite

from officers.desk.audit_desk import AuditDesk, audit_folder
from officers.desk.audit_outcomes import Fetched, keep_outcomes
from protocol.about_queries import Withdrawal

NASTY = "<script>alert(1)</script>\"'&{{7*7777}}\u202e"
DEADLINE_S = 60.0
QUERY = f"/audit/queries/{QUERY_ID.hex()}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("auditing"))
    yield made
    made.close()


class Auditor(PageDesk):
    """Eve's desk, with a copy of the logs that was fetched before."""

    def hold(self, logs: LoggedSite | None) -> None:
        """Have this copy on the machine, and nothing else."""
        folder = audit_folder(self.house.officer)
        shutil.rmtree(folder, ignore_errors=True)
        if logs is not None:
            logs.write(folder)

    def settle(self) -> None:
        """Wait until nothing is being fetched or verified."""
        desk = self.house.kept("audit", lambda: AuditDesk(self.house.officer, str))
        assert desk.join(DEADLINE_S)

    def see(self, path: str = "/audit") -> Response:
        """Open a page, once the copy was verified."""
        self.get("/audit")
        self.settle()
        return self.get(path)


@pytest.fixture
def eve(site: OfficerSite) -> Iterator[Auditor]:
    with closing(Auditor(site, "eve")) as made:
        yield made


def forked(logs: LoggedSite) -> LoggedSite:
    """Let c1 have signed another history of the same length."""
    logs.signed()
    other = LogInMaking("c1", list(logs.c1.entries))
    other.entries[-1] = other.entries[0]
    other.sign()
    logs.c1.checkpoints += other.checkpoints
    return logs


def test_only_an_auditor_gets_in(site: OfficerSite) -> None:
    with closing(PageDesk(site, "bo")) as bo:
        for path in ("/audit", QUERY, "/audit/counts", "/audit/findings/1", "/audit/progress"):
            assert bo.get(path).status_code == 409
        for path in ("/audit/fetch", "/audit/stop", "/audit/page"):
            assert bo.post(path).status_code == 409


def test_without_a_copy_the_page_says_what_fetching_does(eve: Auditor) -> None:
    eve.hold(None)
    words = words_of(eve.get("/audit"))
    assert "No logs are on this machine yet." in words
    assert "Fetch and verify" in words
    assert "Save as one page" not in words


@pytest.mark.slow
def test_a_copy_from_before_is_verified_when_the_page_opens(eve: Auditor) -> None:
    eve.hold(LoggedSite().whole().signed())
    words = words_of(eve.see())
    assert "Sound: nothing is wrong. 4 logs, 18 entries." in words
    assert "verified on this machine" in words
    assert "Nothing was found." in words
    assert "contact tracing of a confirmed patient" in words
    assert QUERY in links_of(eve.get("/audit"))


@pytest.mark.slow
def test_a_querys_life_is_told_with_the_entries_that_prove_it(eve: Auditor) -> None:
    logs = LoggedSite().whole().signed()
    eve.hold(logs)
    words = words_of(eve.see(QUERY))
    for told in ("bo approved.", "c1 gave 3 quarter hours of cam-1.", "proven", "aggregator #2"):
        assert told in words
    assert eve.get("/audit/queries/" + "0" * 32).status_code == 404


@pytest.mark.slow
def test_a_finding_says_what_it_means_what_to_do_and_what_it_stands_on(eve: Auditor) -> None:
    eve.hold(LoggedSite().file().receive("c1").signed())
    listed = words_of(eve.see())
    assert "The aggregator was given keys that the custodian's log does not tell of." in listed
    words = words_of(eve.get("/audit/findings/1"))
    for told in (
        "That custodian misbehaves: have the authority revoke it.",
        "aggregator #5",
        "grant-not-logged",
        "from c1: 3 slots of cam-1",
    ):
        assert told in words
    for number in ("0", "99", "-1", "x"):
        assert eve.get(f"/audit/findings/{number}").status_code in {404, 422}


@pytest.mark.slow
def test_counts_are_told_by_month_and_ground_and_never_by_officer(eve: Auditor) -> None:
    eve.hold(LoggedSite().whole().signed())
    words = words_of(eve.see("/audit/counts"))
    assert "Quarter hours opened" in words
    assert "told below five too" in words
    for officer in ("ana", "bo", "cy"):
        assert f" {officer} " not in words


@pytest.mark.slow
def test_a_log_that_is_not_what_it_was_takes_the_whole_page(eve: Auditor) -> None:
    eve.hold(forked(LoggedSite().whole()))
    page = eve.see()
    words = words_of(page)
    assert "A log is not what it was" in words
    assert "compare it with the other auditors today" in words
    assert "Queries by month" not in words
    rest = words_of(eve.get("/audit?rest=yes"))
    assert "Not sound" in rest
    assert "A log is not what it was" in rest, "it is said on the other pages, too"
    assert "A log is not what it was" in words_of(eve.get(QUERY))


@pytest.mark.slow
def test_fetching_takes_what_can_be_had_and_names_who_did_not_answer(eve: Auditor) -> None:
    eve.hold(None)
    assert eve.post("/audit/fetch").status_code == 303
    eve.settle()
    words = words_of(eve.get("/audit"))
    assert f"The log of {DOWN} could not be fetched, and there is no copy of it." in words
    assert "4 logs" not in words
    assert "There is no copy of a log here" in words


@pytest.mark.slow
def test_what_was_fetched_before_is_held_against_what_comes_now(eve: Auditor) -> None:
    eve.hold(LoggedSite().whole().signed())
    eve.post("/audit/fetch")
    eve.settle()
    words = words_of(eve.get("/audit"))
    assert "A log is not what it was" in words
    rest = words_of(eve.get("/audit?rest=yes"))
    assert "The log of c1 is not what it was." in rest
    assert f"The log of {DOWN} could not be fetched. Shown is an earlier copy." in rest


@pytest.mark.slow
def test_an_unreachable_log_is_shown_from_the_copy_with_its_date(eve: Auditor) -> None:
    eve.hold(LoggedSite().whole().signed())
    folder = audit_folder(eve.house.officer)
    keep_outcomes(folder, [Fetched("c3", 3, 3)], now_ms=s.NOW_MS)
    keep_outcomes(
        folder, [Fetched("c3", 3, 0, f"no answer {NASTY}", unreachable=True)], now_ms=s.NOW_MS + 1
    )
    page = eve.see()
    assert "The log of c3 could not be fetched. Shown is the copy of " in words_of(page)
    assert "<script>alert(1)" not in page.text


@pytest.mark.slow
def test_progress_is_told_and_a_second_fetch_changes_nothing(eve: Auditor) -> None:
    eve.hold(LoggedSite().whole().signed())
    eve.see()
    told = eve.get("/audit/progress")
    assert told.json() == {"doing": "", "stopping": False}
    assert told.headers["cache-control"] == "no-store"
    assert eve.post("/audit/stop").status_code == 303
    assert "Sound" in words_of(eve.get("/audit")), "there was nothing to stop"


@pytest.mark.slow
def test_locking_forgets_what_was_opened_and_the_copy_stays(eve: Auditor) -> None:
    eve.hold(LoggedSite().whole().signed())
    eve.see()
    eve.house.lock()
    assert eve.get("/audit").status_code == 303
    eve.house.unlock(b"four words make one")
    assert eve.get(QUERY).headers["location"] == "/audit", "verified anew first"
    assert "Sound" in words_of(eve.see())


def rejected(logs: LoggedSite) -> None:
    logs.aggregator.add(
        "refusal",
        {"query_digest": logs.case.query.digest, "reason": NASTY, "custodian": NASTY},
    )


def read_by(logs: LoggedSite) -> None:
    body = {"query_digest": logs.case.query.digest, "reader": NASTY}
    logs.aggregator.add("result-read", body)


def withdrawn(logs: LoggedSite) -> None:
    content = Withdrawal(logs.case.query.digest, NASTY[:-1], s.NOW_MS)
    signed = content.sign(s.signing_key("ana"))
    logs.aggregator.add("withdrawal", {"withdrawal": signed.to_bytes()})


def still(logs: LoggedSite) -> None:
    about = {"query_digest": logs.case.query.digest, "request": bytes(32), "officer": NASTY}
    logs.aggregator.add("still-asked", {**about, "box": NASTY, "stills": 1})
    more = {"box": NASTY, "outcome": NASTY, "reason": NASTY, "sent": 0}
    logs.aggregator.add("still-answered", {**about, **more})


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("write", [rejected, read_by, withdrawn, still])
def test_what_others_wrote_into_logs_is_words_on_every_page(
    site: OfficerSite, write: Callable[[LoggedSite], None], language: str
) -> None:
    logs = LoggedSite().whole()
    write(logs)
    with closing(Auditor(site, "eve", language=language)) as eve:
        eve.hold(logs.signed())
        pages = [eve.see(), eve.get(QUERY), eve.get("/audit/counts"), eve.get("/audit/findings/1")]
        saved = eve.post("/audit/page")
    for page in (*pages, saved):
        assert page.status_code in {200, 404}
        assert "<script>alert(1)" not in page.text
        assert "{{7*7}}" not in page.text or "49" not in words_of(page)
    assert any("&lt;script&gt;alert(1)" in page.text for page in (*pages, saved))


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_audit_is_handed_out_as_one_page_in_the_desks_language(
    site: OfficerSite, language: str
) -> None:
    with closing(Auditor(site, "eve", language=language)) as eve:
        eve.hold(LoggedSite().whole().signed())
        eve.see()
        saved = eve.post("/audit/page")
        again = eve.post("/audit/page")
    assert saved.status_code == 200
    assert saved.content == again.content
    assert saved.headers["content-disposition"].startswith('attachment; filename="audit-vectors-')
    assert f'<html lang="{language}">' in saved.text
    assert "default-src 'none'" in saved.text


@pytest.mark.slow
def test_pages_are_said_in_korean(site: OfficerSite) -> None:
    with closing(Auditor(site, "eve", language="ko")) as eve:
        eve.hold(LoggedSite().file().receive("c1").signed())
        words = words_of(eve.see())
        assert "지적 사항" in words
        assert "가져와서 검증" in words
        assert "Findings" not in words
        assert "있었던 일" in words_of(eve.get(QUERY))


@pytest.mark.slow
def test_the_copy_on_the_machine_holds_no_contents_in_the_clear(eve: Auditor) -> None:
    eve.hold(LoggedSite().whole().signed())
    eve.see(QUERY)
    state: Path = eve.house.officer.config.state_dir
    for path in state.rglob("*"):
        if path.is_file():
            assert b"contact tracing of a confirmed patient" not in path.read_bytes(), path
