"""Intake by one process and by two, through Mosquitto: CPU time an envelope, over one store.

Boxes publish while the processes take in, each its own boxes by its leases, as
`sealtrace aggregator serve --duty ingest` does. The figures are CPU time of the ingest processes
alone (not of Mosquitto, the boxes, or a database server), since a machine of two cores has
something else to do beside; the wall clock stands beside, with everything on one machine.

Run: `python -m benchmarks.bench_ingest_processes [--quick]`. Needs Mosquitto;
`SEALTRACE_BENCH_STORE` names a database of PostgreSQL (`postgresql://...`, an empty one), else the
store is SQLite's.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

from aggregator.config import IngestSection, LimitsSection
from aggregator.ingest.floods import Floods
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Batch
from aggregator.ingest.subscriber import Subscriber
from aggregator.processes.duties import Duty
from aggregator.processes.keeper import Keeper
from aggregator.processes.members import Member
from aggregator.processes.shares import partitions
from aggregator.store import open_store
from aggregator.store.place import StorePlace
from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from benchmarks.sealed_site import SITE, Message, Site, make_site, unit_rows
from demo.ports import free_port
from protocol.sealing import LIVE_ENVELOPE
from runtime.config import MqttConfig
from runtime.lifecycle import Stop
from runtime.mqtt import Session

CAMERAS = 64
SIZE = 2
DEADLINE_S = 90.0
STORE = "SEALTRACE_BENCH_STORE"
_FORK = multiprocessing.get_context("fork")


class Taking:
    """One ingest process."""

    def __init__(self, site: Site, place: StorePlace, mqtt: MqttConfig, number: int) -> None:
        self._site, self._place, self._mqtt, self._number = site, place, mqtt, number
        self.stored: Synchronized[int] = _FORK.Value("q", 0)
        self.cpu_s: Synchronized[float] = _FORK.Value("d", 0.0)
        self.boxes: Synchronized[int] = _FORK.Value("q", 0)
        self._stop: Event = _FORK.Event()
        self._process = _FORK.Process(target=self._run, daemon=True)
        self._process.start()

    def end(self) -> None:
        """Stop it."""
        self._stop.set()
        self._process.join(30)

    def _run(self) -> None:
        stop, share = Stop(), partitions()
        store = open_store(self._place)
        site = self._site
        intake = Intake(
            store,
            site=SITE,
            directory=lambda: site.directory,
            limits=LimitsSection(),
            retention_days=lambda: 14,
            now_ms=lambda: site.now_ms,
            audit=lambda _kind, _body: None,
            share=share,
        )
        begun: list[float] = []

        def on_stored(batch: Batch) -> None:
            if not begun:  # the first batch reads where the streams stand: it is not counted
                begun.append(time.process_time())
            self.cpu_s.value = time.process_time() - begun[0]
            self.stored.value += batch.stored

        subscriber = Subscriber(
            self._mqtt,
            site=SITE,
            client_id=f"bench-{self._number}",
            intake=intake,
            settings=IngestSection(),
            floods=Floods(1 << 40),
            on_stored=on_stored,
            on_connected=lambda: None,
            on_crash=lambda error: stop.set(str(error), exit_code=1),
            now_ms=lambda: site.now_ms,
            directory=lambda: site.directory,
            share=share,
        )

        def on_tick() -> None:
            subscriber.choose_boxes()
            self.boxes.value = len(subscriber.boxes) if subscriber.session.connected else 0

        member = Member.new(frozenset({Duty.INGEST}))
        keeper = Keeper(store, member, [share], on_tick=on_tick)
        threads = [
            threading.Thread(target=keeper.run, args=(stop,)),
            threading.Thread(target=subscriber.run, args=(stop,)),
        ]
        for thread in threads:
            thread.start()
        self._stop.wait()
        stop.set("measured")
        for thread in threads:
            thread.join(20)
        store.close()


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` takes fewer envelopes.

    Raises:
        RuntimeError: Mosquitto is not installed.
    """
    quiet_logs()
    site = make_site(CAMERAS, version=2)
    url = os.environ.get(STORE, "")
    kind = "PostgreSQL" if url else "SQLite"
    figures, alone = [], 0.0
    for processes in (1, 2):
        if not url:  # a store of its own for each round: all begins anew
            for camera in site.cameras:
                camera.sequence = 0
        messages = _messages(site, 3200 if quick else 12_800)
        cpu_us, rate = _measured(site, messages, processes, url)
        alone = alone or cpu_us
        what = f"live envelopes of {SIZE} through Mosquitto into {kind}, {processes} process(es)"
        figures += [
            Figure(what, cpu_us, "CPU us/envelope", "1 process", cpu_us / alone),
            Figure(f"{what}, wall, all on one machine", rate, "envelopes/s", "", 1.0),
        ]
    return figures


def _messages(site: Site, count: int) -> list[Message]:
    rng = np.random.default_rng(SIZE)
    made = [camera.message_of_day() for camera in site.cameras if not camera.sequence]
    for number in range(count):
        camera = site.cameras[number % len(site.cameras)]
        slot = number // len(site.cameras) * 96 // (count // len(site.cameras) + 1)
        made.append(camera.seal(LIVE_ENVELOPE, slot, unit_rows(rng, SIZE)))
    return made


def _measured(
    site: Site, messages: Sequence[Message], processes: int, url: str
) -> tuple[float, float]:
    """Return CPU us an envelope, and envelopes a second of the wall clock."""
    with tempfile.TemporaryDirectory() as folder:
        place = StorePlace(Path(folder) / "bench.db", url)
        port = free_port()
        broker = _mosquitto(Path(folder), port)
        taking = [Taking(site, place, MqttConfig(port=port), n) for n in range(processes)]
        try:
            fair = len(site.cameras) // (2 * processes)
            _wait(lambda: all(one.boxes.value >= fair for one in taking))
            _wait(lambda: sum(one.boxes.value for one in taking) == len(site.cameras))
            begin = time.perf_counter()
            boards = Session(MqttConfig(port=port), client_id="bench-boxes", window=200)
            boards.start()
            _wait(lambda: boards.wait_connected(1.0))
            for topic, payload in messages:
                boards.publish(topic, payload, timeout_s=DEADLINE_S)
            _wait(lambda: sum(one.stored.value for one in taking) >= len(messages))
            wall_s = time.perf_counter() - begin
            boards.stop()
            cpu_s = sum(one.cpu_s.value for one in taking)
        finally:
            for one in taking:
                one.end()
            broker.terminate()
            broker.wait(10)
    return cpu_s * 1e6 / len(messages), len(messages) / wall_s


def _mosquitto(folder: Path, port: int) -> subprocess.Popen[bytes]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        raise RuntimeError("Mosquitto is not installed (Debian: apt install mosquitto)")
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
    return subprocess.Popen(
        [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the processes did not keep up")
        time.sleep(0.01)


if __name__ == "__main__":
    print_figures("Intake by several processes", run("--quick" in sys.argv))
