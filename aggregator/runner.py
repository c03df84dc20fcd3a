"""Run authorized queries: ask for grants slot by slot, match what they open, seal what was found.

One thread, ``queries``, steps the queries for which there is something to do: an envelope or an
announcement came, an approval or withdrawal, another directory, or a quarter of an hour began
(`aggregator.standing`). Whatever comes wakes it, so that a live candidate shows at once after its
envelope is stored. A query's keys are in this thread's memory while it runs, and are dropped when
it ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import structlog

from aggregator.arrivals import Arrivals
from aggregator.circle import Refusal
from aggregator.deciding import Deciding
from aggregator.doubts import Judgement, is_genuine, judge, listed
from aggregator.findings import Findings
from aggregator.following import Following
from aggregator.grants import Custodians, TooFewGrants, name_in
from aggregator.linking import Linking
from aggregator.matching.examples import NOT_OPENED, take_examples
from aggregator.matching.pool import Matcher
from aggregator.matching.scopes import MatchReport
from aggregator.opening import Opening
from aggregator.queries import QueryDesk
from aggregator.records import Records
from aggregator.row_requests import RowRequests
from aggregator.rows import RowOpening
from aggregator.standing import Basis, Run
from aggregator.store import Store
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
    Seen,
)
from aggregator.watch_keeping import WatchKeeping
from aggregator.watching import ARRIVAL_MS
from protocol.authorization import AuthorizedQuery, authorize, parse_signed_query
from protocol.directory import CUSTODIAN
from protocol.epoch_keys import EpochKeys
from protocol.errors import (
    ApprovalsMissing,
    ProgrammeEnded,
    ProtocolError,
    QueryExpired,
    QueryWithdrawn,
)
from protocol.policy import Policy
from protocol.query import Query
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.lifecycle import Stop
from runtime.trust import Trust

_log = structlog.get_logger()
LOOK_S = 1.0
"""Looked at the clock and the cursors at least so often, should nothing wake the thread."""
RETRY_S = 10.0


class QueryRunner:
    """Carries every open query forward; `run` is the body of the thread ``queries``.

    Args:
        desk: the queries.
        store: the envelopes, announcements and results.
        trust: the site's directory.
        policy: the site's policy.
        custodians: asked for grants.
        rows: asks custodians for single rows of metadata.
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
        rows: RowRequests,
        matcher: Matcher,
        log: AuditLog,
        actor: str,
    ) -> None:
        self._desk = desk
        self._store = store
        self._trust = trust
        self._policy = policy
        self._matcher = matcher
        self._records = Records(store, log, actor)
        self._opening = Opening(store.ledger, desk, custodians, self._accuse)
        self._findings = Findings(desk, trust, self._records)
        self._deciding = Deciding(desk, trust, policy)
        self._following = Following(store, matcher, policy)
        self._linking = Linking(store, desk, self._deciding, self._findings)
        self._rows = RowOpening(
            store.ledger, desk, rows, self._findings, self._accuse, wake=desk.changed.set
        )
        self._watching = WatchKeeping(
            store.segments, self._findings, self._deciding, desk.changed.set
        )
        self._runs: dict[bytes, Run] = {}
        self._open: list[QueryRecord] = []
        self._open_version = -1

    def run(self, stop: Stop) -> None:
        """Step the queries until ``stop``."""
        while not stop.is_set():
            self._desk.changed.wait(LOOK_S)
            self._desk.changed.clear()
            try:
                self.look(stop)
            except OperationError as error:
                _log.error("queries_not_read", reason=str(error))
        self._rows.take_in_late()
        self._runs.clear()

    def look(self, stop: Stop) -> None:
        """Step every query for which there is something to do.

        Raises:
            StorageError: the store cannot be read.
        """
        self._log_pending()
        self._rows.take_in_late()
        version = self._desk.version
        if version != self._open_version:
            self._open = self._desk.runnable()
            self._open_version = version
        if not self._open:
            return
        arrivals = Arrivals(self._store.ledger)
        for record in self._open:
            if stop.is_set():
                break
            self._step(record, arrivals)

    def step(self, record: QueryRecord) -> None:
        """Carry one query as far as it gets now; what goes wrong ends or blocks it alone."""
        self._step(record, Arrivals(self._store.ledger))

    def _log_pending(self) -> None:
        try:
            self._records.flush()
        except OperationError as error:
            _log.error("audit_log_not_written", reason=str(error))

    def _step(self, record: QueryRecord, arrivals: Arrivals) -> None:
        run = self._runs.setdefault(record.digest, Run())
        if self._desk.matcher(record.digest) is None:
            return
        directory, revision = self._trust.directory, self._desk.revision(record.digest)
        now_ms, now_s = system_ms(), time.monotonic()
        if not run.is_due(arrivals, directory, revision, now_ms=now_ms, now_s=now_s):
            return
        try:
            self._advance(record, run, arrivals, now_ms=now_ms, now_s=now_s)
        except ApprovalsMissing as error:
            self._say(record, AWAITING_APPROVALS, str(error))
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

    def _advance(
        self, record: QueryRecord, run: Run, arrivals: Arrivals, *, now_ms: int, now_s: float
    ) -> None:
        authorized = self._authorize(record, run, now_ms)
        if record.state in {AWAITING_APPROVALS, BLOCKED}:
            self._desk.set_state(record.digest, RUNNING)
        self._records.flush()
        self._rows.begin(record, run)
        run.begin(now_ms, now_s)
        held = dict(run.keys)
        run.unmatched += self._opening.fetch(record, authorized, run, arrivals, now_ms=now_ms)
        self._match(record, authorized, run, held, arrivals)
        self._deciding.read(record, authorized, run)
        self._follow(record, authorized, run)
        self._rows.open(record, authorized, run, more_may_come=_may_find_more(authorized, now_ms))
        self._linking.look(record, authorized, run, now_s=now_s)
        self._watching.look(record, authorized, run, now_ms=now_ms, now_s=now_s)
        run.announced = arrivals.announcement
        run.schedule(authorized.query, now_ms=now_ms)
        self._settle(record, authorized, run, now_ms)

    # ------------------------------------------------------------------ steps

    def _authorize(self, record: QueryRecord, run: Run, now_ms: int) -> AuthorizedQuery:
        """Return the decision, taken anew only when something that it stood on has changed."""
        directory, revision = self._trust.directory, self._desk.revision(record.digest)
        if run.authorized is not None and run.basis is not None:
            if run.basis.holds(directory, revision, now_ms=now_ms):
                return run.authorized
            run.authorized = None
        run.basis = Basis.now(
            record.query, directory, self._policy, revision=revision, now_ms=now_ms
        )
        run.everything = True
        run.authorized = authorize(
            parse_signed_query(record.signed),
            self._desk.approvals(record.digest),
            self._desk.withdrawals(record.digest),
            directory=directory,
            policy=self._policy,
            now_ms=now_ms,
        )
        return run.authorized

    def _match(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: Run,
        held: Mapping[EpochName, EpochKeys],
        arrivals: Arrivals,
    ) -> None:
        """Match newly opened scopes wholly, and what has arrived since for those held before."""
        if not run.examples:
            examples = [one for subject in authorized.query.subjects for one in subject.examples]
            run.no_examples = dict.fromkeys(examples, NOT_OPENED) | dict(run.no_examples)
        fresh = run.unmatched
        run.trail.news = []
        since = arrivals.since(run.matched) if held else frozenset()
        arrived = [held[name] for name in sorted(since) if name in held]
        if fresh or arrived:
            self._compare(record, authorized, run, fresh, arrived)
            run.trail.news = [(arrived, run.matched), (fresh, 0)]
            run.watch.note(fresh, arrived, after=run.matched, through=arrivals.envelope)
        run.matched = max(run.matched, arrivals.envelope)
        run.unmatched = []

    def _compare(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: Run,
        fresh: Sequence[EpochKeys],
        arrived: Sequence[EpochKeys],
    ) -> None:
        query = authorized.query
        taken = take_examples(self._store.segments, run.keys, query)
        try:
            probes = self._desk.probes(record, taken.templates)
        finally:
            taken.wipe()
        run.no_examples = taken.missing
        if not taken.names <= run.examples:  # one that could not be compared until now is all over
            fresh, arrived = list(run.keys.values()), []
            run.examples |= taken.names
        if not probes:
            return
        try:
            reports = [
                self._matcher.match(
                    scopes,
                    probes,
                    contacts=query.contacts,
                    max_candidates=query.max_candidates,
                    after=after,
                )
                for scopes, after in ((arrived, run.matched), (fresh, 0))
                if scopes
            ]
        finally:
            for group in probes:
                group.wipe()
        doubted: set[EpochName] = set()
        for report in reports:
            judgement = self._judge(record, run, report)
            doubted |= judgement.doubted
            self._findings.keep(record, authorized, run, report, judgement.altered)
            run.rows.fresh += report.found
            run.trail.note(record.digest, report.found)
        run.doubts.settle({name_in(keys.scope) for keys in fresh} - doubted)
        run.doubts.note(doubted, now_s=time.monotonic())

    def _follow(self, record: QueryRecord, authorized: AuthorizedQuery, run: Run) -> None:
        """Look for the clothes of confirmed hits; what is found is opened like all else."""
        for report in self._following.follow(authorized, run):
            self._findings.keep(record, authorized, run, report, ())
            run.rows.fresh += report.found

    def _judge(self, record: QueryRecord, run: Run, report: MatchReport) -> Judgement:
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

    def _settle(
        self, record: QueryRecord, authorized: AuthorizedQuery, run: Run, now_ms: int
    ) -> None:
        """Complete a query whose window is wholly behind it; a live one stands until then."""
        query = authorized.query
        reason = self._closed_reason(run)
        waiting = run.rows.words()
        doubted = run.doubts.cameras()
        if doubted:
            doubt = (
                f"the keys of {listed(doubted)} do not open what was sealed there, so one of the "
                "custodians that answered released false ones; the silent ones are asked again"
            )
            self._say(record, STANDING, doubt)
        elif waiting:
            self._say(record, STANDING, waiting)
        elif _may_find_more(authorized, now_ms):
            self._say(record, STANDING, reason or _goes_on(query, now_ms))
        elif run.watch.portions:
            self._say(record, STANDING, "what the cameras watched is being added up")
        elif run.behind.cameras():
            behind = (
                f"too few custodians released the last quarter hours of "
                f"{listed(run.behind.cameras())} (their clocks may be behind); they are asked again"
            )
            self._say(record, STANDING, behind)
        elif words := self._deciding.words_of_waiting(authorized, run, now_ms=now_ms):
            self._say(record, STANDING, "; ".join(filter(None, [words, reason])))
        else:
            self._linking.look(record, authorized, run, now_s=time.monotonic(), last=True)
            self._watching.finish(record, authorized, run, now_ms=now_ms)
            self._end(record, COMPLETE, reason)

    def _closed_reason(self, run: Run) -> str:
        days = ""
        if run.refused:
            days = f"{len(run.refused)} camera-days stayed closed (see the custodians' refusals)"
        return "; ".join(
            filter(
                None,
                [days, *_without_examples(run), *run.trail.words(), run.rows.words_of_closed()],
            )
        )

    def _block(self, record: QueryRecord, run: Run, reason: str) -> None:
        run.postpone(time.monotonic() + RETRY_S)
        self._say(record, BLOCKED, f"{reason}; trying again")

    def _say(self, record: QueryRecord, state: str, reason: str) -> None:
        """Put a query into a state; one that goes on standing costs no transaction."""
        if not (state == STANDING and (record.state, record.reason) == (state, reason)):
            self._desk.set_state(record.digest, state, reason)

    def _end(self, record: QueryRecord, state: str, reason: str) -> None:
        if state not in ENDED:
            raise ValueError(state)
        run = self._runs.pop(record.digest, None)
        seen = None
        if run is not None:
            seen = Seen(run.matched, run.announced) if run.announced else None
            run.forget_keys()
        self._desk.set_state(record.digest, state, reason, seen=seen)


def _without_examples(run: Run) -> Iterator[str]:
    """Say of each example that was not compared why not."""
    for name, why in sorted(run.no_examples.items()):
        yield f"nothing was compared with the example at {name.camera}: {why}"


def _goes_on(query: Query, now_ms: int) -> str:
    """Say why a query goes on whose rows are all open."""
    if query.live:
        return "live"
    if now_ms < query.window_to_ms:
        return "the window has not ended"
    return "segments of the last quarter hour may still come"


def _may_find_more(authorized: AuthorizedQuery, now_ms: int) -> bool:
    query = authorized.query
    return now_ms < query.window_to_ms + ARRIVAL_MS
