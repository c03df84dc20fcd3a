"""A simulated city's query, from the last approval to the last candidate, and what a city takes.

``python -m benchmarks city [--cameras N] [--days D] [--sizes A,B,C] [--cold] [--quick]``: the
traffic of N cameras over D days at full density is sealed (`benchmarks.city_traffic`), three
custodians are started (`benchmarks.city_site`), ten subjects are looked for at each of the sizes
(`benchmarks.city_headquarters`), and what that took is projected, by a line through it, to 10,820
cameras over 14 days. While the query over all runs once more, a live query waits for somebody.

Times are CPU seconds; beside them stands the wall clock, which others on the machine lengthen.
Where the sizes do not lie on a line it is said.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console  # noqa: TID251 - prints our own words

from aggregator.store import ObjectsPlace, StorePlace, open_store
from aggregator.store.packed.packing import Packer
from benchmarks.city_account import Measured
from benchmarks.city_figures import CITY_DAYS, Outcome, Written, figures
from benchmarks.city_headquarters import Task, run, today
from benchmarks.city_site import CitySite, custodians, make_site
from benchmarks.city_traffic import (
    SLOTS,
    CameraDay,
    Subject,
    Traffic,
    announce_in,
    camera_days,
    make_subjects,
)
from benchmarks.cpu_time import reference_us
from benchmarks.printing import machine, number, quiet_logs, table
from protocol.names import EPOCH_MS
from runtime.clock import system_ms

SUBJECTS = 10
CAMERAS, QUICK_CAMERAS = 1000, 60
_LIVE_BOARDS = 8
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to measure: sizes are cameras, each over all days."""

    cameras: int
    days: int
    sizes: tuple[int, ...]
    cold: bool = False
    live: bool = True
    profile: Path | None = None
    packed: bool = True
    url: str = ""
    slots: int = SLOTS


def measure(plan: Plan, say: Say) -> Outcome:
    """Write the traffic, run the queries."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site = make_site(folder, plan.cameras, days=plan.days)
        with custodians(site) as (pids, day_keys):
            first = today() - plan.days
            rng = np.random.default_rng(7)
            subjects = make_subjects(rng, SUBJECTS, min(plan.sizes), plan.days, slots=plan.slots)
            wanted = make_subjects(rng, 1, 1, 1)[0]
            place = StorePlace(
                folder / "city.db", plan.url, None, ObjectsPlace(str(folder / "segments"))
            )
            city = _City(site, place, day_keys, first)
            written = city.write(plan, subjects, say)
            if plan.packed:
                city.pack(written, say)
            written.stored = _stored(folder, packed=plan.packed)
            boards = city.begin_today(plan)
            written.announcement = len(boards[0].signed)
            written.live = len(boards[0].live(0, wanted, at_ms=today() * EPOCH_MS))
            outcome = Outcome(written)
            largest = plan.sizes[-1]
            steps = [(size, False, False) for size in plan.sizes]
            steps += [(largest, False, True)] if plan.profile else []
            steps += [(largest, True, False)] if plan.live else []
            for size, live, profiled in steps:
                how = ", with a live query" * live + ", profiled" * profiled
                say(f"{size:,} cameras, {plan.days} days each{how}")
                if plan.cold:
                    _drop_cache(folder)
                state = folder / f"state-{size}-{live}-{profiled}"
                state.mkdir()
                task = Task(
                    site,
                    place,
                    state,
                    pids,
                    tuple(subjects),
                    size,
                    first,
                    first + plan.days - 1,
                    wanted if live else None,
                    tuple(boards[:_LIVE_BOARDS]) if live else (),
                    plan.profile if profiled else None,
                )
                outcome.references_us.append(reference_us())
                try:
                    made = _in_a_process(task)
                except RuntimeError as error:
                    outcome.failed = f"{size} cameras{' beside a live query' * live}: {error}"
                    break
                if live:
                    outcome.live = made
                elif not profiled:
                    outcome.runs.append(made)
    return outcome


@dataclass(frozen=True)
class _City:
    """Who sends, to which custodians, into which store."""

    site: CitySite
    place: StorePlace
    day_keys: Mapping[str, Mapping[int, bytes]]
    first_epoch: int

    def write(self, plan: Plan, subjects: Sequence[Subject], say: Say) -> Written:
        """Seal the traffic of all days into the store."""
        written, traffic = Written(), Traffic(11, subjects)
        begins_s = time.process_time()
        store = open_store(self.place)
        for day in range(plan.days):
            cameras = self._announced(plan, self.first_epoch + day)
            for slot, filled in enumerate(traffic.fill(store, day, cameras, slots=plan.slots), 1):
                written.add(filled)
                if slot % 24 == 0:
                    say(f"sealed day {day + 1} of {plan.days}, {written.segments:,} segments")
        store.close()
        written.took_s = time.process_time() - begins_s
        return written

    def pack(self, written: Written, say: Say) -> None:
        """Pack all hours, as is done while they come."""
        say("packing them")
        begins_s = time.process_time()
        store = open_store(self.place)
        objects = self.place.objects
        if objects is None:
            raise ValueError("packed segments need a place")
        Packer(store, objects.open(), wait_ms=0, now_ms=system_ms).round(at_once=True)
        store.close()
        written.packed_s = time.process_time() - begins_s

    def begin_today(self, plan: Plan) -> list[CameraDay]:
        """Have all cameras announce the day that is running."""
        store = open_store(self.place)
        boards = self._announced(plan, today())
        announce_in(store, boards)
        store.close()
        return boards

    def _announced(self, plan: Plan, epoch: int) -> list[CameraDay]:
        return camera_days(self.site, range(plan.cameras), epoch, self.day_keys)


def _in_a_process(task: Task) -> Measured:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(task, theirs), name="headquarters")
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError as error:
        raise RuntimeError("headquarters ended in the middle (out of memory?)") from error
    finally:
        process.join(60.0)
    if isinstance(answer, Measured):
        return answer
    raise RuntimeError(str(answer))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of the store: the database, and packed segments."""
    yield from folder.glob("city.db*")
    yield from (path for path in (folder / "segments").rglob("*") if path.is_file())


def _stored(folder: Path, *, packed: bool) -> int:
    """Return bytes of the packed segments, or of the database: packing leaves free pages there."""
    files = (folder / "segments").rglob("*") if packed else folder.glob("city.db*")
    return sum(path.stat().st_size for path in files if path.is_file())


def _drop_cache(folder: Path) -> None:
    """Have the system forget what it holds of the store in memory, so that it is read from disk."""
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plan_of(
    *,
    cameras: int = 0,
    days: int = 1,
    sizes: Sequence[int] = (),
    cold: bool = False,
    live: bool = True,
    profile: Path | None = None,
    packed: bool = True,
    url: str = "",
    slots: int = SLOTS,
    quick: bool = False,
) -> Plan:
    """Return what is to be measured; what is not said is chosen.

    Raises:
        ValueError: there is a size of more cameras than there are, or of none.
    """
    count = cameras or (QUICK_CAMERAS if quick else CAMERAS)
    listed = tuple(sorted(set(sizes or (count // 4, count // 2, count))))
    if listed[0] < 1 or listed[-1] > count:
        raise ValueError(f"--sizes are numbers of cameras from 1 to {count}, divided by commas")
    return Plan(count, days, listed, cold, live, profile, packed, url, slots)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks city",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m benchmarks city --cameras 500 --days 2 --sizes 100,250,500",
    )
    parser.add_argument("--cameras", type=int, default=0, help=f"how many; default {CAMERAS}")
    parser.add_argument("--days", type=int, default=1, choices=range(1, CITY_DAYS + 1))
    parser.add_argument("--sizes", default="", help="cameras of each query; default N/4,N/2,N")
    parser.add_argument("--cold", action="store_true", help="read the store from disk each time")
    parser.add_argument("--rows", action="store_true", help="pack nothing: segments stay in rows")
    parser.add_argument("--url", default="", help="of an empty PostgreSQL database for the rest")
    parser.add_argument(
        "--slots",
        type=int,
        default=SLOTS,
        choices=range(1, SLOTS + 1),
        metavar="N",
        help="seal N quarter hours of each day alone: many camera-days, to look at memory; times "
        "are then no city's",
    )
    parser.add_argument("--no-live", action="store_true", help="no live query beside")
    parser.add_argument(
        "--profile", type=Path, help="once more, and write what the threads did there, for pstats"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CAMERAS} cameras")
    options = parser.parse_args(arguments)
    try:
        plan = plan_of(
            cameras=options.cameras,
            days=options.days,
            sizes=[int(one) for one in options.sizes.split(",") if one],
            cold=options.cold,
            live=not options.no_live,
            profile=options.profile,
            packed=not options.rows,
            url=options.url,
            slots=options.slots,
            quick=options.quick,
        )
    except ValueError as error:
        parser.error(str(error))
    quiet_logs()
    progress = Console(stderr=True)
    outcome = measure(plan, lambda words: progress.print(f"[dim]{words}[/dim]"))
    written = outcome.written
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table("A simulated city", [("", figures(outcome))]))
    console.print(
        f"[dim]{number(written.segments)} segments, {number(written.sightings)} sightings, "
        f"{number(written.faces)} of them with a face; sealing them took "
        f"{written.took_s:.0f} CPU s. {machine()}[/dim]"
    )
    if outcome.failed:
        progress.print(f"not all was measured: {outcome.failed}", style="red", markup=False)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
