"""Intake figures: envelopes a second checked and committed, straight and through a real broker.

Run: `python -m benchmarks.bench_ingest [--quick]`. Needs nothing but the packages.
"""

from __future__ import annotations

import socket
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
from benchmarks.sealed_site import SITE, Message, Site, make_site, unit_rows
from demo.broker import BrokerPlace, EmbeddedBroker
from protocol.directory import BOX
from protocol.sealing import LIVE_ENVELOPE, SEGMENT, Envelope
from runtime.config import MqttConfig
from runtime.lifecycle import Stop, Threads
from runtime.mqtt import Session

BATCH = 32
CAMERAS = 16
SIZES = (1, 8, 64)
DEADLINE_S = 120.0


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` takes fewer envelopes."""
    quiet_logs()
    count = 1500 if quick else 8000
    site = make_site(CAMERAS)
    messages = {size: _messages(site, count, size) for size in SIZES}
    full = messages[64]
    verify = _verify_rate(site, full)
    against = "signature checks alone, 64 a message"
    figures = [Figure(f"{against}, 1 process", verify, "envelopes/s")]
    for size, made in messages.items():
        rate = _direct_rate(site, made)
        name = f"intake, {size} sightings an envelope, 1 process"
        figures.append(Figure(name, rate, "envelopes/s", against, rate / verify))
    site_2 = make_site(CAMERAS, version=2)
    rate = _direct_rate(site_2, _messages(site_2, count, 64, kind=SEGMENT))
    name = "intake, segments of version 2, 64 sightings each, 1 process"
    figures.append(Figure(name, rate, "envelopes/s", against, rate / verify))
    rate = _broker_rate(site, full[: count // 2])
    name = "intake through the embedded MQTT broker, 64 an envelope"
    figures.append(Figure(name, rate, "envelopes/s", against, rate / verify))
    return [*figures, *_wire(site)]


def _messages(site: Site, count: int, size: int, *, kind: str = LIVE_ENVELOPE) -> list[Message]:
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
    """Return how many envelopes a second one thread verifies, parsing and storing aside."""
    envelopes = [
        Envelope.parse(payload) for topic, payload in messages if topic.endswith("envelope")
    ]
    resolve = site.directory.resolver(BOX)
    start = time.perf_counter()
    for envelope in envelopes:
        envelope.verify(resolve)
    return len(envelopes) / (time.perf_counter() - start)


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
    """Return envelopes a second through every check and into committed transactions."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "bench.db")
        intake = _intake(site, store)
        stored = 0
        start = time.perf_counter()
        for first in range(0, len(messages), BATCH):
            part = messages[first : first + BATCH]
            stored += intake.process(
                [Incoming(topic, payload, site.now_ms) for topic, payload in part]
            ).stored
        elapsed_s = time.perf_counter() - start
        store.close()
    if stored != len(messages):
        raise AssertionError(f"stored {stored} of {len(messages)}")
    return stored / elapsed_s


def _broker_rate(site: Site, messages: Sequence[Message]) -> float:
    """Return envelopes a second from a broker that already holds them to committed and acked."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
        sock.close()
        with EmbeddedBroker(BrokerPlace(port, Path(folder) / "broker")):
            return _through_broker(site, messages, MqttConfig(port=port), Path(folder))


def _through_broker(
    site: Site, messages: Sequence[Message], mqtt: MqttConfig, folder: Path
) -> float:
    stop = Stop()
    threads = Threads(stop)
    store = SqliteStore(folder / "bench.db")
    batches: list[tuple[float, int]] = []

    def subscriber() -> Subscriber:
        return Subscriber(
            mqtt,
            site=SITE,
            client_id="bench-aggregator",
            intake=_intake(site, store),
            settings=IngestSection(),
            floods=Floods(LimitsSection().box_mb_per_minute << 20),
            on_stored=lambda batch: batches.append((time.perf_counter(), batch.stored)),
            on_connected=lambda: None,
            on_crash=lambda error: stop.set(str(error), exit_code=1),
            now_ms=lambda: site.now_ms,
        )

    def stored() -> int:
        return sum(count for _, count in batches)

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
    return (len(messages) - batches[0][1]) / (batches[-1][0] - batches[0][0])


def _wait(condition: object) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError("the broker did not keep up")
        time.sleep(0.005)


def _wire(site: Site) -> list[Figure]:
    """Bytes a sighting, one encounter each, against the template and times alone."""
    rng = np.random.default_rng(9)
    camera = site.cameras[0]
    bare = 192 + 4 + 8 + 2 * 8 + 3
    figures = []
    for kind, size in ((LIVE_ENVELOPE, 1), (LIVE_ENVELOPE, 8), (LIVE_ENVELOPE, 64), (SEGMENT, 64)):
        _, payload = camera.seal(kind, 0, unit_rows(rng, size))
        each = len(payload) / size
        name = f"on the wire, {kind} envelope of {size}"
        figures.append(Figure(name, each, "bytes/sighting", f"{bare} bytes unsealed", each / bare))
    return figures


if __name__ == "__main__":
    print_figures("Intake", run("--quick" in sys.argv))
