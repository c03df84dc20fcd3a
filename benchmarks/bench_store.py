"""What the aggregator's store costs: to take envelopes in, to read a query's, to drop a day.

The embedded backend always; PostgreSQL beside it where SEALTRACE_BENCH_STORE names an empty
database (`postgresql://user@/name`) of a server on this machine: what is in it afterwards is
rubbish. CPU time of this process, and apart from it that of the server's for our connections.
Nothing is packed: packed objects have figures of their own.

Run: `python -m benchmarks store [--quick]`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from aggregator.store import StorePlace
from aggregator.store.envelopes import SealedEnvelope, lay_out
from aggregator.store.interface import Store
from aggregator.store.place import require_postgresql
from aggregator.store.rows import STORED, StreamRow
from aggregator.store.sqlite.store import SqliteStore
from benchmarks.cpu_time import cpu_of
from benchmarks.figures import Figure
from benchmarks.printing import quiet_logs
from benchmarks.sealed_site import Site, make_site, unit_rows
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.grant import Scope
from protocol.keytree import FACE
from protocol.names import EPOCH_MS, CameraAddress
from protocol.sealing import LIVE_ENVELOPE, SEGMENT
from protocol.signing import Signed
from protocol.v2.envelopes import parse_envelope

BATCH = 32
CAMERAS = 32
SIGHTINGS, LIVE = 21, 2
VARIABLE = "SEALTRACE_BENCH_STORE"
QUERIED, DAYS = 200, 14
_ASKED = 5
CITY_DAY, CITY_HOUR = 1_038_720, 43_280
"""Segments of 10,820 cameras: of a day, and of the hour that is in rows."""
DAY = 19_000
"""Its day, before that of the others."""
Sealed = tuple[int, SealedEnvelope]


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` takes fewer envelopes."""
    quiet_logs()
    site = make_site(CAMERAS, version=2)
    slots = 12 if quick else 48
    segments = _sealed(site, SEGMENT, SIGHTINGS, slots)
    live = _sealed(site, LIVE_ENVELOPE, LIVE, slots)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        base = SqliteStore(Path(folder) / "bench.db")
        figures += _measure("SQLite", base, site, segments, live, servers=_nobody)
        base.close()
    if url := os.environ.get(VARIABLE):
        figures += _of_a_server(url, site, segments, live)
    return figures


def _of_a_server(
    url: str, site: Site, segments: Sequence[Sealed], live: Sequence[Sealed]
) -> list[Figure]:
    require_postgresql()
    from aggregator.store.postgresql.sessions import Committed, Server  # noqa: PLC0415
    from aggregator.store.postgresql.store import PostgresqlStore  # noqa: PLC0415

    place = StorePlace(Path("unused"), url)
    store, watching = PostgresqlStore(place), Committed(Server(place))

    def servers() -> float:
        used = 0.0
        for (pid,) in watching.rows(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        ):
            with suppress(OSError):
                used += cpu_of(pid)
        return used

    figures = _measure("PostgreSQL", store, site, segments, live, servers=servers)
    figures.append(_dropped_day(store))
    store.close()
    return figures


def _measure(
    name: str,
    store: Store,
    site: Site,
    segments: Sequence[Sealed],
    live: Sequence[Sealed],
    *,
    servers: Callable[[], float],
) -> list[Figure]:
    with store.writing() as unit:
        streams = [unit.ledger.add_stream(camera.address) for camera in site.cameras]
        for stream, camera in zip(streams, site.cameras, strict=True):
            payload = camera.message_of_day()[1]
            said = _announcement(payload, camera.address.box)
            unit.ledger.add_announcement(stream.number, said, payload)
    figures: list[Figure] = []
    for what, sealed in (
        (f"segments of {SIGHTINGS}", segments),
        (f"live envelopes of {LIVE}", live),
    ):
        ours, theirs = _used(lambda part=sealed: _take_in(store, streams, part), servers)  # type: ignore[misc]
        figures += _costs(f"{name}: {what}, written in batches of {BATCH}", ours, theirs, sealed)
    read = 0

    def read_all() -> None:
        nonlocal read
        for camera in site.cameras:
            scope = Scope(camera.address, 20_000, 1, 0, 95)
            for run in store.segments.runs(scope, modalities=(FACE,)):
                read += len(run) if hasattr(run, "numbers") else 0

    ours, theirs = _used(read_all, servers)
    if read != len(segments):
        raise AssertionError(f"{read} of {len(segments)} were read")
    figures += _costs(f"{name}: segments, faces read by runs", ours, theirs, segments)
    return [*figures, *_a_querys_reads(name, store, site, servers)]


def _a_querys_reads(
    name: str, store: Store, site: Site, servers: Callable[[], float]
) -> list[Figure]:
    """Measure what a query over many cameras and a fortnight asks of the ledger."""
    payload = site.cameras[0].message_of_day()[1]
    said = _announcement(payload, site.cameras[0].address.box)
    many = [CameraAddress("many", f"box-{at}", f"many-{at}") for at in range(QUERIED)]
    with store.writing() as unit:
        numbers = [unit.ledger.add_stream(address).number for address in many]
        for number in numbers:
            for day in range(DAYS):
                unit.ledger.add_announcement(number, replace(said, epoch=20_000 - day), payload)
    names = [address.camera for address in many]
    window = {"from_ms": (20_001 - DAYS) * EPOCH_MS, "to_ms": 20_001 * EPOCH_MS}
    read: list[int] = []
    asked: tuple[tuple[str, Callable[[], None]], ...] = (
        (
            f"announcements of {len(payload):,} bytes read",
            lambda: read.append(len(store.ledger.announcements(names, **window))),
        ),
        ("counted", lambda: read.append(store.ledger.count_scope(names, **window).segments)),
    )
    figures = []
    for what, ask in asked:
        ask()
        ours, theirs = _used(ask, servers, times=_ASKED)
        each = 1e6 / (_ASKED * QUERIED * DAYS)
        label = f"{name}: {QUERIED} cameras, {DAYS} days: {what}"
        figures.append(Figure(label, ours * each, "CPU us a camera-day"))
        if theirs:
            figures.append(Figure(f"{label}, the server's", theirs * each, "CPU us"))
    if max(read) != QUERIED * DAYS:
        raise AssertionError(f"{max(read)} announcements were read")
    return figures


def _announcement(payload: bytes, box: str) -> Announcement:
    return Announcement.parse(Signed.parse(payload, kind=EPOCH_KIND).payload, box=box)


def _take_in(store: Store, streams: Sequence[StreamRow], sealed: Sequence[Sealed]) -> None:
    """Do for each envelope what intake does to the store, in its batches."""
    now_ms = 20_000 * EPOCH_MS
    for first in range(0, len(sealed), BATCH):
        part = sealed[first : first + BATCH]
        with store.writing(beside=True) as unit:
            for at, envelope in part:
                unit.ledger.generation(streams[at].number, envelope.epoch, envelope.generation)
                unit.segments.append(streams[at].number, envelope, received_ms=now_ms)
                unit.ledger.remember(
                    streams[at].number,
                    0,
                    sequence=envelope.sequence,
                    epoch=envelope.epoch,
                    outcome=STORED,
                    digest=hashlib.sha256(envelope.header).digest()[:16],
                    now_ms=now_ms,
                )
            moved = {at: envelope.sequence for at, envelope in part}
            unit.ledger.move_streams(
                (replace(streams[at], highest=highest), now_ms) for at, highest in moved.items()
            )
            unit.ledger.note_heard({f"box-{at + 1}": now_ms for at in moved})
            unit.segments.replaced()


def _sealed(site: Site, kind: str, size: int, slots: int) -> list[Sealed]:
    """Return envelopes of all cameras, quarter hour by quarter hour, as they come in."""
    rng = np.random.default_rng(size)
    return [
        (at, lay_out(parse_envelope(camera.seal(kind, slot, unit_rows(rng, size))[1])))
        for slot in range(slots)
        for at, camera in enumerate(site.cameras)
    ]


def _dropped_day(store: Store) -> Figure:
    """Make a city's day of what the ledger knows of packed segments, an hour of rows; drop it."""
    from aggregator.store.postgresql.store import PostgresqlStore  # noqa: PLC0415

    assert isinstance(store, PostgresqlStore)
    with store.writing() as unit:
        unit.ledger._known.days.ensure(
            ["envelopes", "packed", "announcements"], [DAY], unit.transaction
        )
        unit.transaction.change(
            "INSERT INTO packed (number, pack, generation, stream, epoch, count, slot, version,"
            " face_bytes, appearance_bytes) SELECT n, n / 256, 1, n %% 10820, %s, 21, n / 10820, 2,"
            " 2800, 5400 FROM generate_series(0, %s) AS n",
            [DAY, CITY_DAY - 1],
        )
        unit.transaction.change(
            "INSERT INTO envelopes (stream, epoch, generation, sequence, received_ms, count, slot,"
            " segment, version, salt, header, signature, face, appearance) SELECT n %% 10820, %s,"
            " 1, n, 0, 21, n / 10820, 1, 2, '', repeat('h', 300)::bytea, repeat('s', 64)::bytea,"
            " repeat('f', 2800)::bytea, repeat('a', 5400)::bytea FROM generate_series(0, %s) AS n",
            [DAY, CITY_HOUR - 1],
        )
    begin = time.monotonic()
    with store.writing() as unit:
        gone = unit.segments.drop_days(before_epoch=DAY + 1, most=500)
        gone += unit.ledger.drop_packs(before_epoch=DAY + 1, most=500)
        unit.ledger.drop_announcements(before_epoch=DAY + 1, most=500)
    if gone < CITY_DAY:
        raise AssertionError(f"{gone} were dropped")
    return Figure("PostgreSQL: a day of 10,820 cameras dropped", time.monotonic() - begin, "s wall")


def _used(
    work: Callable[[], None], servers: Callable[[], float], *, times: int = 1
) -> tuple[float, float]:
    """Return CPU seconds of this process and of the server's."""
    before, start = servers(), time.process_time()
    for _ in range(times):
        work()
    ours = time.process_time() - start
    return ours, servers() - before


def _costs(what: str, ours: float, theirs: float, sealed: Sequence[Sealed]) -> list[Figure]:
    figures = [Figure(what, 1e6 * ours / len(sealed), "CPU us an envelope")]
    if theirs:
        figures.append(Figure(f"{what}, the server's", 1e6 * theirs / len(sealed), "CPU us"))
    return figures


def _nobody() -> float:
    return 0.0
