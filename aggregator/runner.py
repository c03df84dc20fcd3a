"""Run authorized queries: ask for grants slot by slot, match what they open, seal what was found.

One thread, ``queries``, looks at every open query whenever something has changed and at least
every quarter of a second, so that a live candidate shows within that after its envelope is stored.
A query's keys are in this thread's memory while it runs, and are dropped when it ends.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from aggregator.doubts import Doubts, Judgement, is_genuine, judge, listed
from aggregator.grants import Custodians, Granted, Refusal, TooFewGrants, name_in
from aggregator.matching.pool import Matcher
from aggregator.matching.scopes import Altered, MatchReport
from aggregator.matching.shares import fair_shares
from aggregator.queries import QueryDesk
from aggregator.records import Records
from aggregator.store import Ledger, Store
from aggregator.store.rows import (
    AWAITING_APPROVALS,
    BLOCKED,
    COMPLETE,
    ENDED,
    EXPIRED,
    FAILED,
    RUNNING,
    STANDING,
    WITHDRAWN,
    EpochName,
    QueryRecord,
    StoredAnnouncement,
)
from protocol.authorization import AuthorizedQuery, authorize, parse_signed_query
from protocol.directory import CUSTODIAN
from protocol.errors import (
    ApprovalsMissing,
    NotAuthorized,
    ProgrammeEnded,
    ProtocolError,
    QueryExpired,
    QueryWithdrawn,
)
from protocol.grant import EpochKeys
from protocol.policy import Policy
from protocol.results import Candidate
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.lifecycle import Stop
from runtime.trust import Trust

_log = structlog.get_logger()
POLL_S = 0.25
RETRY_S = 10.0
LATE_MS = 60_000
"""A live query stays this long after its window, for envelopes that are on the way."""


@dataclass(frozen=True, slots=True)
class _Find:
    """What has to be known of a candidate that is stored, sealed, to share the room for them."""

    camera: str
    subject: str
    score: float

    @classmethod
    def of(cls, candidate: Candidate) -> _Find:
        return cls(candidate.address.camera, candidate.subject, candidate.score)


@dataclass(slots=True)
class _Run:
    """What one query holds while it runs."""

    keys: dict[EpochName, EpochKeys] = field(default_factory=dict)
    refused: dict[EpochName, range] = field(default_factory=dict)
    answered: dict[EpochName, frozenset[str]] = field(default_factory=dict)
    doubts: Doubts = field(default_factory=Doubts)
    behind: Doubts = field(default_factory=lambda: Doubts(first_s=1.0, most_s=60.0))
    grant_ids: set[bytes] = field(default_factory=set)
    finds: dict[bytes, _Find] = field(default_factory=dict)
    cursor: int = 0
    unmatched: list[EpochKeys] = field(default_factory=list)
    retry_at_s: float = 0.0


class QueryRunner:
    """Carries every open query forward; `run` is the body of the thread ``queries``.

    Args:
        desk: the queries.
        store: the envelopes, announcements and results.
        trust: the site's directory.
        policy: the site's policy.
        custodians: asked for grants.
        matcher: compares.
        log: the aggregator's audit log.
        actor: the aggregator's name, as it stands in the log.
    """

    def __init__(
        self,
        *,
        desk: QueryDesk,
        store: Store,
        trust: Trust,
        policy: Policy,
        custodians: Custodians,
        matcher: Matcher,
        log: AuditLog,
        actor: str,
    ) -> None:
        self._desk = desk
        self._store = store
        self._trust = trust
        self._policy = policy
        self._custodians = custodians
        self._matcher = matcher
        self._records = Records(store, log, actor)
        self._runs: dict[bytes, _Run] = {}

    def run(self, stop: Stop) -> None:
        """Step every open query until ``stop``."""
        while not stop.is_set():
            self._desk.changed.wait(POLL_S)
            self._desk.changed.clear()
            self._log_pending()
            for record in self._desk.runnable():
                if stop.is_set():
                    break
                self.step(record)
        self._runs.clear()

    def _log_pending(self) -> None:
        try:
            self._records.flush()
        except OperationError as error:
            _log.error("audit_log_not_written", reason=str(error))

    def step(self, record: QueryRecord) -> None:
        """Carry one query as far as it gets now; what goes wrong ends or blocks it alone."""
        run = self._runs.setdefault(record.digest, _Run())
        if self._desk.matcher(record.digest) is None or time.monotonic() < run.retry_at_s:
            return
        try:
            self._advance(record, run)
        except ApprovalsMissing as error:
            self._desk.set_state(record.digest, AWAITING_APPROVALS, str(error))
        except QueryWithdrawn as error:
            self._end(record, WITHDRAWN, str(error))
        except (QueryExpired, ProgrammeEnded) as error:
            self._end(record, EXPIRED, str(error))
        except TooFewGrants as error:
            self._accuse(record, error.refusals)
            if error.final:
                self._end(record, FAILED, str(error))
            else:
                self._block(record, run, str(error))
        except ProtocolError as error:
            self._end(record, FAILED, str(error))
        except OperationError as error:
            self._block(record, run, str(error))
        except Exception as error:  # what a box, custodian or officer sent must not end the thread
            _log.exception("query_step_failed", query=record.query_id.hex())
            self._block(record, run, f"an error of the program: {type(error).__name__}")

    def _advance(self, record: QueryRecord, run: _Run) -> None:
        now_ms = system_ms()
        authorized = self._authorize(record, now_ms)
        if record.state in {AWAITING_APPROVALS, BLOCKED}:
            self._desk.set_state(record.digest, RUNNING)
        self._records.flush()
        held = dict(run.keys)
        run.unmatched += self._fetch_keys(record, authorized, run, now_ms)
        self._match(record, authorized, run, held, run.unmatched)
        run.unmatched = []
        self._settle(record, authorized, run, now_ms)

    # ------------------------------------------------------------------ steps

    def _authorize(self, record: QueryRecord, now_ms: int) -> AuthorizedQuery:
        return authorize(
            parse_signed_query(record.signed),
            self._desk.approvals(record.digest),
            self._desk.withdrawals(record.digest),
            directory=self._trust.directory,
            policy=self._policy,
            now_ms=now_ms,
        )

    def _fetch_keys(
        self, record: QueryRecord, authorized: AuthorizedQuery, run: _Run, now_ms: int
    ) -> list[EpochKeys]:
        """Ask for what has become grantable since; return the keys that are new."""
        query, now_s = authorized.query, time.monotonic()
        wanted: list[StoredAnnouncement] = []
        for stored in self._store.ledger.announcements(
            query.cameras, from_ms=query.window_from_ms, to_ms=query.window_to_ms
        ):
            name = stored.name
            if any(kept.must_wait(name, now_s=now_s) for kept in (run.doubts, run.behind)):
                continue
            slots = authorized.grantable_slots(stored.epoch, now_ms=now_ms)
            held = run.keys.get(name)
            closed = run.refused.get(name, range(0))
            if slots and (held is None or held.slots() != slots) and closed != slots:
                wanted.append(stored)
        if not wanted:
            return []
        matcher_key = self._desk.matcher(record.digest)
        if matcher_key is None:
            return []
        for stored in wanted:
            run.doubts.postpone(stored.name, now_s=now_s)
        granted = self._custodians.grant(
            record,
            authorized,
            self._desk.approvals(record.digest),
            self._desk.withdrawals(record.digest),
            matcher_key,
            announcements=wanted,
            wait_for_all=any(stored.name in run.doubts for stored in wanted),
        )
        self._accuse(record, granted.refusals)
        run.grant_ids |= set(granted.grant_ids)
        fresh = self._hold(run, granted)
        for stored in wanted:
            self._note_behind(
                run, stored.name, authorized.grantable_slots(stored.epoch, now_ms=now_ms)
            )
            if stored.name not in run.keys and stored.name not in run.doubts:
                slots = authorized.grantable_slots(stored.epoch, now_ms=now_ms)
                run.refused[stored.name] = slots
        figures = {"scopes": len(fresh), "refused": len(granted.refused)}
        self._desk.add_progress(record.digest, figures)
        return fresh

    @staticmethod
    def _note_behind(run: _Run, name: EpochName, wanted: range) -> None:
        """Note whether custodians whose clocks are behind, or who say so, released too little."""
        held = run.keys.get(name)
        if held is None or held.slots() == wanted:
            run.behind.settle([name])
        else:
            run.behind.note([name], now_s=time.monotonic())

    @staticmethod
    def _hold(run: _Run, granted: Granted) -> list[EpochKeys]:
        fresh = []
        for keys in granted.keys:
            scope = keys.scope
            name = name_in(scope)
            held = run.keys.get(name)
            run.keys[name] = keys
            run.refused.pop(name, None)
            run.answered[name] = granted.answered[name]
            new = keys.slots()
            if held is not None and held.slots().start == new.start:
                new = range(held.slots().stop, new.stop)
            if new:
                fresh.append(keys.narrowed(new))
        return fresh

    def _match(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: _Run,
        held: Mapping[EpochName, EpochKeys],
        fresh: Sequence[EpochKeys],
    ) -> None:
        """Match newly opened scopes wholly, and what has arrived since for those held before."""
        cursor = self._store.ledger.newest_envelope()
        arrived = self._arrived(held, run.cursor, cursor)
        if not fresh and not arrived:
            return
        query = authorized.query
        probes = self._desk.probes(record)
        try:
            reports = [
                self._matcher.match(
                    scopes,
                    probes,
                    contacts=query.contacts,
                    max_candidates=query.max_candidates,
                    after=after,
                )
                for scopes, after in ((arrived, run.cursor), (fresh, 0))
                if scopes
            ]
        finally:
            for group in probes:
                group.wipe()
        doubted: set[EpochName] = set()
        for report in reports:
            judgement = self._judge(record, run, report)
            doubted |= judgement.doubted
            self._keep(record, authorized, run, report, judgement.altered)
        run.cursor = cursor
        run.doubts.settle({name_in(keys.scope) for keys in fresh} - doubted)
        run.doubts.note(doubted, now_s=time.monotonic())

    def _arrived(
        self, held: Mapping[EpochName, EpochKeys], after: int, newest: int
    ) -> list[EpochKeys]:
        """Return the keys held of cameras from which something came after the cursor."""
        if newest <= after or not held:
            return []
        return [held[name] for name in self._store.ledger.arrived_since(after) if name in held]

    def _judge(self, record: QueryRecord, run: _Run, report: MatchReport) -> Judgement:
        """Name who granted falsely, and give up scopes whose keys open nothing."""
        for custodian, scopes in report.liars.items():
            cameras = listed(sorted({scope.address.camera for scope in scopes}))
            reason = (
                f"it released keys of {cameras} that do not open what was sealed there; what "
                "others released does"
            )
            self._accuse(record, [Refusal(custodian, reason, false=True)])
        directory = self._trust.directory
        judgement = judge(
            report,
            run.answered,
            everybody=frozenset(one.name for one in directory.with_duty(CUSTODIAN)),
            is_genuine=lambda number: is_genuine(self._store, directory, number),
        )
        for name in judgement.doubted:
            run.keys.pop(name, None)
            _log.error("keys_open_nothing", camera=name[1], released_by=sorted(run.answered[name]))
        return judgement

    def _accuse(self, record: QueryRecord, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            if refusal.false:
                self._desk.accuse(record, refusal.custodian, refusal.reason)

    def _keep(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: _Run,
        report: MatchReport,
        altered: Sequence[Altered],
    ) -> None:
        """Seal the candidates to the investigator; write down what was compared."""
        if not report.segments and not report.live_envelopes and not altered:
            return
        with self._records.writing() as unit:
            new, finds, beyond = self._store_candidates(
                unit.ledger, record, authorized, run, report.candidates
            )
            body = {
                "query_digest": record.digest,
                "grant_ids": sorted(run.grant_ids),
                "segments": report.segments + report.live_envelopes,
                "sightings": report.sightings,
                "candidates": new,
            }
            self._records.note("match", record.query_id, body)
        run.finds = finds
        if new:
            _log.info("candidates_found", query=record.query_id.hex(), count=new)
        self._desk.add_progress(
            record.digest,
            {
                "segments": report.segments,
                "live_envelopes": report.live_envelopes,
                "sightings": report.sightings,
                "candidates": new,
                "altered": len(altered),
                "other_models": sum(report.skipped_models.values()),
                "dropped": sum(report.left_out.values()) + beyond.total(),
                **{
                    f"left_out.{camera}": n
                    for camera, n in (beyond + Counter(report.left_out)).items()
                },
                **{f"lying.{camera}": n for camera, n in report.lying.items()},
            },
        )
        for one in altered:
            _log.error("envelope_altered", camera=one.camera, reason=one.reason)
        for camera, count in report.lying.items():
            _log.error(
                "box_lies",
                camera=camera,
                sightings=count,
                reason="candidates whose times are not those of the slot that they were sealed in",
            )

    def _store_candidates(
        self,
        ledger: Ledger,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: _Run,
        candidates: Sequence[Candidate],
    ) -> tuple[int, dict[bytes, _Find], Counter[str]]:
        """Store what gets in; what a camera brought beyond its share before makes room for it.

        An early flood would else keep out whoever is found later. What an investigator has decided
        on stays. Return how many are new, which are stored now, and how many of each camera went.
        """
        if not candidates:
            return 0, run.finds, Counter()
        requester = self._trust.directory.principals[authorized.requester]
        if requester.seal_key is None:
            raise NotAuthorized(f"the directory gives '{requester.name}' no sealing key")
        found = {one.candidate_id(record.digest): _Find.of(one) for one in candidates}
        before = {key: one for key, one in run.finds.items() if key not in found}
        kept, gone = fair_shares(
            [*before.items(), *found.items()],
            authorized.query.max_candidates,
            camera=lambda item: (item[1].camera, item[1].subject),
            score=lambda item: item[1].score,
        )
        new, within = 0, dict(kept)
        for key, _ in gone:
            ledger.drop_undecided_result(record.digest, key)
        for candidate in candidates:
            if candidate.candidate_id(record.digest) not in within:
                continue
            sealed = candidate.seal(requester.seal_key, query_digest=record.digest)
            key = candidate.candidate_id(record.digest)
            new += ledger.add_result(record.digest, key, sealed, found_ms=system_ms())
        return new, within, Counter(one.camera for _, one in gone)

    def _settle(
        self, record: QueryRecord, authorized: AuthorizedQuery, run: _Run, now_ms: int
    ) -> None:
        """Complete a query whose window is wholly behind it; a live one stands until then."""
        query = authorized.query
        reason = self._closed_reason(record.digest)
        doubted = run.doubts.cameras()
        if doubted:
            doubt = (
                f"the keys of {listed(doubted)} do not open what was sealed there, so one of the "
                "custodians that answered released false ones; the silent ones are asked again"
            )
            self._desk.set_state(record.digest, STANDING, doubt)
        elif now_ms < query.window_to_ms + (LATE_MS if query.live else 0):
            waiting = "live" if query.live else "the window has not ended"
            self._desk.set_state(record.digest, STANDING, reason or waiting)
        elif run.behind.cameras():
            behind = (
                f"too few custodians released the last quarter hours of "
                f"{listed(run.behind.cameras())} (their clocks may be behind); they are asked again"
            )
            self._desk.set_state(record.digest, STANDING, behind)
        else:
            self._end(record, COMPLETE, reason)

    def _closed_reason(self, digest: bytes) -> str:
        refused = self._runs[digest].refused
        if not refused:
            return ""
        return f"{len(refused)} camera-days stayed closed (see the custodians' refusals)"

    def _block(self, record: QueryRecord, run: _Run, reason: str) -> None:
        run.retry_at_s = time.monotonic() + RETRY_S
        self._desk.set_state(record.digest, BLOCKED, f"{reason}; trying again")

    def _end(self, record: QueryRecord, state: str, reason: str) -> None:
        if state not in ENDED:
            raise ValueError(state)
        self._runs.pop(record.digest, None)
        self._desk.set_state(record.digest, state, reason)
