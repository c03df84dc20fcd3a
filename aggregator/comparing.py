"""Compare what a query's keys open, as they come: one comparison a step of the query.

Scopes go to the matcher portion by portion. What was found is judged and kept every few seconds and
at the end, so that a step that does not come to its end has lost little, and a short one has one
entry in the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType

import structlog

from aggregator.circle import Refusal
from aggregator.doubts import Judgement, is_genuine, judge, listed
from aggregator.findings import Findings
from aggregator.grants import name_in
from aggregator.matching.examples import NOT_OPENED, take_examples
from aggregator.matching.pool import Done, Matcher, Pass
from aggregator.matching.probes import Probes
from aggregator.matching.scopes import MatchReport, merge_reports
from aggregator.opening import Accuse
from aggregator.queries import QueryDesk
from aggregator.standing import Run
from aggregator.store import Store
from aggregator.store.rows import RUNNING, EpochName, QueryRecord
from protocol.authorization import AuthorizedQuery
from protocol.directory import CUSTODIAN
from protocol.epoch_keys import EpochKeys
from protocol.names import SLOT_MS
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.trust import Trust

KEEP_S = 2.0
"""So often what was found in a long step is kept."""
_log = structlog.get_logger()


class Overtaken(OperationError):
    """What a query was authorized on has changed: it is decided anew before more is compared."""


class Comparing:
    """Begins the comparisons of all queries; safe in several threads.

    Args:
        store: the sealed segments.
        desk: opens the subjects' templates.
        trust: the site's directory.
        matcher: compares.
        findings: keeps what was found.
        accuse: told of custodians whose keys are false.
    """

    def __init__(
        self,
        *,
        store: Store,
        desk: QueryDesk,
        trust: Trust,
        matcher: Matcher,
        findings: Findings,
        accuse: Accuse,
    ) -> None:
        self.store = store
        self.desk = desk
        self.trust = trust
        self.matcher = matcher
        self.findings = findings
        self.accuse = accuse

    def begin(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: Run,
        *,
        through: int,
        may_go_on: Callable[[], bool],
    ) -> Comparison:
        """Begin the comparison of a step.

        Args:
            record, authorized: the query.
            run: what it holds.
            through: how far the store has come.
            may_go_on: asked about once a second while workers are waited for.
        """
        return Comparison(self, record, authorized, run, through=through, may_go_on=may_go_on)

    def judge(self, record: QueryRecord, run: Run, report: MatchReport) -> Judgement:
        """Name who granted falsely, and give up scopes whose keys open nothing."""
        for custodian, scopes in report.liars.items():
            cameras = listed(sorted({scope.address.camera for scope in scopes}))
            reason = (
                f"it released keys of {cameras} that do not open what was sealed there; what "
                "others released does"
            )
            self.accuse(record, [Refusal(custodian, reason, false=True)])
        directory = self.trust.directory
        judgement = judge(
            report,
            run.answered,
            everybody=frozenset(one.name for one in directory.with_duty(CUSTODIAN)),
            is_genuine=lambda number: is_genuine(self.store, directory, number),
        )
        for name in judgement.doubted:
            run.keys.pop(name, None)
            _log.error("keys_open_nothing", camera=name[1], released_by=sorted(run.answered[name]))
        return judgement


class Comparison:
    """What is compared in one step of a query; a context, used by the query's thread."""

    def __init__(
        self,
        parts: Comparing,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: Run,
        *,
        through: int,
        may_go_on: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._may_go_on = may_go_on
        self._record = record
        self._authorized = authorized
        self._run = run
        self._through = through
        examples = [one for subject in authorized.query.subjects for one in subject.examples]
        self._example_days = {(one.box, one.camera, one.epoch, one.generation) for one in examples}
        self._pass: Pass | None = None
        self._probes: Sequence[Probes] = ()
        self._anew = False
        self._said = ""
        self._begun = False
        self._finished = False
        self._done: list[Done] = []
        self._kept_s = time.monotonic()
        self._early: set[EpochName] = set()
        self._news: list[EpochKeys] = []
        if not run.examples:
            run.no_examples = dict.fromkeys(examples, NOT_OPENED) | dict(run.no_examples)

    def __enter__(self) -> Comparison:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Have nothing under way, and wipe the templates."""
        self._close()
        if not self._finished:
            self._run.early |= self._early
            self._run.trail.forget()  # what was compared in vain has not been followed either

    def add(self, scopes: Sequence[EpochKeys], *, after: int = 0) -> None:
        """Compare scopes: all that is in store for them, or what came after a cursor.

        Args:
            scopes: keys that the query holds; new ones are in ``run.unmatched``.
            after: the cursor.

        Raises:
            OperationError, ProtocolError: they could not be compared.
        """
        if not scopes:
            return
        if not after and self._authorized.query.asks.continuation:
            self._news += scopes
        if not self._begun or self._has_example(scopes):
            self._begin()
            if self._anew:
                scopes, after = list(self._run.keys.values()), 0
        if self._pass is not None:
            self._pass.add(scopes, after=after)
            self._take(self._pass.done())

    def keep(self) -> None:
        """Compare what is left of what was added, and keep what was found.

        Raises:
            OperationError, ProtocolError: it could not be compared, or kept.
        """
        if self._pass is not None:
            for done in self._pass.rest():
                self._take([done])
        self._keep()

    def finish(self, arrived: Sequence[EpochKeys]) -> None:
        """Keep what was found, and note up to where all is compared.

        Args:
            arrived: the keys at hand that were added because something came under them.

        Raises:
            OperationError, ProtocolError: not all could be compared, or kept.
        """
        self.keep()
        run = self._run
        before = [run.keys[name] for name in sorted(run.early & run.keys.keys())]
        others = [keys for keys in arrived if name_in(keys.scope) not in run.early]
        run.watch.note([*run.unmatched, *before], others, after=run.matched, through=self._through)
        run.trail.news = [(arrived, run.matched), (self._news, 0)]
        run.matched = max(run.matched, self._through)
        run.unmatched = []
        run.early.clear()
        self._finished = True

    # ------------------------------------------------------------------ inside

    def _has_example(self, scopes: Sequence[EpochKeys]) -> bool:
        return bool(self._example_days) and any(
            name_in(keys.scope) in self._example_days for keys in scopes
        )

    def _begin(self) -> None:
        """Open the templates as far as they are there, and begin to compare with them."""
        self.keep()
        self._close()
        run, query = self._run, self._authorized.query
        taken = take_examples(self._parts.store.segments, run.keys, query)
        try:
            self._probes = self._parts.desk.probes(self._record, taken.templates)
        finally:
            taken.wipe()
        run.no_examples = taken.missing
        self._anew = not taken.names <= run.examples  # what could not be compared until now
        run.examples |= taken.names
        self._begun = True
        if self._probes:
            window_ms = min(query.window_to_ms, system_ms()) - query.window_from_ms
            self._pass = self._parts.matcher.begin(
                self._probes,
                contacts=query.contacts,
                max_candidates=query.max_candidates,
                group=self._record.digest,
                expected=len(query.cameras) * max(0, window_ms) // SLOT_MS,
                meanwhile=self._look,
            )

    def _look(self) -> None:
        """Look, while workers are waited for, whether that is to go on.

        Raises:
            Overtaken: no. What has not been kept is compared by a later step, if by any.
        """
        if not self._may_go_on():
            raise Overtaken("what the query was authorized on has changed")
        self._say(self._parts.matcher.trouble() or "")

    def _say(self, trouble: str) -> None:
        """Have officers read why nothing is compared just now, and that it is again."""
        if trouble != self._said:
            self._said = trouble
            self._parts.desk.set_state(self._record.digest, RUNNING, trouble)

    def _close(self) -> None:
        if self._pass is not None:
            self._pass.close()
            self._pass = None
        for group in self._probes:
            group.wipe()
        self._probes = ()

    def _take(self, done: Sequence[Done]) -> None:
        if done:
            self._say("")
        self._done += done
        if time.monotonic() - self._kept_s > KEEP_S:
            self._keep()

    def _keep(self) -> None:
        """Judge what was compared, and keep what was found in it."""
        if not self._done:
            return
        record, run = self._record, self._run
        report = self._merged([done.report for done in self._done])
        judgement = self._parts.judge(record, run, report)
        finds = self._with_earlier(report)
        self._parts.findings.keep(
            record,
            self._authorized,
            run,
            replace(report, left_out=finds.left_out),
            judgement.altered,
        )
        run.rows.fresh = list(finds.found)
        run.trail.note(record.digest, report.found)
        compared = {id(keys): name_in(keys.scope) for one in self._done for keys in one.scopes}
        run.doubts.settle(set(compared.values()) - judgement.doubted)
        run.doubts.note(judgement.doubted, now_s=time.monotonic())
        fresh = [keys for keys in run.unmatched if id(keys) in compared]
        run.unmatched = [keys for keys in run.unmatched if id(keys) not in compared]
        run.watch.note(fresh, [], after=0, through=self._through)
        self._early.update(name_in(keys.scope) for keys in fresh)
        self._done = []
        self._kept_s = time.monotonic()

    def _merged(self, reports: Sequence[MatchReport]) -> MatchReport:
        if len(reports) == 1:
            return reports[0]
        return merge_reports(reports, max_candidates=self._authorized.query.max_candidates)

    def _with_earlier(self, report: MatchReport) -> MatchReport:
        """Return a report with what was found before and not looked at, within the same room."""
        earlier = self._run.rows.fresh
        room = self._authorized.query.max_candidates
        if len(earlier) + len(report.found) <= room:
            return replace(report, found=(*earlier, *report.found))
        return self._merged([MatchReport(found=tuple(earlier)), report])
