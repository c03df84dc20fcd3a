"""Intake figures: envelopes a second checked and committed, straight and through a real broker.

What comes in is as boxes send it: segments of 21, 5 and 64 sightings, and live envelopes of one and
two, of which a busy hour has the most. Each is held against the signature checks of the very same
messages. Rates are of CPU seconds of this process, all its threads; through the broker (a process
of its own) the wall clock stands beside.

Run: `python -m benchmarks.bench_ingest [--quick]`. Needs nothing but the packages.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aggregator.config import IngestSection, LimitsSection
from aggregator.ingest.floods import Floods
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.ingest.subscriber import Subscriber
from aggregator.store.sqlite.store import SqliteStore
from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from benchmarks.sealed_site import DIMENSION, SITE, Message, Site, make_site, unit_rows
from demo.broker import BrokerPlace, EmbeddedBroker
from demo.ports import free_port
from protocol.directory import BOX
from protocol.sealing import LIVE_ENVELOPE, SEGMENT
from protocol.v2.envelopes import parse_envelope
from runtime.config import MqttConfig
from runtime.lifecycle import Stop, Threads
from runtime.mqtt import Session

BATCH = 32
CAMERAS = 16
SEGMENTS, LIVE = (21, 5, 64), (1, 2)
DEADLINE_S = 120.0
_ROUNDS = 2
BUSY_HOUR = (3600, 5400)
"""Envelopes a second of 10,820 cameras that see one sighting a second between them and two."""


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` takes fewer envelopes."""
    quiet_logs()
    count = 960 if quick else 4800
    site = make_site(CAMERAS, version=2)
    figures = []
    for kind, sizes in ((SEGMENT, SEGMENTS), (LIVE_ENVELOPE, LIVE)):
        for size in sizes:
            made = _messages(site, count, size, kind=kind)
            rate = max(_direct_rate(site, made) for _ in range(_ROUNDS))
            checking = max(_verify_rate(site, made) for _ in range(_ROUNDS))
            what = f"{kind} envelopes of {size}, checked and stored"
            against = f"signature checks alone: {checking:,.0f}"
            figures.append(Figure(what, rate, "envelopes/CPU s", against, rate / checking))
            if size in {SEGMENTS[0], LIVE[0]}:
                figures += _broker_rates(site, made, f"{kind} envelopes of {size}", rate)
    return [*figures, *_wire(site)]


def _messages(site: Site, count: int, size: int, *, kind: str = SEGMENT) -> list[Message]:
    """Return announcements, then envelopes of all cameras in turn, numbered from the start."""
    rng = np.random.default_rng(size)
    for camera in site.cameras:
        camera.sequence = 0
    made = [camera.message_of_day() for camera in site.cameras]
    for number in range(count):
        camera = site.cameras[number % len(site.cameras)]
        slot = number // len(site.cameras) * 96 // (count // len(site.cameras) + 1)
        made.append(camera.seal(kind, slot, unit_rows(rng, size)))
    return made


def _verify_rate(site: Site, messages: Sequence[Message]) -> float:
    """Return how many envelopes a CPU second one thread verifies, parsing and storing aside."""
    envelopes = [
        parse_envelope(payload) for topic, payload in messages if topic.endswith("envelope")
    ]
    resolve = site.directory.resolver(BOX)
    start = time.process_time()
    for envelope in envelopes:
        envelope.verify(resolve)
    return len(envelopes) / (time.process_time() - start)


def _intake(site: Site, store: SqliteStore) -> Intake:
    return Intake(
        store,
        site=SITE,
        directory=lambda: site.directory,
        limits=LimitsSection(),
        retention_days=lambda: 14,
        now_ms=lambda: site.now_ms,
        audit=lambda _kind, _body: None,
    )


def _direct_rate(site: Site, messages: Sequence[Message]) -> float:
    """Return envelopes a CPU second through every check and into committed transactions."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "bench.db")
        intake = _intake(site, store)
        stored = 0
        start = time.process_time()
        for first in range(0, len(messages), BATCH):
            part = messages[first : first + BATCH]
            stored += intake.process(
                [Incoming(topic, payload, site.now_ms) for topic, payload in part]
            ).stored
        elapsed_s = time.process_time() - start
        store.close()
    if stored != len(messages):
        raise AssertionError(f"stored {stored} of {len(messages)}")
    return stored / elapsed_s


def _broker_rates(
    site: Site, messages: Sequence[Message], what: str, straight: float
) -> list[Figure]:
    """Measure a broker that already holds them to committed and acknowledged."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedBroker(BrokerPlace(port, Path(folder) / "broker")),
    ):
        wall, cpu = _through_broker(site, messages, MqttConfig(port=port), Path(folder))
    name = f"{what}, through the embedded MQTT broker"
    return [
        Figure(name, cpu, "envelopes/CPU s", "straight", cpu / straight),
        Figure(f"{name}, wall", wall, "envelopes/s", f"a busy hour: {BUSY_HOUR[0]:,}",
               wall / BUSY_HOUR[0]),
    ]  # fmt: skip


def _through_broker(
    site: Site, messages: Sequence[Message], mqtt: MqttConfig, folder: Path
) -> tuple[float, float]:
    """Return envelopes a second of the wall clock, and of CPU time of this process."""
    stop = Stop()
    threads = Threads(stop)
    store = SqliteStore(folder / "bench.db")
    batches: list[tuple[float, float, int]] = []

    def subscriber() -> Subscriber:
        return Subscriber(
            mqtt,
            site=SITE,
            client_id="bench-aggregator",
            intake=_intake(site, store),
            settings=IngestSection(),
            floods=Floods(LimitsSection().box_mb_per_minute << 20),
            on_stored=lambda batch: batches.append(
                (time.perf_counter(), time.process_time(), batch.stored)
            ),
            on_connected=lambda: None,
            on_crash=lambda error: stop.set(str(error), exit_code=1),
            now_ms=lambda: site.now_ms,
        )

    def stored() -> int:
        return sum(count for _, _, count in batches)

    # Subscribe, leave, let the boxes publish, come back: the broker delivers all at once.
    first = subscriber()
    first.session.start()
    _wait(lambda: first.session.wait_connected(1.0))
    first.session.stop()
    boards = Session(mqtt, client_id="bench-boxes", window=100)
    boards.start()
    _wait(lambda: boards.wait_connected(1.0))
    for topic, payload in messages:
        boards.publish(topic, payload, timeout_s=DEADLINE_S)
    _wait(lambda: boards.inflight == 0)
    boards.stop()
    taking = subscriber()
    threads.start("ingest", lambda: taking.run(stop))
    _wait(lambda: stored() >= len(messages) or stop.is_set())
    stop.set("measured")
    threads.join(30.0)
    store.close()
    if stored() != len(messages):
        raise AssertionError(f"stored {stored()} of {len(messages)}: {stop.reason}")
    # The first batch paid for the connection: count from its end.
    taken = len(messages) - batches[0][2]
    return (
        taken / (batches[-1][0] - batches[0][0]),
        taken / (batches[-1][1] - batches[0][1]),
    )


def _wait(condition: object) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError("the broker did not keep up")
        time.sleep(0.005)


def _wire(site: Site) -> list[Figure]:
    """Bytes a sighting with a face, one encounter each, against the template and times alone."""
    rng = np.random.default_rng(9)
    camera = site.cameras[0]
    bare = DIMENSION + 4 + 8 + 2 * 8 + 3
    figures = []
    for kind, size in ((LIVE_ENVELOPE, 1), *((SEGMENT, size) for size in sorted(SEGMENTS))):
        _, payload = camera.seal(kind, 0, unit_rows(rng, size))
        each = len(payload) / size
        name = f"on the wire, {kind} envelope of {size}"
        figures.append(Figure(name, each, "bytes/sighting", f"{bare} bytes unsealed", each / bare))
    return figures


if __name__ == "__main__":
    print_figures("Intake", run("--quick" in sys.argv))
