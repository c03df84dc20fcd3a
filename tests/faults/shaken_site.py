"""The site that the campaign shakes, and what it knows of every message that was ever sealed."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import tomlkit
from looping import looping_plan
from rough_proxy import RoughProxy
from running_site import SERVERS, RunningSite, read_rows
from shaken import digests_kept
from small_disk import CannotMount, mounted
from supervisor import Supervisor

from aggregator.store.rows import QUARANTINED, STORED
from demo.local_site import CUSTODIANS, Broker
from demo.scenario import ClipTruth
from runtime.errors import OperationError
from runtime.http import ProblemError

PROCESSES = (*SERVERS, "registrar", "box-1")
DISK_MB = {"aggregator": 48, "box-1": 24, "c1": 24, "registrar": 24}
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
FAKED = ("c1", "aggregator", "box-1")


class ShakenSite(RunningSite):
    """A running site with a rough network before its box, small disks and clocks to be set."""

    def __init__(self, clip: ClipTruth, bundle: Path, broker: Broker, folder: Path) -> None:
        super().__init__(looping_plan(clip, bundle, broker), folder)
        self.proxy = RoughProxy(self.plan.broker.port)
        self.sealed: set[int] = set()
        self.excused: set[int] = set()
        """Numbers that were on spoilt pages, and were missed by the aggregator and reported."""
        self.clocks: dict[str, Path] = {}
        self.disks: set[str] = set()
        self.supervisor = Supervisor(self.local.services)
        self._stack = ExitStack()
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._sample, name="sealed", daemon=True)

    # ------------------------------------------------------------------ life

    def begin(self) -> None:
        """Start everything and wait until the box delivers."""
        self._through_the_proxy()
        for name, megabytes in DISK_MB.items():
            try:
                self._stack.enter_context(mounted(self.folder(name) / "state", megabytes))
            except CannotMount:
                break
            self.disks.add(name)
        if FAKETIME is not None:
            for name in FAKED:
                self._fake_clock(name, FAKETIME)
        self.start(*SERVERS, "registrar", "box-1")
        self.supervisor.start()
        self._watch.start()
        self.wait(lambda: len(self.stored("cam-1")) > 2, "the first messages stored", 90)

    def end(self) -> None:
        """Stop everything."""
        self._stop.set()
        self.supervisor.stop()
        self.proxy.stop()
        self.stop()
        self._stack.close()

    def _through_the_proxy(self) -> None:
        path = self.local.paths.box("box-1")
        document = tomlkit.parse(path.read_text())
        document["mqtt"]["port"] = self.proxy.port
        path.write_text(tomlkit.dumps(document))

    def _fake_clock(self, name: str, library: Path) -> None:
        clock = self.local.folder / f"{name}.clock"
        clock.write_text("+0\n")
        service = self.local.services[name]
        service.environment = {
            **service.environment,
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.clocks[name] = clock

    # ------------------------------------------------------------------ sealed, kept, stored

    def kept_now(self) -> set[int]:
        """Sequence numbers in the box's outbox."""
        return set(digests_kept(self))

    def quarantined_now(self) -> set[int]:
        """Sequence numbers that wait at the aggregator until a person admits or drops them."""
        return {item.sequence for item in self.numbered("cam-1") if item.outcome == QUARANTINED}

    def runs_now(self) -> dict[int, dict[int, bytes]]:
        """What the aggregator has, stored or in quarantine: run, sequence number, digest.

        A box that has lost its counters begins a new run of numbers.
        """
        runs: dict[int, dict[int, bytes]] = {}
        for run, number, digest in self.rows(
            "SELECT q.run, q.sequence, q.digest FROM sequences q JOIN streams s ON s.id = q.stream"
            " WHERE s.camera = 'cam-1' AND q.outcome IN (?, ?)",
            STORED,
            QUARANTINED,
        ):
            runs.setdefault(run, {})[number] = digest
        return runs

    def stored_now(self) -> set[int]:
        """Sequence numbers that the aggregator has, in its store or in quarantine, in any run."""
        return {number for run in self.runs_now().values() for number in run}

    def missed_now(self) -> set[int]:
        """Sequence numbers that the aggregator misses, and says so."""
        rows = self.rows(
            "SELECT g.first, g.last FROM gaps g JOIN streams s ON s.id = g.stream"
            " WHERE s.camera = 'cam-1' AND g.closed_ms IS NULL"
        )
        return {number for first, last in rows for number in range(first, last + 1)}

    def count(self) -> int:
        """Return how many messages the aggregator has, each of each run."""
        return sum(len(run) for run in self.runs_now().values())

    def _sample(self) -> None:
        while not self._stop.wait(0.2):
            for look in (self.kept_now, self.stored_now):
                try:
                    self.sealed |= look()
                except (sqlite3.Error, OSError, ValueError):
                    continue  # it is down, or its disk is being shaken

    def lost(self) -> list[int]:
        """Return the sealed messages that are neither stored nor on the box any more.

        Of each run every number counts from its first one on, to the last that came or, for the
        run that goes on, to the last that was given out; the first run begins at 0.

        Every number that the box has given out counts. When a quarter hour ends, its segment may
        take back numbers of live envelopes that nobody was handed; the box counts on from there.
        """
        path = self.folder("box-1") / "state" / "outbox.sqlite"
        given = read_rows(path, "SELECT next_sequence FROM camera WHERE name = 'cam-1'")[0][0]
        kept, runs = self.kept_now(), self.runs_now()
        missing = set() if runs else set(range(given))
        for run, numbers in runs.items():
            first = 0 if run == min(runs) else min(numbers)
            end = given if run == max(runs) else max(numbers) + 1
            missing |= set(range(first, end)) - numbers.keys()
        return sorted(missing - kept - self.excused)

    # ------------------------------------------------------------------ whether it is back

    def answers(self, name: str) -> bool:
        """Whether a process does its work: it serves, or (the box) is ready."""
        service = self.local.services[name]
        if not service.running:
            return False
        if name in {*CUSTODIANS, "aggregator"}:
            try:
                self.call("eve", name, "GET", "/v1/status")
            except ProblemError:
                return False
            except OperationError:
                return False
            return True
        try:
            return service._says_ready()
        except OSError:
            return False

    def wait(self, probe: Callable[[], bool], what: str, within_s: float) -> None:
        """Wait for a condition.

        Raises:
            TimeoutError: it does not come.
        """
        deadline = time.monotonic() + within_s
        while True:
            try:
                if probe():
                    return
            except (sqlite3.Error, OSError, ValueError, OperationError):
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {within_s:g} s for {what}")
            time.sleep(0.2)

    def wait_back(self, within_s: float) -> None:
        """Wait until every process works and the box's messages arrive again.

        Raises:
            TimeoutError: one does not, with its name.
        """
        deadline = time.monotonic() + within_s
        for name in PROCESSES:
            left = max(5.0, deadline - time.monotonic())
            self.wait(partial(self.answers, name), f"{name} to work", left)
        kept, before = digests_kept(self), self.count()
        left = max(10.0, deadline - time.monotonic())
        self.wait(lambda: self.has(kept), "what the box kept to be stored", left)
        self.wait(lambda: self.count() > before, "a new message to be stored", left)

    def has(self, kept: dict[int, bytes]) -> bool:
        """Whether the aggregator has all of these that the box has not replaced by a segment."""
        has, still = self._digests(), digests_kept(self)
        return all(digest in has or still.get(n) != digest for n, digest in kept.items())

    def has_digest(self, digest: bytes) -> bool:
        """Whether the aggregator has this very message."""
        return digest in self._digests()

    def _digests(self) -> set[bytes]:
        return {digest for run in self.runs_now().values() for digest in run.values()}
