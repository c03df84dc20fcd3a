"""Matching figures: the scan beside its peers, and the sealed path from the store to scores.

Everything is CPU time of one process that computes in one thread, so that figures of one run
compare on whatever machine, however busy: BLAS, OpenMP and faiss are held to one thread, and that
they kept to it is looked at. The whole query over processes is `python -m benchmarks city`.

Run: `python -m benchmarks.bench_matching [--quick]`. Needs nothing but the packages.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aggregator.config import LimitsSection
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.coverage import Portion, tell_portions
from aggregator.matching.kernel import BLOCK_ROWS, Kernel
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
THRESHOLD = 0.55
SIZES = (21, 5, 64)
"""Sightings a segment: an ordinary quarter hour, a quiet one, a crowded one."""
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_ROUNDS = 5
Scan = Callable[[], int]


def queries(seed: int = 1) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return (10, d) int8 subject templates, and the same as float32 of unit length."""
    rows = unit_rows(np.random.default_rng(seed), SUBJECTS)
    plain = rows.astype(np.float32)
    return rows, np.asarray(plain / np.linalg.norm(plain, axis=1, keepdims=True), np.float32)


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` takes fewer rows and segments.

    Raises:
        RuntimeError: something was compared wrongly, or more threads than one computed.
    """
    quiet_logs()
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # BLAS reads it when it is loaded
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    try:
        process = context.Process(target=_measure, args=(theirs, quick), name="matching")
        process.start()
        theirs.close()
        answer = ours.recv()
        process.join()
    except EOFError as error:
        raise RuntimeError("the measuring process ended in the middle") from error
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    if isinstance(answer, list):
        return answer
    raise RuntimeError(str(answer))


def _measure(pipe: Connection, quick: bool) -> None:
    quiet_logs()
    try:
        figures = [*_scans(200_000 if quick else 1_000_000)]
        for size in SIZES:
            figures += _sealed(size, cameras=8 if quick else 60)
        pipe.send(figures)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        raise


# ---------------------------------------------------------------------- the scan


def _scans(count: int) -> list[Figure]:
    """Have each peer find which of ``count`` rows reach which subject's threshold."""
    rows = unit_rows(np.random.default_rng(3), count)
    table = np.frombuffer(face_block(rows), np.uint8).reshape(-1, row_bytes(DIMENSION))
    scans: dict[str, Scan] = {
        "int8 rows as they lie in opened blocks (our kernel)": _our_scan(table),
        "numkong on the same rows, int8 against int8": _numkong_scan(table),
        "float32 rows made beforehand, one BLAS product": _blas_scan(rows),
        "faiss-cpu, IndexFlatIP of float32, range search": _faiss_scan(rows),
    }
    for name, scan in scans.items():
        if (found := scan()) != 1:
            raise RuntimeError(f"{name}: {found} pairs found where there is one")
    seconds = _in_turn(list(scans.values()))
    ours = count / seconds[0]
    figures = []
    for number, (name, took_s) in enumerate(zip(scans, seconds, strict=True)):
        rate = count / took_s
        against = ("our kernel", rate / ours) if number else ("", None)
        what = f"{name}: {DIMENSION}-d, {SUBJECTS} subjects"
        figures.append(Figure(what, rate, "rows/CPU s", *against))
    return figures


def _planted(rows: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return the subjects, the first of whom is one of the rows."""
    wanted, _ = queries()
    wanted[0] = rows[len(rows) // 2]
    return wanted


def _unit(rows: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    plain = rows.astype(np.float32)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    return plain


def _our_scan(table: npt.NDArray[np.uint8]) -> Scan:
    wanted = _unit(_planted(table[:, :DIMENSION].view(np.int8)))
    kernel = Kernel(wanted, np.full(SUBJECTS, THRESHOLD, np.float32))
    return lambda: len(kernel.hits(table).rows)


def _numkong_scan(table: npt.NDArray[np.uint8]) -> Scan:
    """Exact int8 products over the rows in place, then each row's and each subject's scale."""
    import numkong  # noqa: PLC0415 - of this process alone

    wanted = _planted(table[:, :DIMENSION].view(np.int8))
    packed = numkong.dots_pack(wanted)
    least = THRESHOLD * np.linalg.norm(wanted.astype(np.float32), axis=1)

    def scan() -> int:
        found = 0
        for start in range(0, len(table), BLOCK_ROWS):
            block = table[start : start + BLOCK_ROWS]
            products = np.asarray(numkong.dots_packed(block[:, :DIMENSION].view(np.int8), packed))
            scales = np.ascontiguousarray(block[:, DIMENSION:]).view("<f4")
            found += int(np.count_nonzero(products * scales >= least))
        return found

    return scan


def _blas_scan(rows: npt.NDArray[np.int8]) -> Scan:
    plain, columns = _unit(rows), np.ascontiguousarray(_unit(_planted(rows)).T)

    def scan() -> int:
        return sum(
            int(np.count_nonzero(plain[start : start + BLOCK_ROWS] @ columns >= THRESHOLD))
            for start in range(0, len(plain), BLOCK_ROWS)
        )

    return scan


def _faiss_scan(rows: npt.NDArray[np.int8]) -> Scan:
    import faiss  # noqa: PLC0415 - of this process alone

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(DIMENSION)
    index.add(_unit(rows))
    wanted = _unit(_planted(rows))
    return lambda: int(index.range_search(wanted, THRESHOLD)[0][-1])


def _in_turn(scans: Sequence[Scan]) -> list[float]:
    """Return the least CPU seconds of each, run in turn so that all meet the same machine.

    Raises:
        RuntimeError: other threads than this one computed.
    """
    least = [float("inf")] * len(scans)
    for _ in range(_ROUNDS):
        for number, scan in enumerate(scans):
            begin_s, alone_s = time.process_time(), time.thread_time()
            scan()
            took_s, by_us_s = time.process_time() - begin_s, time.thread_time() - alone_s
            if took_s > 1.2 * by_us_s + 0.02:
                raise RuntimeError(f"other threads computed too: {threading.active_count()} here")
            least[number] = min(least[number], took_s)
    return least


# ---------------------------------------------------------------------- the sealed path


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


def _sealed(size: int, *, cameras: int, slots: int = 96) -> list[Figure]:
    """Compare a day of segments of one size, cold and warm, and read what they tell of watching."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        site = make_site(cameras, version=2)
        fill_store(path, site, slots=slots, size=size)
        scopes = [camera.granted() for camera in site.cameras]
        segments, expected = slots * cameras, slots * cameras * size
        reader = SegmentFile(path).open()

        def read() -> int:
            return sum(
                len(row.blocks[0] or b"")
                for keys in scopes
                for row in reader.scan(keys.scope, modalities=(FACE,))
            )

        def compare() -> int:
            report = _matched(path, scopes)
            if report.sightings != expected or report.altered:
                raise RuntimeError(f"compared {report.sightings} of {expected} sightings")
            return report.sightings

        _forget(path)
        begins_s = time.process_time()
        compare()
        cold_s = time.process_time() - begins_s
        read_s, warm_s = _in_turn([read, compare])
        portions = [Portion(keys, 0, reader.newest(), anew=True) for keys in scopes]
        begins_s = time.process_time()
        tell_portions(reader, portions)
        tell_s = time.process_time() - begins_s
        at_all = path.stat().st_size
    what, alone = f"segments of {size}, from the store to scores", "only reading the blocks, by row"
    by_reading = (f"{alone}: {read_s / segments * 1e6:.1f} µs", warm_s / read_s)
    return [
        Figure(what, warm_s / segments * 1e6, "CPU µs a segment", *by_reading),
        Figure(f"{what}, read from disk", cold_s / segments * 1e6, "CPU µs a segment",
               "the same out of memory", cold_s / warm_s),
        Figure(what, expected / warm_s, "sightings/CPU s"),
        Figure(f"segments of {size}: reading what each tells of its slot",
               tell_s / segments * 1e6, "CPU µs a segment", what, tell_s / warm_s),
        Figure(f"segments of {size} in store, face and metadata alone",
               at_all / expected, "bytes a sighting"),
    ]  # fmt: skip


def _matched(path: Path, scopes: Sequence[EpochKeys]) -> MatchReport:
    thresholds = np.full(SUBJECTS, THRESHOLD, np.float32)
    names = tuple(f"s{number}" for number in range(SUBJECTS))
    probes = Probes(FACE, MODEL, queries()[1], thresholds, names)
    return match_scopes(
        SegmentFile(path).open(),
        scopes,
        [probes],
        calibrations={},
        contacts=True,
        max_candidates=1000,
    )


def _forget(path: Path) -> None:
    """Have the system forget what it holds of a file in memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    print_figures("Matching", run("--quick" in sys.argv))
