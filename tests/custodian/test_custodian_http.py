"""Over real TLS: each caller may do what their certificate and the directory give them, no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import protocol_samples as s
import pytest
import query_samples_v2 as q2
from custodian_site import (
    DAY_MS,
    Asked,
    Make,
    Time,
    approved,
    day_keys_of,
    make_announcement,
    opened_log,
    read_grant,
)
from hostile_cbor import shared_references, within
from rows_asked import RowsAsked, StillsAsked, directory, read_release, row, with_stills
from throwaway_ca import ThrowawayCa

from custodian.api import RateLimit, make_app
from custodian.custodian import Custodian
from protocol.about_queries import Withdrawal
from protocol.auditlog import cosign, origin_of, parse_checkpoint, verify_checkpoint
from protocol.daykeys import DAY_KEYS_KIND, DayKeys
from protocol.encoding import decode
from protocol.signing import Signed, sign
from runtime.http import CBOR, PeerUnreachable, Problem, Ready, client, serve
from runtime.lifecycle import Stop

Call = Callable[..., httpx.Response]


class Served:
    """A custodian behind its real HTTP server."""

    def __init__(self, custodian: Custodian, ca: ThrowawayCa) -> None:
        self.custodian = custodian
        self._ca = ca
        self._callers: dict[str, httpx.Client] = {}
        self._stop = Stop()
        self._ready = Ready()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.url = f"https://localhost:{self._ready.wait(30)}"

    def _serve(self) -> None:
        config = self.custodian.config
        limit = config.limits.max_request_bytes
        app = make_app(self.custodian)
        serve(app, "127.0.0.1", 0, config.tls, self._stop, ready=self._ready, max_body_bytes=limit)

    def call(self, who: str, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        """Call as somebody, who stays connected."""
        if who not in self._callers:
            self._callers[who] = client(self.url, self._ca.issue(who))
        headers = {"content-type": CBOR} if body is not None else {}
        return self._callers[who].request(method, path, content=body, headers=headers)

    def stop(self) -> None:
        for caller in self._callers.values():
            caller.close()
        self._stop.set("the test is over")
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def serve_custodian(make: Make, ca: ThrowawayCa) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def build(**how: object) -> Served:
        running.append(Served(make("c1", **how), ca))
        return running[-1]

    yield build
    for served in running:
        served.stop()


@pytest.fixture
def served(serve_custodian: Callable[..., Served]) -> Served:
    return serve_custodian()


def asked_of(served: Served) -> Asked:
    _, message = make_announcement([served.custodian])
    return Asked(approved(s.NOW_MS), [message], s.NOW_MS)


def kind_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["type"]).rpartition(":")[2]


def test_the_aggregator_gets_a_grant(served: Served) -> None:
    asked = asked_of(served)
    answer = served.call("aggregator", "POST", "/v1/grants", asked.to_bytes())
    assert answer.status_code == 200
    grant = read_grant(answer.content, "c1")
    assert grant.open(asked.matcher)[0].scope.first_slot == 38


@pytest.mark.slow
@pytest.mark.parametrize("who", ["ana", "bo", "eve", "c2", "box-1"])
def test_others_may_not_ask_for_grants(served: Served, who: str) -> None:
    answer = served.call(who, "POST", "/v1/grants", asked_of(served).to_bytes())
    assert (answer.status_code, kind_of(answer)) == (403, "duty-required")
    assert "grant" not in [kind for kind, _ in opened_log(served.custodian)]


def test_a_certificate_of_a_name_that_the_directory_lacks(served: Served) -> None:
    for method, path in (
        ("GET", "/v1/status"),
        ("GET", "/v1/day-keys"),
        ("GET", "/v1/log/checkpoint"),
        ("POST", "/v1/grants"),
        ("POST", "/v1/withdrawals"),
    ):
        answer = served.call("mallory", method, path, b"" if method == "POST" else None)
        assert (answer.status_code, kind_of(answer)) == (403, "unknown-signer")


def test_a_certificate_of_another_authority(served: Served, tmp_path: Path) -> None:
    foreign = ThrowawayCa(tmp_path / "foreign").issue("aggregator")
    trusting = foreign.model_copy(update={"ca": served.custodian.config.tls.ca})
    with client(served.url, trusting) as http, pytest.raises(PeerUnreachable):
        http.get("/v1/status")


def test_a_refusal_says_why_over_http(served: Served) -> None:
    asked = asked_of(served)
    few = Asked(approved(s.NOW_MS, approvers=("bo",)), asked.announcements, s.NOW_MS)
    answer = served.call("aggregator", "POST", "/v1/grants", few.to_bytes())
    assert (answer.status_code, kind_of(answer)) == (403, "approvals-missing")
    assert "1 of 2 approvals" in answer.json()["detail"]
    garbage = served.call("aggregator", "POST", "/v1/grants", b"\xff")
    assert (garbage.status_code, kind_of(garbage)) == (400, "malformed-message")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "status"),
    [("bo", 200), ("ana", 200), ("aggregator", 200), ("eve", 403), ("c2", 403), ("box-1", 403)],
)
def test_who_may_bring_a_withdrawal(served: Served, who: str, status: int) -> None:
    asked = asked_of(served)
    message = Withdrawal(asked.case.query.digest, "no", s.NOW_MS).sign(s.signing_key("bo"))
    answer = served.call(who, "POST", "/v1/withdrawals", message.to_bytes())
    assert answer.status_code == status
    grant = served.call("aggregator", "POST", "/v1/grants", asked.to_bytes())
    assert grant.status_code == (403 if status == 200 else 200)


def test_day_keys_are_signed_and_public(served: Served) -> None:
    answer = served.call("aggregator", "GET", "/v1/day-keys")
    assert answer.headers["content-type"] == CBOR
    signed = Signed.parse(answer.content, kind=DAY_KEYS_KIND)
    payload = signed.verify(s.directory().resolver("custodian"))
    keys = DayKeys.parse(payload, custodian="c1").keys
    assert {e: k.raw for e, k in keys.items()} == {
        e: k.raw for e, k in day_keys_of(served.custodian).items()
    }


def test_status_tells_how_it_is(served: Served) -> None:
    told = served.call("eve", "GET", "/v1/status").json()
    assert (told["name"], told["site"], told["clock_in_doubt"]) == ("c1", s.SITE, False)
    assert told["day_keys"]["count"] == 14 + 1 + 7  # past days, today, days ahead


@pytest.mark.slow
def test_those_who_cosign_its_log_vouch_for_the_time_after_the_machine_was_off(
    make: Make, ca: ThrowawayCa, time: Time
) -> None:
    make("c1").close()
    time.restart(off_ms=21 * DAY_MS)
    served = Served(make("c1", again=True), ca)
    try:
        assert served.call("eve", "GET", "/v1/status").json()["clock_in_doubt"]
        text = served.call("aggregator", "GET", "/v1/log/checkpoint").text
        checkpoint = parse_checkpoint(text)[0]
        for name, in_doubt in (("c2", True), ("aggregator", False)):
            witness = origin_of(s.SITE, name)
            line = cosign(
                checkpoint, witness=witness, key=s.signing_key(name), time_s=time.ms // 1000
            )
            path = f"/v1/log/cosignatures?size={checkpoint.size}"
            for _ in range(2):  # one that says it twice is still one
                assert served.call("aggregator", "POST", path, line.encode()).is_success
            served.custodian.rounds.go()
            told = served.call("eve", "GET", "/v1/status").json()
            assert told["clock_in_doubt"] is in_doubt
    finally:
        served.stop()


def test_the_log_is_served_and_signed(served: Served) -> None:
    text = served.call("eve", "GET", "/v1/log/checkpoint").text
    key = s.signing_key("c1").verify_key
    checkpoint = verify_checkpoint(text, origin=served.custodian.log.origin, key=key)
    assert checkpoint.size == served.custodian.log.size


def test_a_newer_directory_is_taken_and_an_older_refused(served: Served) -> None:
    newer = s.directory().revoke("bo", at_ms=s.NOW_MS).sign(s.authority()).to_bytes()
    answer = served.call("aggregator", "PUT", "/v1/directory", newer)
    assert answer.json() == {"version": 4, "changed": True}
    assert served.call("ana", "PUT", "/v1/directory", newer).json()["changed"] is False
    older = s.directory().sign(s.authority()).to_bytes()
    answer = served.call("aggregator", "PUT", "/v1/directory", older)
    assert (answer.status_code, kind_of(answer)) == (409, "directory-rollback")
    forged = s.directory().revoke("cy", at_ms=1).sign(s.signing_key("ana")).to_bytes()
    assert served.call("ana", "PUT", "/v1/directory", forged).status_code == 403
    assert served.call("bo", "GET", "/v1/status").status_code == 403
    kinds = [kind for kind, _ in opened_log(served.custodian)]
    assert kinds.count("directory") == 2


def test_a_box_and_somebody_revoked_bring_no_directory(served: Served) -> None:
    newer = s.directory().revoke("bo", at_ms=s.NOW_MS)
    answer = served.call("box-1", "PUT", "/v1/directory", newer.sign(s.authority()).to_bytes())
    assert (answer.status_code, kind_of(answer)) == (403, "duty-required")
    answer = served.call("ana", "PUT", "/v1/directory", newer.sign(s.authority()).to_bytes())
    assert answer.json()["changed"] is True
    newest = newer.revoke("cy", at_ms=s.NOW_MS).sign(s.authority()).to_bytes()
    answer = served.call("bo", "PUT", "/v1/directory", newest)
    assert (answer.status_code, kind_of(answer)) == (403, "principal-revoked")
    assert served.custodian.trust.site.directory.version == newer.version


def test_whom_only_a_newer_directory_lists_may_bring_it(served: Served) -> None:
    listed = s.directory()
    with_new = {**listed.principals, "flo": s.principal("flo", "investigator")}
    newer = listed.next_version(with_new, at_ms=s.NOW_MS).sign(s.authority()).to_bytes()
    assert served.call("flo", "PUT", "/v1/directory", newer).json()["changed"] is True


@pytest.mark.slow
def test_a_directory_that_would_grow_is_refused_for_nothing(served: Served) -> None:
    kinds = ("directory", "admissions")
    signed = [sign(kind, shared_references(), s.signing_key("ana")).to_bytes() for kind in kinds]

    def refused() -> None:
        for body in (shared_references(), *signed):
            answer = served.call("ana", "PUT", "/v1/directory", body)
            assert answer.status_code in {400, 403}

    within(10, 32 << 20, refused)


@pytest.mark.slow
def test_while_no_auditor_is_in_force_nothing_is_granted(served: Served) -> None:
    asked = asked_of(served)
    blind = s.directory().revoke("eve", at_ms=s.NOW_MS).sign(s.authority()).to_bytes()
    answer = served.call("aggregator", "PUT", "/v1/directory", blind)
    assert answer.json() == {"version": 4, "changed": True}
    answer = served.call("aggregator", "POST", "/v1/grants", asked.to_bytes())
    assert (answer.status_code, kind_of(answer)) == (403, "not-authorized")
    assert "no auditor" in answer.json()["detail"]


def test_boxes_have_no_business_here(served: Served) -> None:
    for path in ("/v1/status", "/v1/day-keys", "/v1/log/entries"):
        answer = served.call("box-1", "GET", path)
        assert (answer.status_code, kind_of(answer)) == (403, "duty-required")


@pytest.mark.slow
def test_requests_over_the_limits(serve_custodian: Callable[..., Served]) -> None:
    served = serve_custodian(
        extra="[limits]\nmax_request_bytes = 4096\ngrants_per_minute = 2\nchanges_per_minute = 1"
    )
    large = served.call("aggregator", "POST", "/v1/grants", bytes(5000))
    assert large.status_code == 413
    answers = [
        served.call("aggregator", "POST", "/v1/grants", b"\xff").status_code for _ in range(4)
    ]
    assert answers.count(429) >= 2


def test_a_body_that_is_not_declared_to_be_cbor(served: Served, ca: ThrowawayCa) -> None:
    with client(served.url, ca.issue("aggregator")) as http:
        answer = http.post("/v1/grants", content=b"{}", headers={"content-type": "text/json"})
    assert (answer.status_code, kind_of(answer)) == (415, "cbor-required")


def test_callers_wait_after_using_up_their_calls() -> None:
    now_s = [0.0]
    limit = RateLimit(60, now_s=lambda: now_s[0])
    for _ in range(60):
        limit.take("a")
    with pytest.raises(Problem):
        limit.take("a")
    limit.take("b")
    now_s[0] = 1.01
    limit.take("a")
    with pytest.raises(Problem):
        limit.take("a")


def test_what_cannot_be_logged_is_not_granted(served: Served) -> None:
    asked = asked_of(served)
    connection = served.custodian.log._database.conn  # as on a full disk: the file may not grow
    connection.execute("PRAGMA max_page_count = 1")
    granted = 0
    while (
        answer := served.call("aggregator", "POST", "/v1/grants", asked.to_bytes())
    ).status_code == 200:
        granted += 1  # the last page had room left
    assert (answer.status_code, kind_of(answer)) == (503, "custodian-unable")
    kinds = [kind for kind, _ in opened_log(served.custodian)]
    assert kinds.count("grant") == granted  # a refusal is smaller, and may have found room


def test_day_keys_come_in_the_form_that_is_asked_for(served: Served) -> None:
    for path, form in (("", 1), ("?form=1", 1), ("?form=2", 2)):
        signed = Signed.parse(
            served.call("aggregator", "GET", f"/v1/day-keys{path}").content, kind=DAY_KEYS_KIND
        )
        assert DayKeys.parse(signed.payload, custodian="c1").form == form
    for odd in ("0", "3", "x"):
        assert served.call("eve", "GET", f"/v1/day-keys?form={odd}").status_code == 422


def rows_of(served: Served) -> RowsAsked:
    _, message = make_announcement([served.custodian], version=2)
    return RowsAsked(with_stills(), [message], [row(1), row(2)])


@pytest.fixture
def opening(serve_custodian: Callable[..., Served]) -> Served:
    return serve_custodian(policy=q2.POLICY_TEXT, directory=directory())


@pytest.mark.slow
def test_the_aggregator_gets_rows_and_those_who_confirm_get_the_receipts(opening: Served) -> None:
    asked = rows_of(opening)
    answer = opening.call("aggregator", "POST", "/v1/rows", asked.to_bytes())
    assert answer.status_code == 200
    release = read_release(answer.content, "c1")
    assert set(release.open(asked.matcher)[1]) == set(asked.rows)
    path = f"/v1/rows/{asked.case.query.digest.hex()}"
    for who in ("ana", "bea", "eve"):
        told = opening.call(who, "GET", path)
        assert decode(told.content, what="receipts") == [answer.content]
    behind = opening.call("ana", "GET", f"{path}?from_entry={release.entry_index + 1}")
    assert decode(behind.content, what="receipts") == []


@pytest.mark.slow
def test_nobody_else_opens_rows_or_reads_what_was_opened(opening: Served) -> None:
    asked = rows_of(opening)
    for who in ("ana", "bo", "eve", "c2"):
        answer = opening.call(who, "POST", "/v1/rows", asked.to_bytes())
        assert (answer.status_code, kind_of(answer)) == (403, "duty-required")
    assert opening.call("aggregator", "POST", "/v1/rows", asked.to_bytes()).status_code == 200
    path = f"/v1/rows/{asked.case.query.digest.hex()}"
    for who in ("bo", "aggregator", "c2"):
        assert kind_of(opening.call(who, "GET", path)) == "duty-required"
    answer = opening.call("cleo", "GET", path)
    assert (answer.status_code, kind_of(answer)) == (403, "not-your-query")
    unknown = opening.call("cleo", "GET", f"/v1/rows/{'0' * 64}")
    assert decode(unknown.content, what="receipts") == []
    for odd in ("0" * 63, "G" * 64, "0" * 66):
        assert opening.call("ana", "GET", f"/v1/rows/{odd}").status_code == 422


@pytest.mark.slow
def test_a_confirming_officer_gets_stills_and_the_aggregator_none(opening: Served) -> None:
    asked = rows_of(opening)
    assert opening.call("aggregator", "POST", "/v1/rows", asked.to_bytes()).status_code == 200
    wanted = StillsAsked(asked.case, asked.announcements, [row(1)], officer="bea")
    answer = opening.call("bea", "POST", "/v1/evidence", wanted.to_bytes())
    assert answer.status_code == 200
    refused = opening.call("aggregator", "POST", "/v1/evidence", wanted.to_bytes())
    assert (refused.status_code, kind_of(refused)) == (403, "duty-required")


def test_too_many_rows_are_refused_by_the_cap_by_name(opening: Served) -> None:
    asked = rows_of(opening)
    few = with_stills(max_candidates=1)
    answer = opening.call("aggregator", "POST", "/v1/rows", replace(asked, case=few).to_bytes())
    assert (answer.status_code, kind_of(answer)) == (403, "scope-exceeded")
    assert "max_candidates" in answer.json()["detail"]


@pytest.mark.slow
def test_requests_for_rows_and_stills_are_limited_too(
    serve_custodian: Callable[..., Served],
) -> None:
    served = serve_custodian(
        policy=q2.POLICY_TEXT,
        directory=directory(),
        extra="[limits]\nrows_per_minute = 1\nevidence_per_minute = 1",
    )
    asked = rows_of(served).to_bytes()
    codes = [served.call("aggregator", "POST", "/v1/rows", asked).status_code for _ in range(2)]
    assert codes == [200, 429]
    path = f"/v1/rows/{'0' * 64}"
    assert [served.call("ana", "GET", path).status_code for _ in range(2)] == [200, 429]
    assert served.call("bea", "GET", path).status_code == 200
