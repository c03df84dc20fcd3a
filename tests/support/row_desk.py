"""An approved query at headquarters, and three custodians in this process that open its rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import httpx
import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
import query_samples_v2 as q2
from custodian_site import CHEAP, PASSPHRASE, Time, make_announcement, write_config
from laid_down import lay_custodian, new_store
from rows_asked import approved
from rows_asked import directory as listed_directory
from throwaway_ca import ThrowawayCa
from waiting import DEADLINE_S

import aggregator.circle
from aggregator.asking import Patience
from aggregator.circle import Refusal
from aggregator.config import LimitsSection
from aggregator.findings import Findings
from aggregator.grants import Custodians
from aggregator.ingest.intake import Intake
from aggregator.matching.found import Found
from aggregator.matching.pool import Matcher
from aggregator.queries import QueryDesk
from aggregator.records import Records
from aggregator.row_requests import RowRequests
from aggregator.rows import RowOpening
from aggregator.runner import QueryRunner
from aggregator.standing import Run
from aggregator.store.rows import QueryRecord
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from officers.desk.case import open_case
from officers.desk.receipts import Receipts, compare
from officers.desk.receipts_asked import Given
from protocol.about_queries import MATCHER_KEY_KIND, MatcherKey
from protocol.auditlog import Entry, origin_of
from protocol.authorization import authorize
from protocol.encoding import decode
from protocol.epoch import roots_of
from protocol.errors import ProtocolError
from protocol.keytree import COVER, LIVE, META
from protocol.names import SightingName
from protocol.policy import parse_policy
from protocol.query import Query
from protocol.results import Candidate, Opening
from protocol.sealing import LIVE_ENVELOPE, SEGMENT
from protocol.signing import Signed
from protocol.templates import seal_templates
from protocol.v2.envelopes import Envelope
from protocol.v2.release import (
    ROW_REQUEST_KIND,
    RowRelease,
    RowRequest,
    digest_of,
    release_rows,
    seal_rows,
)
from protocol.v2.sightings import Sighting
from runtime.auditlog import AuditLog
from runtime.calibration import Calibration
from runtime.config import load
from runtime.http import PeerUnreachable
from runtime.problems import PROBLEM, problem_of, problem_response
from runtime.trust import Trust

Spoil = Callable[["RowDesk", str], bytes]
"""What a custodian answers instead of what it should."""
HOUR_MS = 3_600_000
PLACE = (s.ADDRESS.box, s.ADDRESS.camera, s.EPOCH, s.GENERATION, s.SLOT)


Values = dict[SightingName, dict[int, bytes]]


def says(
    change: Callable[[Values], object],
    *,
    sealed: bytes | None = None,
    query_digest: bytes | None = None,
    release_id: bytes | None = None,
) -> Spoil:
    """Return how a custodian answers that changes the values which it should release."""

    def answer(desk: RowDesk, name: str) -> bytes:
        asked = desk.asked[name][-1]
        announcement = v2.announcement()
        own = roots_of(name, announcement.subsets())
        roots = {number: s.roots()[number] for number in own}
        true = release_rows(roots, announcement, asked.rows)
        values = {name: dict(of_row) for name, of_row in true.items()}
        change(values)
        key = MatcherKey.parse(Signed.parse(asked.matcher_key, kind=MATCHER_KEY_KIND).payload).key
        salt, number = bytes(32), release_id or s.fixed(f"release {name} {len(values)}", 16)
        digest = query_digest or desk.record.digest
        release = RowRelease(
            release_id=number, query_digest=digest, rows=len(values), total=len(values),
            digest=digest_of(salt, values), entry_index=0, released_at_ms=desk.time.ms,
            sealed=sealed or seal_rows(
                values, key, salt=salt, release_id=number, query_digest=digest
            ),
        )  # fmt: skip
        return release.sign(s.signing_key(name)).to_bytes()

    return answer


def name_of(who: str) -> SightingName:
    """Return the name of a sighting of `protocol_samples_v2`."""
    return SightingName(*PLACE, s.fixed(f"id {who}", 8))


def founds_in(
    envelope: Envelope,
    *,
    subject: str = "P-17",
    score: float | None = 0.9,
    through: bytes | None = None,
) -> list[Found]:
    """Return all sightings of an envelope as what matching found."""
    if envelope.header.kind == LIVE_ENVELOPE:
        envelope = envelope.inner(v2.key(LIVE))
    rows = envelope.rows(v2.key(COVER))
    _, sealed = envelope.block(META)
    return [
        Found(
            subject=subject,
            name=SightingName.of(envelope.header.name, rows.id_of(number)),
            episode=bytes(rows.episodes[number].tobytes()),
            score=score,
            modality="face",
            space=s.MODEL,
            header=envelope.header_bytes,
            sealed=sealed[rows.span_of(number)],
            through=through,
        )
        for number in range(len(rows))
    ]


def founds_of(*people: str, kind: str = SEGMENT, **more: object) -> list[Found]:
    """Return people of `protocol_samples_v2`, each as a find."""
    return founds_in(v2.envelope(kind, seen=[v2.sighting(who) for who in people]), **more)  # type: ignore[arg-type]


def found_as(sighting: Sighting, **more: object) -> Found:
    """Return one sighting as a find."""
    (found,) = founds_in(v2.envelope(seen=[sighting]), **more)  # type: ignore[arg-type]
    return found


class RowDesk:
    """A query of ana's, which bea confirms, with three custodians of whom two must agree.

    ``down`` are custodians that nobody reaches; ``spoils`` maps one to what it answers instead;
    ``slow`` maps one to what it waits for before its answer about rows goes out.
    ``asked`` are the requests that reached each, in order.
    """

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        ca: ThrowawayCa,
        *,
        at_ms: int = s.NOW_MS,
        policy: bytes = q2.POLICY_TEXT,
        approvers: Sequence[str] = (),
        calibrations: Mapping[str, Calibration] | None = None,
        recordings: Mapping[str, tuple[str, ...]] | None = None,
        **query: object,
    ) -> None:
        """Set it up; ``recordings`` are the cameras whose films boxes may import, by box."""
        self.time = Time(at_ms)
        self._policy = policy
        self._calibrations = calibrations
        for name, module in list(sys.modules.items()):
            if name.startswith("aggregator") and hasattr(module, "system_ms"):
                monkeypatch.setattr(module, "system_ms", lambda: self.time.ms)
        self.monotonic_s = 1000.0
        monkeypatch.setattr("aggregator.rows.monotonic", lambda: self.monotonic_s)
        monkeypatch.setattr("aggregator.runner.time.monotonic", lambda: self.monotonic_s)
        listed = listed_directory()
        people = {
            name: replace(one, url=f"https://{name}.test") if name in s.CUSTODIANS else one
            for name, one in listed.principals.items()
        }
        for box, cameras in (recordings or {}).items():
            people[box] = replace(people[box], recordings=cameras)
        self.directory = replace(listed, principals=people, form=2 if recordings else listed.form)
        self.custodians = {name: self._custodian(folder / name, name, ca) for name in s.CUSTODIANS}
        self.down: set[str] = set()
        self.spoils: dict[str, Spoil] = {}
        self.slow: dict[str, Event] = {}
        self.patience = Patience(least_s=0.3, most_s=10.0)
        self.asked: dict[str, list[RowRequest]] = {name: [] for name in s.CUSTODIANS}
        monkeypatch.setattr(
            aggregator.circle,
            "client",
            lambda url, *_, **__: httpx.Client(
                base_url=url, transport=httpx.MockTransport(self._serve)
            ),
        )
        installed = folder / "directory.cbor"
        signed = self.directory.sign(s.authority(), self.directory.form)
        installed.write_bytes(signed.to_bytes())
        self.trust = Trust(
            site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=None
        )
        self.database = folder / "aggregator.db"
        self.key = s.signing_key("aggregator")
        self.store = new_store(self.database)
        auditors = {"eve": s.sealing_key("eve").public}
        self.log = AuditLog(
            folder / "audit.db", origin_of(s.SITE, "aggregator"), self.key, auditors
        )
        digest = parse_policy(policy).digest
        asks = {"confirmers": ("bea",), "contacts": True, "policy_digest": digest, **query}
        self.case = approved(q2.query(**asks), *approvers)  # type: ignore[arg-type]
        self.announce()
        self.accused: list[Refusal] = []
        self.begin()

    def _custodian(self, folder: Path, name: str, ca: ThrowawayCa) -> Custodian:
        path = write_config(folder, name, ca, directory=self.directory, policy=self._policy)
        lay_custodian(path.parent / "state")
        return Custodian(
            load(path, CustodianConfig), PASSPHRASE, machine=self.time.clocks, cost=CHEAP
        )

    def announce(self, **of: str) -> None:
        """Store a generation's announcement, of another ``box`` and ``camera`` where named."""
        announcement, signed = make_announcement(
            list(self.custodians.values()),
            generation=s.GENERATION,
            version=2,
            **of,  # type: ignore[arg-type]
        )
        with self.store.writing() as unit:
            stream = unit.ledger.add_stream(announcement.address)
            unit.ledger.add_announcement(stream.number, announcement, signed)

    def begin(self) -> None:
        """Begin as a new process of the aggregator; the query is filed if it was not."""
        policy = parse_policy(self._policy)
        self.desk = QueryDesk(
            self.store, self.trust, policy, self.log, self.key, calibrations=self._calibrations
        )
        digest = self.case.query.digest
        record = self.desk.file(self.case.query.to_bytes())
        signed = Signed.parse(self.desk.matcher_key(record.query_id), kind=MATCHER_KEY_KIND)
        key = MatcherKey.parse(signed.payload).key
        templates = {
            subject.pseudonym: (s.template(),) if subject.templates else ()
            for subject in record.query.subjects
        }
        sealed = seal_templates(templates, key, query_digest=digest)
        self.desk.put_templates(record.query_id, sealed)
        for approval in self.case.approvals:
            self.desk.approve(record.query_id, approval.to_bytes())
        self.findings = Findings(self.desk, self.trust, Records(self.store, self.log, "aggregator"))
        requests = RowRequests(self.trust, self.key, None, patience=self.patience)
        self.opening = RowOpening(
            self.store.ledger,
            self.desk,
            requests,
            self.findings,
            lambda _record, refusals: self.accused.extend(r for r in refusals if r.false),
            wake=self.desk.changed.set,
        )
        self.run = Run()
        self.opening.begin(self.record, self.run)
        self.intake = Intake(
            self.store, site=s.SITE, directory=lambda: self.directory, limits=LimitsSection(),
            retention_days=lambda: 14, now_ms=lambda: self.time.ms,
            audit=lambda _kind, _body: None,
        )  # fmt: skip
        patience = Patience(least_s=0.3, most_s=10.0)
        self.runner = QueryRunner(
            desk=self.desk, store=self.store, trust=self.trust, policy=policy,
            custodians=Custodians(
                self.store, self.trust, self.log, self.key, None, patience=patience
            ),
            rows=requests, matcher=Matcher(self.store.segments, processes=1), log=self.log,
            actor="aggregator",
        )  # fmt: skip

    def close(self) -> None:
        """Close all files, once nobody is slow any more."""
        for waited_for in self.slow.values():
            waited_for.set()
        for custodian in self.custodians.values():
            custodian.close()
        self.log.close()
        self.store.close()

    @property
    def record(self) -> QueryRecord:
        """The query as it is kept."""
        return self.desk.get(Query.parse(self.case.query.payload).query_id)

    def open(self, founds: Sequence[Found] = (), *, more_may_come: bool = False) -> None:
        """Let the aggregator have found these, and do what it does then."""
        authorized = authorize(
            self.case.query,
            self.case.approvals,
            [],
            directory=self.directory,
            policy=parse_policy(self._policy),
            now_ms=self.time.ms,
        )
        self.run.rows.fresh += founds
        self.opening.open(self.record, authorized, self.run, more_may_come=more_may_come)

    def step(self) -> None:
        """Let the aggregator carry the query as far as it gets now."""
        self.runner.step(self.record)

    def later(self, seconds: float = 11.0) -> None:
        """Let time go by."""
        self.monotonic_s += seconds

    def candidates(self, officer: str = "ana") -> list[Candidate]:
        """Return what an officer reads."""
        stored = self.store.ledger.results(self.record.digest, officer)
        key, digest = s.sealing_key(officer), self.record.digest
        return [Candidate.open(sealed, key, query_digest=digest) for _, sealed, _ in stored]

    def openings(self, officer: str = "ana") -> list[Opening]:
        """Return which rows were opened, as an officer reads it."""
        key, digest = s.sealing_key(officer), self.record.digest
        stored = self.desk.openings(self.record, reader=officer)
        return [Opening.open(sealed, key, query_digest=digest) for sealed in stored]

    def receipts(self, custodian: str) -> list[RowRelease]:
        """Return what a custodian's receipts in the officers' openings say."""
        found = []
        for opening in self.openings():
            if custodian in opening.receipts:
                signed = Signed.parse(opening.receipts[custodian][0], kind="row-release")
                payload = signed.verify(lambda name: s.signing_key(name).verify_key)
                assert signed.signer == custodian
                found.append(RowRelease.parse(payload))
        return found

    def held(self, officer: str = "ana") -> Receipts:
        """Compare, an hour later, as an officer's program does, who asks each custodian itself."""
        digest, query_id = self.record.digest, self.record.query_id.hex()
        given = [
            Given(name, tuple(decode(custodian.rows.receipts(digest), what="receipts")))
            for name, custodian in self.custodians.items()
        ]
        found = self.candidates(officer)
        return compare(
            self.openings(officer), given,
            {one.name: one.subject for one in found if one.name is not None},
            case=open_case(self.case.query.to_bytes(), query_id, self.directory),
            directory=self.directory, now_ms=self.time.ms + HOUR_MS,
        )  # fmt: skip

    def logged(self, kind: str) -> list[dict[str, object]]:
        """Return the bodies of the aggregator's entries of a kind."""
        entries = [Entry.parse(data) for data in self.log.entries()]
        return [dict(e.open("eve", s.sealing_key("eve"))) for e in entries if e.kind == kind]

    def _serve(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host.removesuffix(".test")
        if name in self.down:
            raise PeerUnreachable("nobody there")
        custodian = self.custodians[name]
        if request.url.path == "/v1/grants":
            return httpx.Response(200, content=custodian.granter.grant(request.content))
        signed = Signed.parse(request.content, kind=ROW_REQUEST_KIND)
        self.asked[name].append(RowRequest.parse(signed.payload))
        try:
            answer = custodian.rows.open(request.content)
        except ProtocolError as error:
            told = problem_response(problem_of(error))
            headers = {"content-type": PROBLEM}
            return httpx.Response(told.status_code, content=bytes(told.body), headers=headers)
        spoil = self.spoils.get(name)
        answer = spoil(self, name) if spoil else answer
        if name in self.slow:
            assert self.slow[name].wait(DEADLINE_S)
        return httpx.Response(200, content=answer)
