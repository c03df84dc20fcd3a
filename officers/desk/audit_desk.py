"""An audit as a page shows it: fetched and verified in a thread, and kept until the desk locks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from officers.desk.audit_copy import SITE_FILE, AuditCopy, read_audit_copy
from officers.desk.audit_counts import MonthCount, counts_by_month
from officers.desk.audit_fetching import fetch_logs
from officers.desk.audit_meanings import alarming
from officers.desk.audit_outcomes import Outcomes, read_outcomes
from officers.desk.audit_story import Proof, Story, stories
from officers.desk.audit_words import actor_of
from officers.desk.auditing import may_open_bodies, read_entries, verify_logs
from officers.desk.notices import Notice
from officers.desk.officer import Officer
from officers.desk.phrases import phrase, words_of
from protocol.audit import AuditorKey
from protocol.audit_queries import OpenedEntry
from protocol.errors import ProtocolError
from protocol.findings import Finding, Report
from protocol.hpke import PrivateKey
from protocol.merkle import leaf_hash
from runtime.clock import system_ms
from runtime.errors import OperationError

_log = structlog.get_logger()
FOLDER = "audit"
"""Of the copy that the desk keeps, within the officer's folder of state."""


@dataclass(frozen=True, slots=True)
class Audited:
    """Verified logs, and what is told of them.

    Args:
        copy: what was verified.
        report: what was found.
        stories: each query's, by its id in hex, the newest first.
        counts: by month and legal ground.
        outcomes: what came of fetching last.
        alarms: findings by which a log is not what it was.
        opened: the entries of all logs in order of time.
    """

    copy: AuditCopy
    report: Report
    stories: dict[str, Story]
    counts: list[MonthCount]
    outcomes: Outcomes
    alarms: tuple[Finding, ...]
    opened: tuple[OpenedEntry, ...]

    def entry_of(self, finding: Finding) -> tuple[OpenedEntry, Proof] | None:
        """Return the entry that a finding is about; None of one about a whole log."""
        for item in self.opened:
            if (item.origin, item.index) == (finding.origin, finding.index):
                (log,) = (one for one in self.copy.logs if one.origin == item.origin)
                digest = leaf_hash(log.entries[item.index]).hex()
                return item, Proof(actor_of(item.origin), item.index, digest)
        return None

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong, with the logs and with the copy of them."""
        return not self.report.wrong and not self.copy.damaged

    @property
    def entries(self) -> int:
        """How many entries there are in all logs."""
        return sum(log.entries for log in self.report.logs)


def audit_folder(officer: Officer) -> Path:
    """Return where the desk keeps an auditor's copy of the logs."""
    return officer.config.state_dir / FOLDER


def has_copy(folder: Path) -> bool:
    """Tell whether logs were ever fetched into a folder."""
    return (folder / SITE_FILE).exists()


def audited(
    folder: Path,
    copy: AuditCopy,
    auditor: AuditorKey | None,
    *,
    month_of: Callable[[int], str],
    progress: Callable[[str], None] = lambda _what: None,
) -> Audited:
    """Verify the copy of the logs in a folder, asking nobody, and tell what is in it.

    Args:
        folder: made by `fetch_logs`.
        copy: what was read of it.
        auditor: opens the entries; without it only what is in the clear is judged and told.
        month_of: the month of a moment (ms UTC), such as ``2031-05``.
        progress: hears what is being done.
    """
    progress(phrase("verifying logs, signatures and keys given"))
    report = verify_logs(copy, auditor).report
    progress(phrase("telling each query"))
    entries = read_entries(copy, auditor)
    counts = counts_by_month(
        report,
        entries,
        copy.policies,
        threshold=copy.directory.threshold,
        month_of=month_of,
    )
    told = stories(copy, report, entries)
    return Audited(
        copy, report, told, counts, read_outcomes(folder), alarming(report), tuple(entries)
    )


@dataclass(frozen=True, slots=True)
class Work:
    """How far the thread is: ``doing`` is empty when it rests; ``problem``: why it ended early."""

    doing: str = ""
    since_ms: int = 0
    stopping: bool = False
    problem: str = ""
    notices: tuple[Notice, ...] = ()


class _Stopped(Exception):
    """Somebody wants no more of it."""


class AuditDesk:
    """Fetches and verifies in a thread of its own; any thread may ask how far it is.

    Args:
        officer: the auditor.
        month_of: as `audited`.
    """

    def __init__(self, officer: Officer, month_of: Callable[[int], str]) -> None:
        self._officer = officer
        self._month_of = month_of
        self._folder = audit_folder(officer)
        self._lock = threading.Lock()
        self._work = Work()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._audited: Audited | None = None

    @property
    def work(self) -> Work:
        """How far the thread is."""
        with self._lock:
            return self._work

    @property
    def audited(self) -> Audited | None:
        """The last audit; None before the first of this sitting."""
        with self._lock:
            return self._audited

    @property
    def has_copy(self) -> bool:
        """Whether there is a copy that could be verified without asking anybody."""
        return has_copy(self._folder)

    def begin(self, sealing: PrivateKey | None, *, fetch: bool) -> None:
        """Begin to fetch and verify (or to verify alone); nothing happens while it goes on."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stop.clear()
            self._work = Work(doing=phrase("beginning"), since_ms=system_ms())
            self._thread = threading.Thread(
                target=self._run,
                args=(sealing,),
                kwargs={"fetch": fetch},
                name="audit",
                daemon=True,
            )
            self._thread.start()

    def stop(self) -> None:
        """Have it end after what it is waiting for; what was fetched before stays as it is."""
        with self._lock:
            if self._work.doing:
                self._stop.set()
                work = self._work
                self._work = Work(work.doing, work.since_ms, stopping=True, notices=work.notices)

    def join(self, timeout_s: float) -> bool:
        """Wait until it rests; return whether it does."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def forget(self) -> None:
        """Stop, and keep nothing in memory that a key has opened."""
        self.stop()
        with self._lock:
            self._stop.set()
            self._audited = None

    def _run(self, sealing: PrivateKey | None, *, fetch: bool) -> None:
        problem = ""
        try:
            if fetch:
                fetch_logs(self._officer, self._folder, tell=self._hear, progress=self._progress)
            self._progress(phrase("reading the copies"))
            copy = read_audit_copy(self._folder, self._officer.config.authority_key)
            opens = sealing is not None and may_open_bodies(copy, self._officer)
            found = audited(
                self._folder,
                copy,
                AuditorKey(self._officer.name, sealing) if opens and sealing else None,
                month_of=self._month_of,
                progress=self._progress,
            )
            self._progress("")
            with self._lock:
                if not self._stop.is_set():
                    self._audited = found
        except _Stopped:
            problem = phrase("Stopped. The copy from before is as it was.")
        except (OperationError, ProtocolError) as error:
            problem = words_of(error)
        except Exception:
            _log.exception("audit_failed")
            problem = phrase(
                "The audit ended by a fault of the program. The copy is as it was; tell who looks "
                "after the desk."
            )
        finally:
            with self._lock:
                self._work = Work(problem=problem, notices=self._work.notices)

    def _progress(self, what: str) -> None:
        if self._stop.is_set():
            raise _Stopped
        with self._lock:
            work = self._work
            self._work = Work(what or work.doing, work.since_ms, notices=work.notices)

    def _hear(self, notice: Notice) -> None:
        with self._lock:
            work = self._work
            self._work = Work(
                work.doing, work.since_ms, work.stopping, notices=(*work.notices, notice)
            )
