"""What headquarters does towards boxes, over a real broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from edge_site import DEADLINE_S, Site, wait_until

from protocol import names
from protocol.directory import BOX
from protocol.names import CameraAddress
from protocol.policy import sign_policy
from protocol.signing import Signed, SigningKey
from protocol.telemetry import HEALTH_KIND, Health, Receipt
from protocol.v2.envelopes import Envelope, parse_envelope
from protocol.v2.notices import Notice
from runtime.config import MqttConfig
from runtime.mqtt import Delivery, MqttError, Session

POLICY = """site = "demo"
version = 1
policy_schema = 2
cover = "off"
confirmations = 1
live = true
purposes = ["exercise"]
programme_ends = 2100-01-01T00:00:00Z
approvals = 1
max_subjects = 1
max_window_hours = 1
max_live_hours = 1
max_cameras = 1
max_query_days = 1
max_candidates = 1
retention_days = 14
[threshold_floor]
[legal_basis.consent]
modalities = []
extra_approvals = 0
"""


class Headquarters:
    """What the aggregator does towards boxes: stores what it verified, sends signed receipts."""

    def __init__(self, site: Site, port: int, *, client_id: str = "aggregator") -> None:
        self.site = site
        self.stored: dict[str, dict[int, bytes]] = {}
        self.copies = 0
        self.raw: list[tuple[str, bytes]] = []
        self.reports: list[Health] = []
        self.receipts = True
        self._stopped = False
        self._lock = threading.Lock()
        self._session = Session(
            MqttConfig(port=port), client_id=client_id, backoff_s=(0.05, 0.2), window=64
        )
        self._session.subscribe(f"{names.TOPIC_ROOT}/demo/#", self._take)
        self._session.start()
        assert self._session.wait_connected(DEADLINE_S)

    def stop(self) -> None:
        self._stopped = True
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

    def publish_notice(self) -> None:
        """Tell boxes that nothing holds live envelopes back: of a policy without cover."""
        text = POLICY.encode()
        made = Notice(
            "demo",
            1,
            time.time_ns() // 1_000_000,
            text,
            sign_policy(text, self.site.authority),
            (),
        )
        self.publish(names.notice_topic("demo"), made.sign(self.site.aggregator).to_bytes())

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

    def _send_receipt_until_sent(self, camera: str) -> None:
        """Keep a receipt due until it could be published, as the aggregator does."""
        if self._stopped:
            return
        try:
            self.send_receipt(camera)
        except MqttError:
            again = threading.Timer(0.1, self._send_receipt_until_sent, [camera])
            again.daemon = True
            again.start()

    def _take(self, delivery: Delivery) -> None:
        self.raw.append((delivery.topic, delivery.payload))
        leaf = delivery.topic.rsplit("/", 1)[1]
        if leaf in {names.EPOCH, names.ENVELOPE}:
            if leaf == names.EPOCH:
                announcement = self.site.announcement(delivery.payload)
                camera, sequence = announcement.address.camera, announcement.sequence
            else:
                envelope = parse_envelope(delivery.payload)
                sequence = envelope.header.sequence
                if isinstance(envelope, Envelope):
                    camera = envelope.header.name.address.camera
                else:
                    camera = envelope.header.address.camera
            with self._lock:
                known = self.stored.setdefault(camera, {})
                self.copies += sequence in known
                known[sequence] = delivery.payload
            if self.receipts:
                self._send_receipt_until_sent(camera)
        elif delivery.topic == names.box_health_topic("demo", "box-1"):
            signed = Signed.parse(delivery.payload, kind=HEALTH_KIND)
            payload = signed.verify(self.site.directory.resolver(BOX))
            self.reports.append(Health.parse(payload, box=signed.signer))
        delivery.ack()
