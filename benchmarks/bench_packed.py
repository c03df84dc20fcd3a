"""What packing does to the store: bytes a sighting, segments read a second, and what it costs.

And what a query takes for each packed segment, beside deriving its key alone in the same run. Run:
`python -m benchmarks packed [--quick]`; by CPU time of this process.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from aggregator.matching.coverage import Portion, tell_portions
from aggregator.matching.probes import Probes
from aggregator.matching.scopes import match_scopes
from aggregator.store import SegmentReader, SegmentRun, open_store
from aggregator.store.packed.packing import Packer
from aggregator.store.packed.store import PackedStore
from benchmarks.bench_matching import SUBJECTS, THRESHOLD, fill_store, queries
from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from benchmarks.sealed_site import MODEL, Site, make_site
from protocol.grant import Scope
from protocol.keytree import FACE

CAMERAS = 64
SIZES = (64, 21, 5)
_ROUNDS = 3


def run(*, quick: bool = False) -> list[Figure]:
    """Measure at segments of each size: a day of one shard, before and after packing."""
    quiet_logs()
    return [figure for size in SIZES for figure in _of_size(size, hours=2 if quick else 24)]


def _of_size(size: int, *, hours: int) -> list[Figure]:
    segments, sightings = CAMERAS * 4 * hours, CAMERAS * 4 * hours * size
    site = make_site(CAMERAS, version=2)
    with tempfile.TemporaryDirectory() as name:
        empty, path = Path(name) / "empty.db", Path(name) / "aggregator.db"
        fill_store(empty, site, slots=0, size=size)
        besides = _compact(empty)
        fill_store(path, site, slots=4 * hours, size=size)
        rows_bytes = _compact(path) - besides
        with closing(open_store(path)) as store:
            rows_s = _least(lambda: _read(store.segments, site, segments))
            assert isinstance(store, PackedStore)
            packer = Packer(store, store.objects, wait_ms=0, now_ms=lambda: 1 << 45)
            begins_s = time.process_time()
            done = packer.round()
            pack_s = time.process_time() - begins_s
            if (done.segments, done.objects) != (segments, hours):
                raise RuntimeError(f"{done.segments} segments in {done.objects} objects")
        with closing(open_store(path)) as store:
            first_s = _least(lambda: _read(store.segments, site, segments), rounds=1)
            packed_s = _least(lambda: _read(store.segments, site, segments))
            matching = _matched(store.segments, site, of=f"segments of {size}", count=segments)
        packed_bytes = _compact(path) - besides + done.size
    of = f"segments of {size}"
    return [
        Figure(f"{of}: rows", rows_bytes / sightings, "bytes a sighting"),
        Figure(
            f"{of}: packed, with what the ledger keeps",
            packed_bytes / sightings,
            "bytes a sighting",
            "rows",
            packed_bytes / rows_bytes,
        ),
        Figure(f"{of}: of it in objects", done.size / sightings, "bytes a sighting"),
        Figure(f"{of}: rows read in runs", segments / rows_s, "segments/CPU s"),
        Figure(
            f"{of}: objects read in runs",
            segments / packed_s,
            "segments/CPU s",
            "rows",
            rows_s / packed_s,
        ),
        Figure(
            f"{of}: objects read for the first time",
            segments / first_s,
            "segments/CPU s",
            "rows",
            rows_s / first_s,
        ),
        *matching,
        Figure(f"{of}: packing", pack_s / segments * 1e6, "CPU µs a segment"),
        Figure(f"{of}: packing an hour of {CAMERAS} cameras", pack_s / hours * 1e3, "CPU ms"),
    ]


def _read(reader: SegmentReader, site: Site, expected: int) -> None:
    """Read the face blocks of every camera's day, in the order in which they lie."""
    found = 0
    for camera in site.cameras:
        announced = camera.announcement
        scope = Scope(camera.address, announced.epoch, announced.generation, 0, 95)
        for part in reader.runs(scope, modalities=(FACE,)):
            if not isinstance(part, SegmentRun):
                raise TypeError("a segment came as a row")
            found += len(part)
    if found != expected:
        raise RuntimeError(f"read {found} of {expected} segments")


def _matched(reader: SegmentReader, site: Site, *, of: str, count: int) -> list[Figure]:
    """Compare all that is packed, and read what it tells; whoever reads has opened it before."""
    granted = [camera.granted() for camera in site.cameras]
    portions = [Portion(keys, 0, reader.newest(), anew=True) for keys in granted]
    slots = range(count // len(granted))

    def derive() -> None:
        for keys in granted:
            keys.keys(slots, FACE)

    def compare() -> None:
        thresholds, names = np.full(SUBJECTS, THRESHOLD, np.float32), [*map(str, range(SUBJECTS))]
        probes = Probes(FACE, MODEL, queries()[1], thresholds, tuple(names))
        report = match_scopes(
            reader, granted, [probes], calibrations={}, contacts=True, max_candidates=1000
        )
        if (report.segments, report.altered) != (count, ()):
            raise RuntimeError(f"compared {report.segments} of {count} segments")

    def tell() -> None:
        told = sum(int(one.segments.sum()) for one in tell_portions(reader, portions))
        if told != count:
            raise RuntimeError(f"{told} of {count} segments told something")

    derived_s = _least(derive)
    each, alone = 1e6 / count, f"deriving a key: {1e6 * derived_s / count:.1f} µs"
    return [
        Figure(f"{of}: {what}", took_s * each, "CPU µs a segment", alone, took_s / derived_s)
        for what, took_s in (
            (f"objects compared with {SUBJECTS} subjects", _least(compare)),
            ("what objects tell of their slots", _least(tell)),
        )
    ]


def _least(work: Callable[[], None], *, rounds: int = _ROUNDS) -> float:
    """Return the least CPU seconds of some rounds."""
    took: list[float] = []
    for _ in range(rounds):
        begins_s = time.process_time()
        work()
        took.append(time.process_time() - begins_s)
    return min(took)


def _compact(path: Path) -> int:
    """Return how many bytes a database has without its free pages."""
    copy = path.with_suffix(".compact")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", [str(copy)])
    size = copy.stat().st_size
    copy.unlink()
    return size


if __name__ == "__main__":
    print_figures("Packed segments", run(quick="--quick" in sys.argv))
