"""Custodians that answer falsely keep nothing closed that enough others opened, and are named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

import httpx
import protocol_samples as s
import pytest

import aggregator.grants
from aggregator.asking import Patience
from aggregator.config import LimitsSection
from aggregator.grants import Custodians, Granted, TooFewGrants
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.pool import Matcher
from aggregator.queries import QueryDesk
from aggregator.runner import QueryRunner
from aggregator.store import Store
from aggregator.store.queries import QueryRecord
from aggregator.views import false_grants_view, query_view
from protocol.auditlog import Entry, origin_of
from protocol.authorization import authorize
from protocol.directory import CUSTODIAN, Principal
from protocol.epoch import announce, excluded_subsets, roots_of
from protocol.grant import (
    GRANT_REQUEST_KIND,
    Grant,
    GrantedKeys,
    GrantRequest,
    Scope,
    release,
    seal_grant,
)
from protocol.keytree import LABELS as ALL_LABELS
from protocol.keytree import PuncturableTree, modality_key
from protocol.names import ENVELOPE, EPOCH, slot_start_ms
from protocol.query import MATCHER_KEY_KIND, MatcherKey, Subject, TemplateReference
from protocol.sealing import SEGMENT
from protocol.signing import Signed
from protocol.templates import seal_templates
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.trust import Trust

SCOPE = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 38, 43)
LABELS = ("face", "live", "meta")
WANTED = s.template("person 1")
Answer = Callable[["Site", str, GrantRequest], bytes]


class Site:
    """The aggregator's side, with a segment in store and custodians whose answers a test chooses.

    ``answers`` maps a custodian to how it answers; who is not in it is honest.
    """

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, names: Sequence[str], threshold: int
    ) -> None:
        self.names, self.threshold = tuple(names), threshold
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.roots = [s.fixed(f"r{n}", 32) for n in range(len(excluded_subsets(names, threshold)))]
        self.announcement = announce(
            self.roots, address=s.ADDRESS, epoch=s.EPOCH, generation=s.GENERATION, sequence=0,
            threshold=threshold, custodians=self.names,
            day_keys={name: s.day_key(name).public for name in names}, models={"face": s.MODEL},
            announced_at_ms=s.NOW_MS,
        )  # fmt: skip
        directory = s.directory()
        listed = {n: p for n, p in directory.principals.items() if CUSTODIAN not in p.duties}
        for name in names:
            key = s.signing_key(name).verify_key
            listed[name] = Principal(name, frozenset({CUSTODIAN}), key, url=f"https://{name}.test")
        directory = replace(directory, principals=listed, threshold=threshold)
        installed = folder / "directory.cbor"
        installed.write_bytes(directory.sign(s.authority()).to_bytes())
        trust = Trust(
            site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=None
        )
        key = s.signing_key("aggregator")
        self.store = Store(folder / "aggregator.db")
        auditors = {"eve": s.sealing_key("eve").public}
        self.log = AuditLog(folder / "audit.db", origin_of(s.SITE, "aggregator"), key, auditors)
        self.custodians = Custodians(
            self.store, trust, self.log, key, None, patience=Patience(least_s=0.5, most_s=20.0)
        )
        self.desk = QueryDesk(self.store, trust, s.POLICY, self.log, key)
        self.runner = QueryRunner(
            desk=self.desk, store=self.store, trust=trust, policy=s.POLICY,
            custodians=self.custodians, matcher=Matcher(self.store, processes=1), log=self.log,
            actor="aggregator",
        )  # fmt: skip
        self.intake = Intake(
            self.store, site=s.SITE, directory=lambda: directory, limits=LimitsSection(),
            retention_days=lambda: 14, now_ms=lambda: slot_start_ms(s.EPOCH, 60),
            audit=lambda _kind, _body: None,
        )  # fmt: skip
        self.trust = trust
        self.take(EPOCH, self.announcement.sign(s.signing_key("box-1")).to_bytes())
        self.take(ENVELOPE, self.segment(1))
        self._file()

        def client(url: str, _tls: None, _timeout_s: float, **_limits: object) -> httpx.Client:
            return httpx.Client(base_url=url, transport=httpx.MockTransport(self._serve))

        monkeypatch.setattr(aggregator.grants, "client", client)

    def close(self) -> None:
        self.log.close()
        self.store.close()

    def segment(self, sequence: int) -> bytes:
        keys = {
            label: modality_key(
                [PuncturableTree(root, label).leaf(s.SLOT) for root in self.roots],
                site=s.SITE, camera=s.ADDRESS.camera, epoch=s.EPOCH, generation=s.GENERATION,
                slot=s.SLOT, label=label,
            )
            for label in ALL_LABELS
        }  # fmt: skip
        return s.envelope(SEGMENT, sequence=sequence, keys=keys).to_bytes()

    def take(self, kind: str, payload: bytes) -> None:
        message = Incoming(s.ADDRESS.topic(kind), payload, s.NOW_MS)
        assert self.intake.process([message]).stored == 1

    def _file(self) -> None:
        now_ms = system_ms()
        reference = TemplateReference("face", s.MODEL, WANTED.digest)
        case = s.case(
            subjects=(Subject("P-17", "form 17", (reference,)),),
            live=False,
            thresholds={s.MODEL: 0.95},
            requested_at_ms=now_ms,
            not_after_ms=now_ms + 3_600_000,
        )
        record = self.desk.file(case.query.to_bytes())
        signed = Signed.parse(self.desk.matcher_key(record.query_id), kind=MATCHER_KEY_KIND)
        sealed = seal_templates(
            {"P-17": (WANTED,)}, MatcherKey.parse(signed.payload).key, query_digest=record.digest
        )
        self.desk.put_templates(record.query_id, sealed)
        for approval in case.approvals:
            self.desk.approve(record.query_id, approval.to_bytes())
        self.query_id = record.query_id

    @property
    def record(self) -> QueryRecord:
        return self.desk.get(self.query_id)

    def honest(self, name: str, scope: Scope = SCOPE) -> GrantedKeys:
        own = roots_of(name, self.announcement.subsets())
        return release({number: self.roots[number] for number in own}, scope, LABELS)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host.removesuffix(".test")
        self.asked.append(name)
        asked = GrantRequest.parse(Signed.parse(request.content, kind=GRANT_REQUEST_KIND).payload)
        how = self.answers.get(name, says())
        return httpx.Response(200, content=how(self, name, asked))

    def ask(self) -> Granted:
        record, now_ms = self.record, system_ms()
        approvals = self.desk.approvals(record.digest)
        signed = Signed.parse(record.signed, kind="query")
        authorized = authorize(
            signed, approvals, [], directory=self.trust.directory, policy=s.POLICY, now_ms=now_ms
        )
        matcher = self.desk.matcher(record.digest)
        assert matcher is not None
        announced = self.store.announcements(("cam-1",), from_ms=0, to_ms=now_ms)
        return self.custodians.grant(
            record, authorized, approvals, [], matcher, announcements=announced
        )

    def step(self) -> QueryRecord:
        self.runner.step(self.record)
        return self.record

    def named(self) -> set[str]:
        """Return who is named: the same to the operator, to the officers and in the log."""
        operator = set(false_grants_view(self.desk))
        shown = query_view(self.desk, self.record, s.POLICY)["false_grants"]
        assert {note["custodian"] for note in shown} == operator
        logged = set()
        for data in self.log.entries(0, self.log.size):
            entry = Entry.parse(data)
            if entry.kind == "refusal":
                body = entry.open("eve", s.sealing_key("eve"))
                assert body["query_digest"] == self.record.digest
                logged.add(body["custodian"])
        assert logged == operator
        return operator


def says(
    keys: Callable[[Site, str], list[GrantedKeys]] = lambda site, name: [site.honest(name)],
    *,
    sealed: bytes | None = None,
    late_ms: int = 0,
    grant_id: bytes | None = None,
    query_digest: bytes | None = None,
) -> Answer:
    """Return how a custodian answers: by default as it should."""

    def answer(site: Site, name: str, asked: GrantRequest) -> bytes:
        matcher_key = Signed.parse(asked.matcher_key, kind=MATCHER_KEY_KIND)
        matcher = MatcherKey.parse(matcher_key.payload).key
        released = keys(site, name)
        number = grant_id or s.fixed(f"grant {name} {len(site.asked)}", 16)
        digest = query_digest or site.record.digest
        grant = Grant(
            grant_id=number,
            query_digest=digest,
            labels=tuple(released[0].nodes),
            scopes=tuple(one.scope for one in released),
            refused=(),
            entry_index=0,
            granted_at_ms=asked.requested_at_ms - late_ms,
            sealed=sealed or seal_grant(released, matcher, grant_id=number, query_digest=digest),
        )
        return grant.sign(s.signing_key(name)).to_bytes()

    return answer


def lying(label: str, *, place: int = 0) -> Answer:
    """Return the answer of one whose keys of ``label`` are false from some slot on."""

    def keys(site: Site, name: str) -> list[GrantedKeys]:
        own = site.honest(name)
        spoilt = {
            root: tuple(
                replace(node, key=s.fixed(f"lie {name}", 32)) if number >= place else node
                for number, node in enumerate(nodes)
            )
            for root, nodes in own.nodes[label].items()
        }
        return [GrantedKeys(own.scope, {**own.nodes, label: spoilt})]

    return says(keys)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    one = Site(tmp_path, monkeypatch, s.CUSTODIANS, 2)
    yield one
    one.close()


@pytest.fixture
def site_of_five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    one = Site(tmp_path, monkeypatch, ("c1", "c2", "c3", "c4", "c5"), 3)
    yield one
    one.close()


def scoped(**changes: int) -> Answer:
    return says(lambda site, name: [site.honest(name, replace(SCOPE, **changes))])


def relabelled(site: Site, name: str) -> list[GrantedKeys]:
    own = site.honest(name)
    return [GrantedKeys(own.scope, {"meta": own.nodes["meta"]})]


def elsewhere(site: Site, name: str) -> list[GrantedKeys]:
    other = replace(SCOPE, generation=99)
    return [site.honest(name), GrantedKeys(other, site.honest(name).nodes)]


def stolen_roots(site: Site, name: str) -> list[GrantedKeys]:
    own, other = site.honest(name), site.honest("c1")
    nodes = {label: {**other.nodes[label], **own.nodes[label]} for label in LABELS}
    return [GrantedKeys(own.scope, nodes)]


LIES: Mapping[str, Answer] = {
    "what does not open": says(sealed=b"x" * 2000),
    "fewer slots": scoped(last_slot=38),
    "more slots": scoped(last_slot=50),
    "later slots": scoped(first_slot=40),
    "one camera many times": says(lambda site, name: [site.honest(name)] * 5),
    "other labels": says(relabelled),
    "keys that nobody asked for": says(elsewhere),
    "roots that it cannot have": says(stolen_roots),
    "a grant for another query": says(query_digest=bytes(32)),
    "false template keys": lying("face"),
    "false template keys of the later slots": lying("face", place=1),
    "false metadata keys": lying("meta"),
}


@pytest.mark.parametrize("lie", LIES)
def test_one_that_lies_fails_no_query_and_is_named(site: Site, lie: str) -> None:
    site.answers["c3"] = LIES[lie]
    record = site.step()
    assert (record.state, record.reason) == ("complete", "")
    assert record.progress["candidates"] == 1
    assert not record.progress["altered"]
    assert site.named() == {"c3"}


def test_where_nobody_lies_nobody_is_named(site: Site) -> None:
    assert site.step().progress["candidates"] == 1
    assert not site.named()


def test_two_liars_of_five_fail_no_query_and_both_are_named(site_of_five: Site) -> None:
    site_of_five.answers.update(c1=lying("face"), c4=lying("meta", place=1))
    record = site_of_five.step()
    assert (record.state, record.progress["candidates"]) == ("complete", 1)
    assert site_of_five.named() == {"c1", "c4"}


def test_two_liars_that_agree_on_a_scope_do_not_outvote_clocks_that_differ(
    site_of_five: Site,
) -> None:
    site_of_five.answers.update(c1=scoped(last_slot=39), c4=scoped(last_slot=39))
    assert site_of_five.step().progress["candidates"] == 1
    assert site_of_five.named() == {"c1", "c4"}


def test_an_old_grant_is_not_taken_again(site: Site) -> None:
    same = says(grant_id=b"one and the same")
    site.answers["c3"] = same
    assert not any(refusal.false for refusal in site.ask().refusals)
    (refusal,) = site.ask().refusals
    assert refusal.false
    assert "came before" in refusal.reason


def test_one_that_is_silent_holds_nothing_up(site: Site) -> None:
    gone = threading.Event()

    def never(_site: Site, _name: str, _asked: GrantRequest) -> bytes:
        gone.wait(30)
        return b""

    site.answers["c3"] = never
    try:
        started = monotonic()
        assert {refusal.custodian for refusal in site.ask().refusals} == {"c3"}
        assert site.step().progress["candidates"] == 1
        assert monotonic() - started < 10
        assert not site.named(), "to be slow is not to lie"
        assert site.asked.count("c3") == 1, "one that still answers is not asked again"
    finally:
        gone.set()


def refuses(_site: Site, _name: str, _asked: GrantRequest) -> bytes:
    raise httpx.ConnectError("nobody there")


def test_a_lie_that_nobody_can_contradict_waits_for_the_silent_custodian(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.answers.update(c1=refuses, c3=lying("face"))
    record = site.step()
    assert record.state == "standing"
    assert "cam-1" in record.reason
    assert not site.named(), "of two that differ from the box nobody knows who lies"
    asked = len(site.asked)
    assert site.step().state == "standing"
    assert len(site.asked) == asked, "it is not asked for again at once"
    del site.answers["c1"]
    later = monotonic() + 11
    monkeypatch.setattr("aggregator.runner.time.monotonic", lambda: later)
    record = site.step()
    assert (record.state, record.progress["candidates"]) == ("complete", 1)
    assert site.named() == {"c3"}


def test_an_envelope_that_was_altered_in_store_accuses_nobody(site: Site) -> None:
    site.answers.update(c1=refuses)
    with site.store.writing() as database:
        database.conn.execute("UPDATE envelopes SET face = zeroblob(length(face))")
    record = site.step()
    assert (record.state, record.progress["altered"]) == ("complete", 1)
    assert not site.named()


def test_a_spoilt_announcement_fails_no_query(site: Site) -> None:
    with site.store.writing() as database:
        database.conn.execute("UPDATE announcements SET signed = x'00'")
    record = site.step()
    assert record.state == "complete"
    assert "1 camera-days stayed closed" in record.reason


def test_one_that_is_a_moment_behind_keeps_no_slot_closed(site: Site) -> None:
    site.answers["c1"] = says(late_ms=60_000)
    (keys,) = site.ask().keys
    assert keys.scope == SCOPE


def test_one_that_says_it_is_far_behind_is_not_asked_again_and_again(site: Site) -> None:
    before_last_ms = system_ms() - slot_start_ms(s.EPOCH, SCOPE.last_slot)
    short = replace(SCOPE, last_slot=SCOPE.last_slot - 1)
    behind = says(lambda at, name: [at.honest(name, short)], late_ms=before_last_ms)
    site.answers.update(c1=refuses, c3=behind)
    for _ in range(5):
        record = site.step()
    assert record.state == "standing", "a quarter hour is still closed"
    assert "cam-1" in record.reason
    assert record.progress["candidates"] == 1
    assert site.asked.count("c2") == 1


def test_too_few_that_open_are_too_few(site: Site) -> None:
    for name in ("c2", "c3"):
        site.answers[name] = says(sealed=b"x" * 2000)
    before = site.log.size
    with pytest.raises(TooFewGrants, match="1 of 3 custodians granted") as caught:
        site.ask()
    assert not caught.value.final
    assert site.log.size == before + 3, "what came is logged all the same"
    assert site.step().state == "blocked"
    assert site.named() == {"c2", "c3"}


def test_what_came_is_logged_with_its_labels(site: Site) -> None:
    site.ask()
    entries = [Entry.parse(data) for data in site.log.entries(0, site.log.size)]
    received = [entry for entry in entries if entry.kind == "grant-received"]
    assert len(received) == 3
    for entry in received:
        assert set(entry.open("eve", s.sealing_key("eve"))["labels"]) == set(LABELS)
