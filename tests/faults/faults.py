"""The faults of the campaign: each does something to the running site and then leaves it alone."""

from __future__ import annotations

import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from shaken import digests_kept
from shaken_site import FAKED, PROCESSES, ShakenSite
from small_disk import fill

from provisioning.registrar.mosquitto import DATA

DATABASES = {
    "aggregator": ("aggregator.db", "audit.db"),
    "c1": ("custodian.db", "audit.db"),
    "registrar": ("enrolment.db",),
}
_OTHER_USER = "it runs as another user, whose limits cannot be set here"
SILENT = 40
"""Connections that say nothing, against a limit a few descriptors above those in use."""


class Skipped(Exception):
    """The fault cannot be tried on this machine; says why."""


class Unnoticed(Exception):
    """A process goes on over something that it must not go on over."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: ``act`` returns what happened, in a few words, with the fault over.

    Args:
        process: to whom; "" for the network.
    """

    kind: str
    process: str
    act: Callable[[ShakenSite], str]

    @property
    def name(self) -> str:
        """How ``--only`` finds it."""
        return f"{self.kind} {self.process}".strip()


def all_faults(*, stop_s: float, hold_s: float) -> Iterator[Fault]:
    """Yield every fault, the gentle ones first."""
    for name in PROCESSES:
        yield Fault("kill -9", name, partial(_kill, name=name))
    for name in PROCESSES:
        yield Fault(f"stop {stop_s:g} s", name, partial(_freeze, name=name, seconds=stop_s))
    for kind, change in _NETWORK.items():
        yield Fault(kind, "", partial(_network, change=change, seconds=hold_s))
    yield Fault("delete state", "broker", _forget)
    for name in ("aggregator", "box-1", "c1", "registrar"):
        yield Fault("disk full", name, partial(_full, name=name, seconds=hold_s))
    for name in ("c1", "aggregator", "registrar", "broker"):
        yield Fault("descriptors", name, partial(_descriptors, name=name, seconds=hold_s))
    for name in FAKED:
        for step_s in (3600, -3600):
            yield Fault(f"clock {step_s:+d} s", name, partial(_clock, name=name, step_s=step_s))
    yield Fault("spoil outbox.sqlite", "box-1", _spoil_outbox)
    for name, files in DATABASES.items():
        for file in files:
            yield Fault(f"spoil {file}", name, partial(_spoil, name=name, file=file))


def _kill(site: ShakenSite, name: str) -> str:
    site.kill(name)
    return "killed"


def _freeze(site: ShakenSite, name: str, seconds: float) -> str:
    site.signal(name, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        site.signal(name, signal.SIGCONT)
    return f"stood still for {seconds:g} s"


def _cutting(site: ShakenSite) -> None:
    site.proxy.cut = 0.3


def _late(site: ShakenSite) -> None:
    site.proxy.cut, site.proxy.late = 0.3, True


def _slow(site: ShakenSite) -> None:
    site.proxy.delay_s = 1.0


def _stalled(site: ShakenSite) -> None:
    site.proxy.stalled = True


_NETWORK: dict[str, Callable[[ShakenSite], None]] = {
    "network cut mid-packet": _cutting,
    "network out of order": _late,
    "network slow": _slow,
    "network stalled": _stalled,
}


def _network(site: ShakenSite, change: Callable[[ShakenSite], None], seconds: float) -> str:
    before, begin = site.proxy.cuts, time.monotonic()
    change(site)
    try:
        time.sleep(seconds)
        if site.proxy.cut:  # connections are cut by chance: until it has happened
            site.wait(lambda: site.proxy.cuts - before >= 3, "three connections to be cut", 60)
    finally:
        site.proxy.calm()
    passed = time.monotonic() - begin
    return f"{passed:.0f} s, {site.proxy.cuts - before} connections cut"


def _forget(site: ShakenSite) -> str:
    with site.supervisor.holding("broker"):
        site.kill("broker")
        data = site.folder("broker") / DATA
        count = 0
        for path in data.iterdir() if data.is_dir() else ():
            path.unlink()
            count += 1
        site.start("broker")
    return f"killed, {count} files of its state deleted"


def _full(site: ShakenSite, name: str, seconds: float) -> str:
    if name not in site.disks:
        raise Skipped("no small file system can be mounted here")
    filler = fill(site.folder(name) / "state")
    try:
        time.sleep(seconds)
    finally:
        filler.unlink()
    return f"no room for {seconds:g} s"


def _descriptors(site: ShakenSite, name: str, seconds: float) -> str:
    if shutil.which("prlimit") is None:
        raise Skipped("there is no prlimit here")
    process = site.local.services[name].process
    assert process is not None
    children = subprocess.run(
        ["pgrep", "-g", str(process.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    pids = [int(pid) for pid in children] or [process.pid]
    try:
        before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    except PermissionError:
        raise Skipped(_OTHER_USER) from None
    with ExitStack() as stack:
        for pid in pids:
            try:
                used = max(int(p.name) for p in Path(f"/proc/{pid}/fd").iterdir()) + 1
                limit = (used + SILENT // 4, before[pid][1])
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
            except PermissionError:
                raise Skipped(_OTHER_USER) from None
        refused = 0
        for _ in range(SILENT):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(1)
            refused += sock.connect_ex(("127.0.0.1", _port(site, name))) != 0
        time.sleep(seconds)
    for pid, limits in before.items():
        if Path(f"/proc/{pid}").exists():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    return f"{SILENT} silent connections at a limit of {SILENT // 4} more"


def _port(site: ShakenSite, name: str) -> int:
    if name == "broker":
        return site.plan.broker.port
    if name == "registrar":
        assert site.plan.registrar is not None
        return site.plan.registrar.port
    return int(urlsplit(site.url(name)).port or 0)


def _clock(site: ShakenSite, name: str, step_s: int) -> str:
    clock = site.clocks.get(name)
    if clock is None:
        raise Skipped("there is no libfaketime here (Debian: apt install faketime)")
    before = len(site.sealed)
    clock.write_text(f"{step_s:+d}\n")
    time.sleep(20)
    wrong = len(site.sealed) - before
    clock.write_text("+0\n")
    before = len(site.sealed)
    if name == "box-1":
        site.wait(lambda: len(site.sealed) > before + 1, "the box to see people again", 60)
    return f"for 20 s, and back; {wrong} sealed meanwhile"


def _spoil(site: ShakenSite, name: str, file: str) -> str:
    """Overwrite pages of a database; a clear stop, and a start from the copy, is coming back."""
    path = site.folder(name) / "state" / file
    service = site.local.services[name]
    with site.supervisor.holding(name):
        site.kill(name)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copy = path.read_bytes()
        pages = range(1, len(copy) // 4096, 2)
        with path.open("r+b") as spoilt:
            for page in pages:
                spoilt.seek(page * 4096)
                spoilt.write(b"\xa5" * 4096)
        try:
            service.start()
            ended = _ends_within(site, name, 25)
            said = service.tail()
        finally:
            site.kill(name)
            for leftover in path.parent.glob(f"{file}*"):
                leftover.unlink()
            path.write_bytes(copy)
            service.start()
    if not ended:
        raise Unnoticed(f"it went on over {len(pages)} spoilt pages")
    clear = any(word in said for word in ("damaged", "malformed", "quick_check", "backup"))
    if not clear:
        raise Unnoticed("it stopped without saying that its database is damaged")
    return f"{len(pages)} pages; it stopped and said so, the copy was put back"


def _spoil_outbox(site: ShakenSite) -> str:
    """Spoil the outbox while it is full: the box goes on with what can be read, and says so."""
    path = site.folder("box-1") / "state" / "outbox.sqlite"
    box = site.local.services["box-1"]
    with site.supervisor.holding("broker"), site.supervisor.holding("box-1"):
        site.kill("broker")
        site.wait(lambda: len(digests_kept(site)) >= 12, "a full outbox", 120)
        site.kill("box-1")
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = digests_kept(site)
        pages = range(8, max(9, path.stat().st_size // 4096), 8)
        with path.open("r+b") as spoilt:
            for page in pages:
                spoilt.seek(page * 4096)
                spoilt.write(b"\xa5" * 4096)
        box.start()
        try:
            site.wait(lambda: bool(box.events("outbox_salvaged")), "the box to notice", 60)
        except TimeoutError:
            raise Unnoticed(f"it went on over {len(pages)} spoilt pages") from None
        finally:
            site.start("broker")
        after = digests_kept(site)
    saved = {number: digest for number, digest in before.items() if after.get(number) == digest}
    said = box.events("outbox_salvaged")[-1]["messages"]
    if said != len(saved) or not box.events("outbox_damaged"):
        raise Unnoticed(f"it says {said} messages were saved, and {len(saved)} are there")
    site.wait(lambda: site.has(saved), "what was saved to be stored", 60)
    spoilt_away = before.keys() - saved.keys()
    # Of what had arrived before, but for the receipt, nothing is lost.
    gone = {number for number in spoilt_away if not site.has_digest(before[number])}
    site.wait(lambda: gone <= site.missed_now() | site.stored_now(), "a gap to be reported", 60)
    if anew := gone - site.missed_now():
        raise Unnoticed(f"the numbers of {len(anew)} lost messages were given anew, without a gap")
    site.excused |= gone
    return (
        f"{len(saved)} salvaged, {len(spoilt_away)} on spoilt pages: "
        f"{len(spoilt_away) - len(gone)} had arrived, {len(gone)} reported as a gap"
    )


PLANTED = "planted loss"


def plant_loss(site: ShakenSite) -> str:
    """Take one sealed message out of the box's outbox, as no fault may: the count must find it."""
    with site.supervisor.holding("broker"), site.supervisor.holding("box-1"):
        site.kill("broker")
        # The aggregator may not have stored yet what the broker gave it: the third is only here.
        site.wait(lambda: len(site.kept_now() - site.stored_now()) > 2, "a message only here", 60)
        site.kill("box-1")
        number = max(site.kept_now() - site.stored_now())
        path = site.folder("box-1") / "state" / "outbox.sqlite"
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("DELETE FROM message WHERE sequence = ?", (number,))
    return "one message taken out of the outbox"


def _ends_within(site: ShakenSite, name: str, seconds: float) -> bool:
    service = site.local.services[name]
    deadline = time.monotonic() + seconds
    while service.running and time.monotonic() < deadline:
        time.sleep(0.2)
    return not service.running
