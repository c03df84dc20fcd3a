"""Shake a running site, print what became of it, end with 1 if anything was lost (`make faults`).

A site of real processes runs throughout, its box seeing people all the time; faults are done to it
one after the other. After each, everything must work again without a person's help within a minute
or so, and in the end no message that was ever sealed may be missing.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from faults import PLANTED, Fault, Skipped, Unnoticed, all_faults, plant_loss
from looping import compose_short_clip
from rich.console import Console  # noqa: TID251 - prints our own words
from rich.table import Table
from shaken_site import PROCESSES, ShakenSite

from demo.local_site import Broker

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".sealtrace"
BACK_WITHIN_S = 90.0
GOOD = frozenset({"ok", "skipped"})
died: list[str] = []
"""Threads of this program that ended by an error since it was last looked at."""


@dataclass(slots=True)
class Row:
    """What became of one fault."""

    broker: str
    fault: str
    happened: str = ""
    back_s: float | None = None
    restarts: str = ""
    before: int = 0
    after: int = 0
    lost: int = 0
    verdict: str = "ok"
    site_usable: bool = True
    """Whether the next fault may be done to the same site."""


def shake(site: ShakenSite, fault: Fault) -> Row:
    """Do one fault to the site; never raises, for an error here is what became of that fault."""
    row = Row(site.plan.broker.kind, fault.name, before=len(site.sealed))
    try:
        _shake(site, fault, row)
    except Exception as error:
        row.happened = f"{row.happened}; {type(error).__name__}: {error}".lstrip("; ")[:200]
        row.verdict, row.site_usable = "FAILED", False
    if died:
        row.happened = "; ".join(filter(None, [row.happened, *died]))
        row.verdict, row.site_usable = "FAILED", False
        died.clear()
    return row


def _shake(site: ShakenSite, fault: Fault, row: Row) -> None:
    restarts = dict(site.supervisor.restarts)
    missing, aside = set(site.lost()), len(site.quarantined_now())
    try:
        row.happened = fault.act(site)
    except Skipped as reason:
        row.happened, row.verdict = str(reason), "skipped"
        return
    except Unnoticed as reason:
        row.happened, row.verdict = str(reason), "UNNOTICED"
    except (TimeoutError, OSError, ValueError, AssertionError) as error:
        row.happened, row.verdict = f"{type(error).__name__}: {error}"[:120], "FAILED"
    begin = time.monotonic()
    try:
        site.wait_back(BACK_WITHIN_S)
        row.back_s = time.monotonic() - begin
    except Exception as error:
        row.verdict = "NOT BACK"
        row.happened = f"{row.happened}; {error}"[:160]
        row.site_usable = revive(site)
    counts = site.supervisor.restarts
    again = {n: counts[n] - restarts.get(n, 0) for n in counts if counts[n] > restarts.get(n, 0)}
    row.restarts = ", ".join(f"{name} x{count}" for name, count in again.items())
    row.after = len(site.sealed)
    if (waiting := len(site.quarantined_now()) - aside) > 0:
        row.happened += f"; {waiting} in quarantine"
    new = set(site.lost()) - missing
    if new:  # one more look: the two stores are not read at one moment
        time.sleep(2)
        new = set(site.lost()) - missing
    row.lost = len(new)
    if row.lost:
        row.verdict = "LOST"
        row.happened += f"; lost: {', '.join(map(str, sorted(new)[:8]))}"


def revive(site: ShakenSite) -> bool:
    """Start anew what did not come back; tell whether more faults can be done to the site."""
    for name in PROCESSES:
        if not site.answers(name):
            with site.supervisor.holding(name):
                site.kill(name)
                site.local.services[name].start()
    try:
        site.wait_back(BACK_WITHIN_S)
    except Exception as error:
        Console(stderr=True).print(f"the site does not recover: {error}", style="red")
        return False
    return True


def prove(site: ShakenSite) -> Row:
    """Lose a message on purpose, last of all; only if the count finds it, it can be believed."""
    row = Row(site.plan.broker.kind, PLANTED, before=len(site.sealed))
    missing = set(site.lost())
    try:
        row.happened = plant_loss(site)
        found = set(site.lost()) - missing
    except (TimeoutError, OSError, ValueError, sqlite3.Error) as error:
        row.happened, row.verdict = f"{type(error).__name__}: {error}"[:120], "FAILED"
        return row
    row.after = len(site.sealed)
    row.happened += f"; the count found {len(found)}"
    row.verdict = "ok" if len(found) == 1 else "NOT FOUND"
    return row


def campaign(broker: Broker, faults: Iterable[Fault], console: Console, rows: list[Row]) -> None:
    """Shake sites until every fault was done to one, adding to ``rows`` what became of each."""
    left = deque(faults)
    while left:
        try:
            _shake_site(broker, left, console, rows)
        except Exception as error:  # it did not come up, or could not be counted in the end
            happened = f"{type(error).__name__}: {error}"[:200]
            rows.append(Row(broker, "the site itself", happened, verdict="FAILED"))
            if left:
                fault = left.popleft()  # or it would be tried for ever
                rows.append(Row(broker, fault.name, "no site to do it to", verdict="FAILED"))
        died.clear()


def _shake_site(broker: Broker, left: deque[Fault], console: Console, all_rows: list[Row]) -> None:
    """Do one fault after the other to one site, taking them out of ``left``."""
    folder = Path(tempfile.mkdtemp(prefix="sealtrace-faults-"))
    clip = compose_short_clip(STATE / "photos", STATE / "demo" / "short-clip")
    site = ShakenSite(clip, STATE / "models", broker, folder)
    rows: list[Row] = []
    try:
        site.begin()
        while left:
            row = shake(site, left.popleft())
            rows.append(row)
            console.print(
                f"{row.broker}: {row.fault}: {row.verdict} ({row.happened})",
                markup=False,
                soft_wrap=True,
            )
            if not row.site_usable:
                return
        final = site.lost()
        rows.append(
            Row(
                broker,
                "everything together",
                "neither stored nor kept: " + (", ".join(map(str, final[:8])) or "none"),
                before=0,
                after=len(site.sealed),
                lost=len(final),
                verdict="LOST" if final else "ok",
            )
        )
        rows.append(prove(site))
    finally:
        all_rows += rows
        whole = rows and all(row.verdict in GOOD for row in rows)
        if not whole:
            keep_databases(site, folder)
        site.end()
        if whole:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            console.print(f"logs and files of the site are in {folder}", soft_wrap=True)


def keep_databases(site: ShakenSite, folder: Path) -> None:
    """Copy what lies on the small disks, which go with the site, for whoever looks into it."""
    for name in site.disks:
        with suppress(OSError, shutil.Error):
            shutil.copytree(site.folder(name) / "state", folder / "kept" / name)


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table."""
    made = Table(title="Faults", caption="back: seconds until everything worked again")
    for column in ("broker", "fault", "what happened", "restarted", "back", "sealed", "lost", ""):
        made.add_column(column, overflow="fold")
    for row in rows:
        back = "" if row.back_s is None else f"{row.back_s:.0f} s"
        sealed = f"{row.before} > {row.after}"
        made.add_row(
            row.broker, row.fault, row.happened, row.restarts, back, sealed, str(row.lost),
            row.verdict,
        )  # fmt: skip
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; return 1 if anything was lost, did not come back or went unnoticed."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="TEXT",
                        help="only faults whose name holds this; may be repeated")  # fmt: skip
    parser.add_argument("--broker", choices=("mosquitto", "embedded", "both"), default="both")
    parser.add_argument("--stop-s", type=float, default=30.0, help="how long processes stand still")
    parser.add_argument("--hold-s", type=float, default=12.0, help="how long other faults last")
    parser.add_argument("--list", action="store_true", help="list the faults")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupted)
    threading.excepthook = _thread_died
    console = Console() if sys.stdout.isatty() else Console(width=140)
    faults = [
        fault
        for fault in all_faults(stop_s=options.stop_s, hold_s=options.hold_s)
        if not options.only or any(text in fault.name for text in options.only)
    ]
    if options.list:
        for fault in faults:
            console.print(fault.name, highlight=False)
        return 0
    installed = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin") is not None
    rows: list[Row] = []
    interrupted = False
    try:
        if options.broker in {"mosquitto", "both"} and installed:
            campaign("mosquitto", faults, console, rows)
        if options.broker in {"embedded", "both"}:
            second = options.broker == "both" and installed
            concerns = [fault for fault in faults if fault.process in {"", "broker"}]
            campaign("embedded", concerns if second else faults, console, rows)
    except KeyboardInterrupt:
        interrupted = True
    console.print(table(rows))
    bad = [row for row in rows if row.verdict not in GOOD]
    skipped = sum(row.verdict == "skipped" for row in rows)
    console.print(f"{len(rows) - len(bad) - skipped} of {len(rows)} well, {skipped} skipped")
    if interrupted:
        console.print("interrupted: the other faults were not tried")
    return 1 if bad or interrupted or not rows else 0


def _thread_died(what: threading.ExceptHookArgs) -> None:
    name = what.thread.name if what.thread is not None else "?"
    died.append(f"thread '{name}' of the campaign died: {what.exc_type.__name__}: {what.exc_value}")


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
