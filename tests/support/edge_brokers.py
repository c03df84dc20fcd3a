"""Real brokers on loopback, and what headquarters does towards boxes."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_site import DEADLINE_S, Site, wait_until
from iotcore import Broker

from protocol import names
from protocol.directory import BOX
from protocol.names import CameraAddress
from protocol.sealing import Envelope
from protocol.signing import Signed, SigningKey
from protocol.telemetry import HEALTH_KIND, Health, Receipt
from runtime.config import MqttConfig
from runtime.mqtt import Delivery, Session


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class EmbeddedBroker:
    """The broker of the iotcore package: forgets sessions when it stops."""

    keeps_sessions = False

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "rumqttd.toml"
        self._config.write_text(
            f"""
            id = 0
            [router]
            id = 0
            max_connections = 100
            max_outgoing_packet_count = 200
            max_segment_size = 16777216
            max_segment_count = 16
            [v5.1]
            name = "v5"
            listen = "127.0.0.1:{self.port}"
            next_connection_delay_ms = 1
            [v5.1.connections]
            connection_timeout_ms = 10000
            max_payload_size = 8454144
            max_inflight_count = 100
            dynamic_filters = true
            """
        )
        self._broker: Broker | None = None

    def start(self) -> None:
        self._broker = Broker(config_path=str(self._config)).start()

    def stop(self) -> None:
        if self._broker is not None:
            self._broker.stop()
            self._broker = None


class Mosquitto:
    """Mosquitto: keeps sessions and retained messages on disk."""

    keeps_sessions = True

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.port = free_port()
        self._log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"per_listener_settings false\nuser root\npersistence true\n"
            f"persistence_location {folder}/\nmax_queued_messages 0\n"
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\n{extra}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(mosquitto()), "-c", str(self._config)],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        wait_until(lambda: listens(self.port), "Mosquitto listening")

    def reload(self) -> None:
        """Have it read its access list again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)
            self._process = None


def mosquitto() -> str | None:
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


AnyBroker = EmbeddedBroker | Mosquitto


class Headquarters:
    """What the aggregator does towards boxes: stores what it verified, sends signed receipts."""

    def __init__(self, site: Site, port: int, *, client_id: str = "aggregator") -> None:
        self.site = site
        self.stored: dict[str, dict[int, bytes]] = {}
        self.copies = 0
        self.raw: list[tuple[str, bytes]] = []
        self.reports: list[Health] = []
        self.receipts = True
        self._lock = threading.Lock()
        self._session = Session(
            MqttConfig(port=port), client_id=client_id, backoff_s=(0.05, 0.2), window=64
        )
        self._session.subscribe(f"{names.TOPIC_ROOT}/demo/#", self._take)
        self._session.start()
        assert self._session.wait_connected(DEADLINE_S)

    def stop(self) -> None:
        self._session.stop(2)

    @property
    def connected(self) -> bool:
        return self._session.connected

    @property
    def connections(self) -> int:
        """How many connections there have been whose subscriptions the broker has taken."""
        ready = self._session.wait_connected(0.0)
        return self._session.connections - (0 if ready else 1)

    def publish(self, topic: str, payload: bytes) -> None:
        wait_until(lambda: self._session.connected)
        self._session.publish_and_wait(topic, payload, retain=True)

    def publish_day_keys(self, *custodians: str, epochs: Sequence[int] = ()) -> None:
        today = names.epoch_of(time.time_ns() // 1_000_000)
        for name in custodians or self.site.custodian_names:
            keys = self.site.day_keys(name, epochs or (today, today + 1))
            self.publish(names.day_keys_topic("demo", name), keys)

    def payloads(self, camera: str) -> list[bytes]:
        with self._lock:
            return [payload for _, payload in sorted(self.stored.get(camera, {}).items())]

    def sequences(self, camera: str) -> list[int]:
        with self._lock:
            return sorted(self.stored.get(camera, {}))

    def send_receipt(self, camera: str, *, by: SigningKey | None = None, **changes: Any) -> None:
        with self._lock:
            held = set(self.stored.get(camera, {}))
        through = max(held, default=-1)
        values: dict[str, Any] = {
            "address": CameraAddress("demo", "box-1", camera),
            "stored_through": through,
            "missing": tuple(n for n in range(through) if n not in held),
            "issued_at_ms": time.time_ns() // 1_000_000,
        }
        topic = CameraAddress("demo", "box-1", camera).topic(names.RECEIPT)
        receipt = Receipt(**(values | changes)).sign(by or self.site.aggregator)
        self._session.publish(topic, receipt.to_bytes(), retain=True, timeout_s=1)

    def _take(self, delivery: Delivery) -> None:
        self.raw.append((delivery.topic, delivery.payload))
        leaf = delivery.topic.rsplit("/", 1)[1]
        if leaf in {names.EPOCH, names.ENVELOPE}:
            if leaf == names.EPOCH:
                announcement = self.site.announcement(delivery.payload)
                camera, sequence = announcement.address.camera, announcement.sequence
            else:
                header = Envelope.parse(delivery.payload).header
                camera, sequence = header.address.camera, header.sequence
            with self._lock:
                known = self.stored.setdefault(camera, {})
                self.copies += sequence in known
                known[sequence] = delivery.payload
            if self.receipts:
                try:
                    self.send_receipt(camera)
                except Exception:
                    self.missed_receipt = camera
        elif delivery.topic == names.box_health_topic("demo", "box-1"):
            signed = Signed.parse(delivery.payload, kind=HEALTH_KIND)
            payload = signed.verify(self.site.directory.resolver(BOX))
            self.reports.append(Health.parse(payload, box=signed.signer))
        delivery.ack()
