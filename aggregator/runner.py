"""Run authorized queries: ask for grants slot by slot, match what they open, seal what was found.

One thread, ``queries``, looks for which queries there is something to do: an envelope or an
announcement came, an approval or withdrawal, another directory, or a quarter of an hour began
(`aggregator.standing`). Whatever comes wakes it, so that a live candidate shows at once after its
envelope is stored. Each is stepped in a thread of its own (`aggregator.stepping`), so that none
waits for another. A query's keys are in memory while it runs, and are dropped when it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from aggregator.arrivals import Arrivals
from aggregator.circle import Refusal
from aggregator.comparing import Comparing, Overtaken
from aggregator.deciding import Deciding
from aggregator.doubts import listed
from aggregator.findings import Findings
from aggregator.following import Following
from aggregator.grants import Custodians, TooFewGrants
from aggregator.linking import Linking
from aggregator.matching.pool import Matcher
from aggregator.opening import Opening
from aggregator.queries import QueryDesk
from aggregator.reasons import why_closed, why_it_goes_on
from aggregator.records import AnyLog, Records
from aggregator.refused import waiting_for
from aggregator.row_requests import RowRequests
from aggregator.rows import RowOpening
from aggregator.standing import Basis, Run
from aggregator.stepping import Steps
from aggregator.store import Store
from aggregator.store.rows import (
    AWAITING_APPROVALS,
    BLOCKED,
    COMPLETE,
    ENDED,
    EXPIRED,
    FAILED,
    REFUSED_BY_APPROVERS,
    RUNNING,
    STANDING,
    WITHDRAWN,
    QueryRecord,
    Seen,
)
from aggregator.watch_keeping import WatchKeeping
from aggregator.watching import ARRIVAL_MS
from protocol.authorization import AuthorizedQuery, authorize, parse_signed_query
from protocol.errors import (
    ApprovalsMissing,
    ProgrammeEnded,
    ProtocolError,
    QueryExpired,
    QueryWithdrawn,
)
from protocol.policy import Policy
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.lifecycle import Stop
from runtime.trust import Trust

_log = structlog.get_logger()
LOOK_S = 1.0
"""Looked at the clock and the cursors at least so often, should nothing wake the thread."""
RETRY_S = 10.0
STOP_WITHIN_S = 10.0
"""So long the steps under way are waited for when the process stops."""


class Stopping(OperationError):
    """The process stops: a step of a query is given up, and loses nothing but its time."""


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
        mine: tells by a query's id whether this process carries it; None: it carries all.
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
        log: AnyLog,
        actor: str,
        mine: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._mine = mine
        self._desk = desk
        self._store = store
        self._trust = trust
        self._policy = policy
        self._records = Records(store, log, actor)
        self._opening = Opening(store.ledger, desk, custodians, self._accuse)
        self._findings = Findings(desk, trust, self._records)
        self._deciding = Deciding(desk, trust, policy)
        self._comparing = Comparing(
            store=store,
            desk=desk,
            trust=trust,
            matcher=matcher,
            findings=self._findings,
            accuse=self._accuse,
        )
        self._following = Following(store, matcher, policy)
        self._linking = Linking(store, desk, self._deciding, self._findings)
        self._rows = RowOpening(
            store.ledger, desk, rows, self._findings, self._accuse, wake=desk.changed.set
        )
        self._watching = WatchKeeping(
            store.segments, matcher, self._findings, self._deciding, desk.changed.set
        )
        self._steps = Steps(desk.changed.set)
        self._stop = Stop()
        self._runs: dict[bytes, Run] = {}
        self._open: list[QueryRecord] = []
        self._open_version = -1
        self._look_again_s = 0.0

    def run(self, stop: Stop) -> None:
        """Have the queries stepped until ``stop``."""
        self._stop = stop
        while not stop.is_set():
            self._desk.changed.wait(LOOK_S)
            self._desk.changed.clear()
            try:
                self.look(stop)
            except OperationError as error:
                _log.error("queries_not_read", reason=str(error))
        if not self.wait(STOP_WITHIN_S):
            _log.warning("query_steps_given_up")
        self._rows.take_in_late()
        self._runs.clear()

    def look(self, stop: Stop) -> None:
        """Have every query stepped for which there is something to do; but none twice at once.

        Raises:
            StorageError: the store cannot be read.
        """
        self._log_pending()
        late = self._rows.answered_late()
        version = self._desk.version
        if self._mine is not None:
            self._look_at_ours(self._mine)
        elif version != self._open_version:
            self._open = self._desk.runnable()
            self._open_version = version
        if self._open:
            self._begin_steps(Arrivals(self._store.ledger), stop)
        for digest in late:  # of those that are not being stepped
            self._steps.begin(digest, partial(self._rows.take_in_late, digest), wakes=False)

    def _begin_steps(self, arrivals: Arrivals, stop: Stop) -> None:
        for record in self._open:
            if stop.is_set():
                break
            if not self._steps.is_busy(record.digest) and self._is_due(record, arrivals):
                self._steps.begin(record.digest, partial(self._step, record, arrivals))

    def wait(self, timeout_s: float) -> bool:
        """Wait until no query is being stepped, at most so long; tell whether that is so."""
        return self._steps.wait(timeout_s)

    def _look_at_ours(self, mine: Callable[[bytes], bool]) -> None:
        """Read which queries are open and ours: other processes change and take over some, too."""
        version, now_s = self._desk.version, time.monotonic()
        if version == self._open_version and now_s < self._look_again_s:
            return
        self._open_version, self._look_again_s = version, now_s + LOOK_S
        runnable = self._desk.runnable()
        self._open = [one for one in runnable if mine(one.query_id)]
        self._desk.interrupt_without_keys(self._open)
        for record in runnable:
            if mine(record.query_id) or self._steps.is_busy(record.digest):
                continue
            if (run := self._runs.pop(record.digest, None)) is not None:
                run.forget_keys()
                self._desk.forget_keys(record.digest)

    def step(self, record: QueryRecord) -> None:
        """Carry one query as far as it gets now, here; not beside `run`."""
        arrivals = Arrivals(self._store.ledger)
        if self._is_due(record, arrivals):
            self._step(record, arrivals)

    def _log_pending(self) -> None:
        try:
            self._records.flush()
        except OperationError as error:
            _log.error("audit_log_not_written", reason=str(error))

    def _is_due(self, record: QueryRecord, arrivals: Arrivals) -> bool:
        """Tell whether there is something to do for a query that nobody steps."""
        run = self._runs.setdefault(record.digest, Run())
        if self._desk.matcher(record.digest) is None or not self._is_ours(record):
            return False
        directory, revision = self._trust.directory, self._desk.revision(record.digest)
        now_ms, now_s = system_ms(), time.monotonic()
        return run.is_due(arrivals, directory, revision, now_ms=now_ms, now_s=now_s)

    def _is_ours(self, record: QueryRecord) -> bool:
        return self._mine is None or self._mine(record.query_id)

    def _step(self, record: QueryRecord, arrivals: Arrivals) -> None:
        """Carry a query as far as it gets now; what goes wrong ends or blocks it alone."""
        self._rows.take_in_late(record.digest)
        run = self._runs.setdefault(record.digest, Run())
        try:
            self._advance(record, run, arrivals, now_ms=system_ms(), now_s=time.monotonic())
        except (Stopping, Overtaken) as error:
            _log.info("query_step_given_up", query=record.query_id.hex(), reason=str(error))
        except ApprovalsMissing as error:
            missing = waiting_for(
                self._desk, record, self._trust.directory, self._policy, str(error)
            )
            self._say(record, *missing)
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
        if record.state in {AWAITING_APPROVALS, REFUSED_BY_APPROVERS, BLOCKED}:
            self._desk.set_state(record.digest, RUNNING)
        self._records.flush()
        self._rows.begin(record, run)
        run.begin(now_ms, now_s)
        self._match(record, authorized, run, arrivals)
        if not self._may_go_on(record, run):
            return  # it is decided anew first
        self._deciding.read(record, authorized, run)
        self._follow(record, authorized, run)
        self._rows.open(record, authorized, run, more_may_come=_may_find_more(authorized, now_ms))
        self._linking.look(record, authorized, run, now_s=now_s)
        self._watching.look(
            record,
            authorized,
            run,
            now_ms=now_ms,
            now_s=now_s,
            meanwhile=partial(self._go_on, record, run),
        )
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
        self, record: QueryRecord, authorized: AuthorizedQuery, run: Run, arrivals: Arrivals
    ) -> None:
        """Match what has arrived for keys at hand, and what is granted now, as it is granted."""
        since = arrivals.since(run.matched) if run.keys else frozenset()
        arrived = [run.keys[name] for name in sorted(since & run.keys.keys())]
        may_go_on = partial(self._may_go_on, record, run)
        with self._comparing.begin(
            record, authorized, run, through=arrivals.envelope, may_go_on=may_go_on
        ) as comparison:
            comparison.add(arrived, after=run.matched)
            comparison.add(tuple(run.unmatched))
            try:
                for fresh in self._opening.portions(
                    record,
                    authorized,
                    run,
                    arrivals,
                    may_go_on=may_go_on,
                ):
                    comparison.add(fresh)
            except TooFewGrants:
                comparison.keep()
                raise
            comparison.finish(arrived)

    def _go_on(self, record: QueryRecord, run: Run) -> None:
        """Have a step that waits for workers end where it may not go on.

        Raises:
            Overtaken, Stopping: it may not.
        """
        if not self._may_go_on(record, run):
            raise Overtaken("what the query was authorized on has changed")

    def _may_go_on(self, record: QueryRecord, run: Run) -> bool:
        """Tell whether what a query was authorized on holds still, and it is still ours.

        Raises:
            Stopping: the process stops.
        """
        if self._stop.is_set():
            raise Stopping("the aggregator stops")
        if not self._is_ours(record):
            return False
        revision = self._desk.revision(record.digest)
        return run.basis is not None and run.basis.holds(
            self._trust.directory, revision, now_ms=system_ms()
        )

    def _follow(self, record: QueryRecord, authorized: AuthorizedQuery, run: Run) -> None:
        """Look for the clothes of confirmed hits; what is found is opened like all else."""
        for report in self._following.follow(authorized, run):
            self._findings.keep(record, authorized, run, report, ())
            run.rows.fresh += report.found

    def _accuse(self, record: QueryRecord, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            if refusal.false:
                self._desk.accuse(record, refusal.custodian, refusal.reason)

    def _settle(
        self, record: QueryRecord, authorized: AuthorizedQuery, run: Run, now_ms: int
    ) -> None:
        """Complete a query whose window is wholly behind it; a live one stands until then."""
        query = authorized.query
        reason = why_closed(run)
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
            self._say(record, STANDING, reason or why_it_goes_on(query, now_ms))
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


def _may_find_more(authorized: AuthorizedQuery, now_ms: int) -> bool:
    query = authorized.query
    return now_ms < query.window_to_ms + ARRIVAL_MS
