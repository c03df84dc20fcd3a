"""Run the city's queries as headquarters does, in a process of its own, and time what is found.

The real desk, runner, matching processes and store, and custodians asked over mutual TLS. Timed is
the whole path: from the last approval to the last sealed candidate, and to the query's end. The
boards are played by the process itself where a live query waits for somebody to walk past.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from aggregator.config import LimitsSection
from aggregator.grants import Custodians
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.pool import Matcher
from aggregator.queries import QueryDesk
from aggregator.row_requests import RowRequests
from aggregator.runner import QueryRunner
from aggregator.store import StorePlace, open_store
from aggregator.store.rows import COMPLETE, ENDED, STANDING, QueryRecord
from benchmarks.city_account import PROCESSES, Measured, Profiles, Spent
from benchmarks.city_site import APPROVERS, FACE_SPACE, MAX_CANDIDATES, SITE, CitySite
from benchmarks.city_traffic import CameraDay, Subject
from benchmarks.cpu_time import children_of, cpu_of, own_bytes, peak_bytes
from benchmarks.printing import quiet_logs
from protocol.about_queries import MATCHER_KEY_KIND, Approval, MatcherKey
from protocol.auditlog import origin_of
from protocol.keytree import FACE
from protocol.names import ENVELOPE, EPOCH_MS, SLOT_MS, epoch_of, slot_of
from protocol.policy import parse_policy
from protocol.query import Query, TemplateReference
from protocol.query import Subject as AskedFor
from protocol.signing import Signed, VerifyKey
from protocol.templates import Template, seal_templates
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.lifecycle import Stop
from runtime.trust import Trust

THRESHOLD = 0.55
LOOK_S = 0.25
LIVE_LOOK_S = 0.01
_PATIENCE_S = 1800.0
_BETWEEN_LIVE_S = 1.5


@dataclass(frozen=True)
class Task:
    """What to ask of which store.

    Args:
        place: the store.
        state: an empty folder.
        custodians: their process ids, by name.
        subjects: who is looked for.
        cameras: how many of the site's, from the first on.
        first_epoch, last_epoch: the days.
        live: who is looked for by the live query, if there is to be one.
        boards: cameras of today that the process plays.
        profile: where to write what headquarters' threads spent their time on (`cProfile`).
    """

    site: CitySite
    place: StorePlace
    state: Path
    custodians: dict[str, int]
    subjects: tuple[Subject, ...]
    cameras: int
    first_epoch: int
    last_epoch: int
    live: Subject | None = None
    boards: tuple[CameraDay, ...] = ()
    profile: Path | None = None


def run(task: Task, pipe: Connection) -> None:
    """Measure, send a `Measured` (or what went wrong, as text); runs in a process of its own."""
    quiet_logs()
    try:
        headquarters = Headquarters(task)
        try:
            pipe.send(headquarters.measure())
        finally:
            headquarters.close()
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        raise


class Headquarters:
    """The parts of an aggregator that queries need, put together as the service does."""

    def __init__(self, task: Task) -> None:
        self._task = task
        site = task.site
        key = site.key("aggregator")
        self._trust = Trust(
            site=SITE,
            authority=VerifyKey((site.folder / "authority.key").read_bytes()),
            installed=site.directory,
            state_dir=None,
        )
        self._policy = parse_policy(site.policy.read_bytes())
        self._store = open_store(task.place)
        self._log = AuditLog(
            task.state / "audit.db",
            origin_of(SITE, "aggregator"),
            key,
            self._trust.directory.auditors(),
        )
        self._desk = QueryDesk(self._store, self._trust, self._policy, self._log, key)
        tls = site.tls("aggregator")
        self._matcher = Matcher(self._store.segments, processes=PROCESSES)
        self._intake = Intake(
            self._store,
            site=SITE,
            directory=lambda: self._trust.directory,
            limits=LimitsSection(),
            retention_days=lambda: self._policy.retention_days,
            now_ms=system_ms,
            audit=lambda _kind, _body: None,
        )
        self._runner = QueryRunner(
            desk=self._desk,
            store=self._store,
            trust=self._trust,
            policy=self._policy,
            custodians=Custodians(self._store, self._trust, self._log, key, tls),
            rows=RowRequests(self._trust, key, tls),
            matcher=self._matcher,
            log=self._log,
            actor="aggregator",
        )
        self._stop = Stop()
        self._profiles = Profiles() if task.profile else None
        self._thread = threading.Thread(
            target=self._runner.run, args=(self._stop,), name="queries", daemon=True
        )
        self._thread.start()
        self._boards = list(task.boards)

    def close(self) -> None:
        """Stop the thread and the workers, close the files."""
        self._stop.set("measured")
        self._desk.changed.set()
        self._thread.join(30.0)
        if self._profiles is not None and self._task.profile is not None:
            self._profiles.write(self._task.profile)
        self._matcher.close()
        self._log.close()
        self._store.close()

    def measure(self) -> Measured:
        """Run the queries.

        Raises:
            RuntimeError: a query does not find what it has to, or does not end.
        """
        task = self._task
        days = task.last_epoch - task.first_epoch + 1
        made = Measured(task.cameras, task.cameras * days)
        live = None if task.live is None else self._live_query(task.live)
        if live is not None:
            for _ in range(3):
                made.hits_s.append(self._hit(live))
        query = self._query(
            task.subjects,
            from_ms=task.first_epoch * EPOCH_MS,
            to_ms=(task.last_epoch + 1) * EPOCH_MS,
        )
        record = self._file(query, task.subjects, approvers=APPROVERS[:-1])
        before = last = self._spent()
        begins = time.monotonic()
        self._approve(record, APPROVERS[-1])
        watching = threading.Event()
        walkers = threading.Thread(
            target=self._walk_past, args=(live, watching, made.hits_meanwhile_s)
        )
        if live is not None:
            walkers.start()
        state, sought = "", sum(len(one.walks) for one in task.subjects)
        while state not in ENDED:
            time.sleep(LOOK_S)
            now_s = time.monotonic() - begins
            spent = self._spent()
            made.ideal_s += spent.since(last).least_s
            _note_memory(made)
            last = spent
            held = self._desk.get(query.query_id)
            state, progress = held.state, dict(held.progress)
            count = self._desk.count_results(record.digest)
            if count > made.candidates:
                made.candidates, made.found_s = count, now_s
                made.ideal_found_s = made.ideal_s
            if progress.get("scopes", 0) > made.progress.get("scopes", 0):
                made.granted_s = now_s
            made.progress, made.ended_s = progress, now_s
            if now_s > _PATIENCE_S:
                raise RuntimeError(f"the query is still {state} after {now_s:.0f} s: {held.reason}")
        made.spent = self._spent().since(before)
        watching.set()
        if live is not None:
            walkers.join(_PATIENCE_S)
        made.touched = sum(map(peak_bytes, (os.getpid(), *children_of(os.getpid()))))
        if state != COMPLETE:
            raise RuntimeError(f"the query ended {state}: {held.reason}")
        if made.candidates != sought or made.progress.get("altered"):
            raise RuntimeError(f"{made.candidates} of {sought} found; {made.progress}")
        return made

    # ------------------------------------------------------------------ queries

    def _query(
        self, subjects: Sequence[Subject], *, from_ms: int, to_ms: int, live: bool = False
    ) -> Query:
        self._templates = {one.name: _template(one) for one in subjects}
        now_ms = system_ms()
        return Query(
            query_id=os.urandom(16),
            site=SITE,
            subjects=tuple(
                AskedFor(
                    name,
                    "consent C-2031/7",
                    (TemplateReference(FACE, FACE_SPACE, template.digest),),
                )
                for name, template in self._templates.items()
            ),
            purpose="contact tracing of confirmed patients",
            legal_basis="consent",
            cameras=tuple(sorted(f"cam-{n + 1}" for n in range(self._task.cameras))),
            window_from_ms=from_ms,
            window_to_ms=to_ms,
            modalities=(FACE,),
            live=live,
            thresholds={FACE_SPACE: THRESHOLD},
            contacts=True,
            max_candidates=MAX_CANDIDATES,
            expected_false=0.1,
            requested_at_ms=now_ms,
            not_after_ms=now_ms + EPOCH_MS,
            policy_digest=self._policy.digest,
        )

    def _file(
        self, query: Query, subjects: Sequence[Subject], *, approvers: Sequence[str]
    ) -> QueryRecord:
        record = self._desk.file(query.sign(self._task.site.key("ana")).to_bytes())
        said = Signed.parse(self._desk.matcher_key(query.query_id), kind=MATCHER_KEY_KIND)
        sealed = seal_templates(
            {one.name: (self._templates[one.name],) for one in subjects},
            MatcherKey.parse(said.payload).key,
            query_digest=record.digest,
        )
        self._desk.put_templates(query.query_id, sealed)
        for approver in approvers:
            self._approve(record, approver)
        return record

    def _approve(self, record: QueryRecord, approver: str) -> None:
        said = Approval(record.digest, self._policy.digest, system_ms())
        signed = said.sign(self._task.site.key(approver))
        self._desk.approve(record.query_id, signed.to_bytes())

    # ------------------------------------------------------------------ the live query

    def _live_query(self, subject: Subject) -> QueryRecord:
        """File a query for one person at all cameras from now on, and wait until it stands."""
        begins_ms = system_ms() // SLOT_MS * SLOT_MS
        query = self._query([subject], from_ms=begins_ms, to_ms=begins_ms + 8 * SLOT_MS, live=True)
        record = self._file(query, [subject], approvers=APPROVERS)
        deadline_s = time.monotonic() + _PATIENCE_S
        while (held := self._desk.get(query.query_id)).state != STANDING:
            if held.state in ENDED or time.monotonic() > deadline_s:
                raise RuntimeError(f"the live query is {held.state}: {held.reason}")
            time.sleep(LOOK_S)
        return record

    def _hit(self, record: QueryRecord) -> float:
        """Have the live query's subject walk past a camera; return seconds to the candidate."""
        subject, board = self._task.live, self._boards.pop(0)
        self._boards.append(board)
        if subject is None:
            raise ValueError("there is no live query")
        now_ms = system_ms()
        count = self._desk.count_results(record.digest)
        payload = board.live(slot_of(now_ms), subject, at_ms=now_ms)
        message = Incoming(board.address.topic(ENVELOPE), payload, now_ms)
        begins_s = time.monotonic()
        if self._intake.process([message]).stored != 1:
            raise RuntimeError("the live envelope was not stored")
        self._desk.changed.set()
        while self._desk.count_results(record.digest) <= count:
            if time.monotonic() - begins_s > _PATIENCE_S:
                raise RuntimeError("the live query finds nobody")
            time.sleep(LIVE_LOOK_S)
        return time.monotonic() - begins_s

    def _walk_past(
        self, record: QueryRecord | None, over: threading.Event, took_s: list[float]
    ) -> None:
        while record is not None and not over.wait(_BETWEEN_LIVE_S):
            took_s.append(self._hit(record))

    def _spent(self) -> Spent:
        with suppress(OSError):
            return Spent(
                cpu_of(os.getpid()),
                sum(map(cpu_of, children_of(os.getpid()))),
                {name: cpu_of(pid) for name, pid in self._task.custodians.items()},
            )
        raise RuntimeError("a custodian has gone")


def _note_memory(made: Measured) -> None:
    own, others = own_bytes(os.getpid()), sum(map(own_bytes, children_of(os.getpid())))
    if own + others > made.peak:
        made.peak, made.own = own + others, {"queries": own, "workers": others}


def _template(subject: Subject) -> Template:
    return Template(FACE, FACE_SPACE, os.urandom(32), subject.row, subject.scale)


def today() -> int:
    """Return the epoch of now."""
    return epoch_of(system_ms())
