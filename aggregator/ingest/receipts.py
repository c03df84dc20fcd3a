"""Tell boards what is stored, so that they may forget it: signed, retained, one a camera.

A receipt goes out when what it says has changed, at most once a tick (a second) a camera, and for
every camera after each connection, in case the broker has lost what it retained.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import structlog

from aggregator.ingest.intake import Intake
from protocol.names import RECEIPT, CameraAddress
from protocol.signing import SigningKey
from protocol.telemetry import Receipt
from runtime.mqtt import MqttError, Outcome, Session
from runtime.mqtt_brokers import Brokers

_log = structlog.get_logger()


class Receipts:
    """Knows which cameras' receipts are due, and publishes them; safe to use from any thread.

    Args:
        intake: tells what is stored.
        aggregator: the aggregator's signing key.
        now_ms: our clock.
    """

    def __init__(
        self, intake: Intake, *, aggregator: SigningKey, now_ms: Callable[[], int]
    ) -> None:
        self._intake = intake
        self._aggregator = aggregator
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._due: set[CameraAddress] = set()

    def note(self, cameras: Iterable[CameraAddress]) -> None:
        """Note cameras of which something was stored, after its transaction has committed."""
        with self._lock:
            self._due.update(cameras)

    def note_all(self) -> None:
        """Note every camera ever heard of: after a connection."""
        self.note(address for address, _, _ in self._intake.positions())

    def publish(self, session: Brokers | Session) -> int:
        """Publish what is due and return how many; the rest stays due for the next tick."""
        with self._lock:
            due = sorted(self._due, key=lambda a: (a.box, a.camera))
            self._due.clear()
        for number, address in enumerate(due):
            said = self._intake.position(address)
            if said is None:
                continue
            receipt = Receipt(address, *said, issued_at_ms=self._now_ms())
            try:
                session.publish(
                    address.topic(RECEIPT),
                    receipt.sign(self._aggregator).to_bytes(),
                    retain=True,
                    token=address,
                    on_done=self._answered,
                    timeout_s=1.0,
                )
            except MqttError:
                self.note(due[number:])
                return number
        return len(due)

    def _answered(self, outcome: Outcome) -> None:
        if outcome.result == "acknowledged":
            return
        assert isinstance(outcome.token, CameraAddress)  # noqa: S101 - for the type checker
        if outcome.result == "refused":
            _log.error("receipt_refused", camera=outcome.token.camera, reason=outcome.reason)
        else:
            self.note([outcome.token])
