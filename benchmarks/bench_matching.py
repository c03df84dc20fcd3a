"""Matching figures on two processes: plain blocks, and the sealed path from store to scores.

Run: `python -m benchmarks.bench_matching [--quick]`. Needs nothing but the packages.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import numpy.typing as npt

from aggregator.config import LimitsSection
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.coverage import Portion, tell_portions
from aggregator.matching.kernel import Kernel
from aggregator.matching.probes import Probes
from aggregator.matching.scopes import MatchReport, match_scopes
from aggregator.store.sqlite.segments import SegmentFile
from aggregator.store.sqlite.store import SqliteStore
from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from benchmarks.sealed_site import (
    DIMENSION,
    MODEL,
    SITE,
    Site,
    face_block,
    make_site,
    unit_rows,
)
from protocol.epoch_keys import EpochKeys
from protocol.keytree import FACE
from protocol.sightings import row_bytes

SUBJECTS = 10
THRESHOLD = 0.5
SEGMENT_SIZE = 64
PROCESSES = 2
_BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_barrier: Any = None


def queries(seed: int = 1) -> npt.NDArray[np.float32]:
    """Return (10, d) float32 subject templates of unit length."""
    rows = unit_rows(np.random.default_rng(seed), SUBJECTS).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` takes fewer and smaller rounds."""
    quiet_logs()
    before = {name: os.environ.get(name) for name in _BLAS}
    os.environ.update(dict.fromkeys(_BLAS, "1"))  # for the processes started below
    try:
        return [*_plain(quick), *_sealed(quick, version=1), *_sealed(quick, version=2)]
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _in_processes(work: Any, arguments: Sequence[tuple[Any, ...]]) -> tuple[float, list[Any]]:
    """Run ``work`` in as many fresh processes, started together; return seconds and results.

    Each makes ready first (``work(*arguments)`` returns what to time), then all wait for all.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(arguments))
    with ProcessPoolExecutor(
        len(arguments), mp_context=context, initializer=_ready, initargs=(barrier,)
    ) as pool:
        done = list(pool.map(_timed, [(work, item) for item in arguments]))
    began = min(start for start, _, _ in done)
    ended = max(end for _, end, _ in done)
    return ended - began, [result for _, _, result in done]


def _ready(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603 - a process of its own
    _barrier = barrier


def _timed(task: tuple[Any, tuple[Any, ...]]) -> tuple[float, float, Any]:
    work, arguments = task
    measured = work(*arguments)
    measured()  # warm caches and pages
    _barrier.wait(120)
    start = time.monotonic()  # CLOCK_MONOTONIC is one clock for all processes
    result = measured()
    return start, time.monotonic(), result


def _kernel_rows(count: int, rounds: int, *, as_float: bool = False) -> Any:
    """Return a function that compares ``count`` rows with the subjects ``rounds`` times."""
    rng = np.random.default_rng(os.getpid())
    rows = unit_rows(rng, count)
    wanted = queries()
    if as_float:
        prepared = rows.astype(np.float32)
        prepared /= np.linalg.norm(prepared, axis=1, keepdims=True)
        columns = np.ascontiguousarray(wanted.T)

        def baseline() -> int:
            for _ in range(rounds):
                if (prepared @ columns >= 0.9).any():
                    raise AssertionError
            return count * rounds

        return baseline
    table = np.frombuffer(face_block(rows), np.uint8).reshape(-1, row_bytes(DIMENSION))
    kernel = Kernel(wanted, np.full(SUBJECTS, 0.9, np.float32))

    def scan() -> int:
        for _ in range(rounds):
            if kernel.hits(table).rows.size:
                raise AssertionError
        return count * rounds

    return scan


def _plain_work(count: int, rounds: int) -> Any:
    return _kernel_rows(count, rounds)


def _float_work(count: int, rounds: int) -> Any:
    return _kernel_rows(count, rounds, as_float=True)


def _plain(quick: bool) -> list[Figure]:
    count, rounds = (100_000, 5) if quick else (400_000, 12)
    task = [(count, rounds)] * PROCESSES
    float_s, floats = _in_processes(_float_work, task)
    block_s, blocks = _in_processes(_plain_work, task)
    float_rate, block_rate = sum(floats) / float_s, sum(blocks) / block_s
    baseline = "float32 rows, one BLAS product"
    return [
        Figure(f"{baseline}, 2 processes", float_rate, "sightings/s"),
        Figure(
            f"plain int8 blocks, {DIMENSION}-d, {SUBJECTS} subjects, 2 processes",
            block_rate,
            "sightings/s",
            baseline,
            block_rate / float_rate,
        ),
    ]


def fill_store(path: Path, site: Site, *, slots: int, size: int) -> None:
    """Take a site's segments in through the real intake."""
    store = SqliteStore(path)
    intake = Intake(
        store,
        site=SITE,
        directory=lambda: site.directory,
        limits=LimitsSection(),
        retention_days=lambda: 14,
        now_ms=lambda: site.now_ms,
        audit=lambda _kind, _body: None,
    )
    pending: list[Incoming] = []
    for topic, payload in site.segments(np.random.default_rng(3), range(slots), size=size):
        pending.append(Incoming(topic, payload, site.now_ms))
        if len(pending) == 256:
            intake.process(pending)
            pending.clear()
    intake.process(pending)
    store.close()


def _sealed_work(path: Path, packed: bytes) -> Any:
    reader = SegmentFile(path).open()
    scopes: list[EpochKeys] = pickle.loads(packed)  # noqa: S301 - our own
    thresholds = np.full(SUBJECTS, THRESHOLD, np.float32)
    probes = Probes(
        FACE, MODEL, queries(), thresholds, tuple(f"s{number}" for number in range(SUBJECTS))
    )

    def scan() -> MatchReport:
        return match_scopes(
            reader, scopes, [probes], calibrations={}, contacts=True, max_candidates=1000
        )

    return scan


def _sealed(quick: bool, *, version: int) -> list[Figure]:
    slots, cameras = 96, 20 if quick else 120
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        site = make_site(cameras, version=version)
        fill_store(path, site, slots=slots, size=SEGMENT_SIZE)
        scopes = [camera.granted() for camera in site.cameras]
        shares = [pickle.dumps(scopes[n::PROCESSES]) for n in range(PROCESSES)]
        read_s, bytes_read = _in_processes(_read_work, [(path, s) for s in shares])
        elapsed_s, reports = _in_processes(_sealed_work, [(path, s) for s in shares])
        expected = slots * cameras * SEGMENT_SIZE
        sightings = sum(report.sightings for report in reports)
        if sightings != expected or any(report.altered for report in reports):
            raise AssertionError(f"compared {sightings} of {expected} sightings")
        rate, read_rate = sightings / elapsed_s, expected / read_s
        baseline = f"version {version}: the same blocks only read from SQLite"
        figures += [
            Figure(
                f"{baseline} ({sum(bytes_read) / read_s / 2**20:.0f} MiB/s), 2 processes",
                read_rate,
                "sightings/s",
            ),
            Figure(
                f"version {version}: store to scores, {SEGMENT_SIZE} a segment, 2 processes",
                rate,
                "sightings/s",
                baseline,
                rate / read_rate,
            ),
        ]
        if version > 1:
            figures.append(_telling(path, scopes))
    return figures


def _telling(path: Path, scopes: Sequence[EpochKeys]) -> Figure:
    """Measure what it costs to read from each segment how long its camera watched, by CPU time."""
    reader = SegmentFile(path).open()
    portions = [Portion(keys, 0, reader.newest(), anew=True) for keys in scopes]
    compare = _sealed_work(path, pickle.dumps(scopes))
    compare()
    start_s = time.process_time()
    compare()
    between_s = time.process_time()
    told = tell_portions(reader, portions)
    tell_s, compare_s = time.process_time() - between_s, between_s - start_s
    return Figure(
        "reading what each of these segments tells of its slot",
        tell_s / sum(int(one.segments.sum()) for one in told) * 1e6,
        "µs a segment",
        f"comparing {SEGMENT_SIZE} sightings with {SUBJECTS} subjects",
        tell_s / compare_s,
    )


def _read_work(path: Path, packed: bytes) -> Any:
    reader = SegmentFile(path).open()
    scopes: list[EpochKeys] = pickle.loads(packed)  # noqa: S301 - our own

    def read() -> int:
        return sum(
            len(row.blocks[0] or row.live or b"")
            for keys in scopes
            for row in reader.scan(keys.scope, modalities=(FACE,))
        )

    return read


if __name__ == "__main__":
    print_figures("Matching", run("--quick" in sys.argv))
