"""A filed query at headquarters, and custodians whose answers to it a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import httpx
import protocol_samples as s
import pytest
from laid_down import new_store

import aggregator.circle
from aggregator.asking import Patience
from aggregator.config import LimitsSection
from aggregator.grants import Custodians, Granted
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.pool import Matcher
from aggregator.queries import QueryDesk
from aggregator.row_requests import RowRequests
from aggregator.runner import QueryRunner
from aggregator.store.rows import QueryRecord
from aggregator.views import false_grants_view, query_view
from protocol.about_queries import MATCHER_KEY_KIND, MatcherKey
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
from protocol.policy import Policy
from protocol.query import Subject, TemplateReference
from protocol.sealing import SEGMENT
from protocol.sightings import Sighting
from protocol.signing import Signed
from protocol.templates import seal_templates
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.trust import Trust

SCOPE = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 38, 43)
LABELS = ("face", "live", "meta")
Answer = Callable[["Site", str, GrantRequest], bytes]


class Site:
    """The aggregator's side, with a segment in store and custodians whose answers a test chooses.

    ``answers`` maps a custodian to how it answers; who is not in it is honest. The query searches
    for ``people``: pseudonym to whom of `protocol_samples` it is.
    """

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        names: Sequence[str],
        threshold: int,
        *,
        people: Mapping[str, str] | None = None,
        policy: Policy = s.POLICY,
        **query: Unpack[s.QueryChanges],
    ) -> None:
        self.policy = policy
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
            known = s.signing_key(name).verify_key
            url = f"https://{name}.test"
            listed[name] = Principal(name, frozenset({CUSTODIAN}), known, url=url)
        directory = replace(directory, principals=listed, threshold=threshold)
        installed = folder / "directory.cbor"
        installed.write_bytes(directory.sign(s.authority()).to_bytes())
        trust = Trust(
            site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=None
        )
        key = s.signing_key("aggregator")
        self.store = new_store(folder / "aggregator.db")
        auditors = {"eve": s.sealing_key("eve").public}
        self.log = AuditLog(folder / "audit.db", origin_of(s.SITE, "aggregator"), key, auditors)
        self.custodians = Custodians(
            self.store, trust, self.log, key, None, patience=Patience(least_s=0.5, most_s=20.0)
        )
        self.desk = QueryDesk(self.store, trust, policy, self.log, key)
        self.runner = QueryRunner(
            desk=self.desk, store=self.store, trust=trust, policy=policy,
            custodians=self.custodians, rows=RowRequests(trust, key, None),
            matcher=Matcher(self.store.segments, processes=1),
            log=self.log, actor="aggregator",
        )  # fmt: skip
        self.intake = Intake(
            self.store, site=s.SITE, directory=lambda: directory, limits=LimitsSection(),
            retention_days=lambda: 14, now_ms=lambda: slot_start_ms(s.EPOCH, 60),
            audit=lambda _kind, _body: None,
        )  # fmt: skip
        self.trust = trust
        self.take(EPOCH, self.announcement.sign(s.signing_key("box-1")).to_bytes())
        self.take(ENVELOPE, self.segment(1))
        self._file(people or {"P-17": "person 1"}, query)

        def client(url: str, _tls: None, _timeout_s: float, **_limits: object) -> httpx.Client:
            return httpx.Client(base_url=url, transport=httpx.MockTransport(self._serve))

        monkeypatch.setattr(aggregator.circle, "client", client)

    def close(self) -> None:
        self.log.close()
        self.store.close()

    def segment(self, sequence: int, seen: Sequence[Sighting] | None = None) -> bytes:
        keys = {
            label: modality_key(
                [PuncturableTree(root, label).leaf(s.SLOT) for root in self.roots],
                site=s.SITE, camera=s.ADDRESS.camera, epoch=s.EPOCH, generation=s.GENERATION,
                slot=s.SLOT, label=label,
            )
            for label in ALL_LABELS
        }  # fmt: skip
        return s.envelope(SEGMENT, sequence=sequence, keys=keys, seen=seen).to_bytes()

    def take(self, kind: str, payload: bytes) -> None:
        message = Incoming(s.ADDRESS.topic(kind), payload, s.NOW_MS)
        assert self.intake.process([message]).stored == 1

    def _file(self, people: Mapping[str, str], changes: s.QueryChanges) -> None:
        now_ms = system_ms()
        wanted = {pseudonym: (s.template(who),) for pseudonym, who in people.items()}
        asked: s.QueryChanges = {
            "subjects": tuple(
                Subject(who, "a form", (TemplateReference("face", s.MODEL, one.digest),))
                for who, (one,) in wanted.items()
            ),
            "live": False,
            "thresholds": {s.MODEL: 0.95},
            "requested_at_ms": now_ms,
            "not_after_ms": now_ms + 3_600_000,
        }
        asked["policy_digest"] = self.policy.digest
        query = s.query(**(asked | changes))
        case = query.sign(s.signing_key("ana"))
        record = self.desk.file(case.to_bytes())
        signed = Signed.parse(self.desk.matcher_key(record.query_id), kind=MATCHER_KEY_KIND)
        sealed = seal_templates(
            wanted, MatcherKey.parse(signed.payload).key, query_digest=record.digest
        )
        self.desk.put_templates(record.query_id, sealed)
        for name in ("bo", "cy"):
            approval = s.approval(case, name, policy_digest=self.policy.digest)
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
            signed, approvals, [], directory=self.trust.directory, policy=self.policy, now_ms=now_ms
        )
        matcher = self.desk.matcher(record.digest)
        assert matcher is not None
        announced = self.store.ledger.announcements(("cam-1",), from_ms=0, to_ms=now_ms)
        return self.custodians.grant(
            record, authorized, approvals, [], matcher, announcements=announced
        )

    def step(self) -> QueryRecord:
        self.runner.step(self.record)
        return self.record

    def named(self) -> set[str]:
        """Return who is named: the same to the operator, to the officers and in the log."""
        operator = set(false_grants_view(self.desk))
        shown = query_view(self.desk, self.record, self.policy)["false_grants"]
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
