"""Take messages from the brokers to the intake in batches; acknowledge only what is stored.

Threads: paho's network threads queue messages; ``ingest`` (the body is `Subscriber.run`) stores
them. A message stays unacknowledged until its transaction has committed, so a full disk or a crash
loses nothing: the broker holds back more than ``receive_maximum`` and delivers again.
"""

from __future__ import annotations

import operator
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from aggregator.config import IngestSection
from aggregator.ingest.checks import Rejected, topic_box
from aggregator.ingest.floods import REASON, Floods
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Batch, Incoming
from aggregator.ingest.partitions import Share, boxes_in, filters_of_box, filters_of_site
from aggregator.store.leases import Lease
from protocol.directory import Directory
from runtime.config import MqttConfig
from runtime.database import StorageError, StorageFull
from runtime.lifecycle import Stop
from runtime.mqtt import Delivery
from runtime.mqtt_brokers import Brokers

_log = structlog.get_logger()
_IDLE_S = 0.5
_LULL_S = 0.005
_IN_FLIGHT = 256
_RETRY_S = (0.2, 5.0)


class Subscriber:
    """Owns the sessions with the brokers and the way from them into the store.

    One process for all boxes keeps its session over a restart: what came meanwhile waits at the
    broker. Of several, each begins with a clean one and the filters of its own boxes: what waited
    for it may be another's by now, and whatever has no receipt comes again from its box.

    Args:
        mqtt: the brokers.
        site: the site's name.
        client_id: the aggregator's, unless the configuration names one.
        intake: where messages go.
        floods: counts what comes from each box.
        settings: sizes of batches.
        on_stored: called in the thread ``ingest`` after each batch, with what it came to.
        on_connected: called at each connection, in the thread ``mqtt``.
        on_crash: called when a handler raises (a bug).
        now_ms: our clock.
        directory: gives the newest directory; needed where not all boxes are ours.
        share: the partitions that are ours; None: all.
    """

    def __init__(
        self,
        mqtt: MqttConfig,
        *,
        site: str,
        client_id: str,
        intake: Intake,
        floods: Floods,
        settings: IngestSection,
        on_stored: Callable[[Batch], None],
        on_connected: Callable[[], None],
        on_crash: Callable[[BaseException], None],
        now_ms: Callable[[], int],
        directory: Callable[[], Directory] | None = None,
        share: Share | None = None,
    ) -> None:
        if share is not None and directory is None:
            raise ValueError("which boxes are in a partition, the directory says")
        self._directory = directory
        self._share = share
        self._looked: tuple[Directory, Mapping[int, Lease]] | None = None
        self._boxes: set[str] = set()
        self._subscribing = threading.Lock()
        self._site = site
        self._intake = intake
        self._floods = floods
        self._settings = settings
        self._on_stored = on_stored
        self._now_ms = now_ms
        self._arrived: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self.failing = ""
        """Why nothing can be stored at the moment; empty while all is well."""
        self.session = Brokers(
            mqtt,
            client_id=client_id,
            on_connected=lambda _present: on_connected(),
            on_crash=on_crash,
            window=256,
            receive_maximum=max(_IN_FLIGHT, settings.batch_messages * 4),
            fresh=share is not None,
        )
        if share is None:
            for topic_filter in filters_of_site(site):
                self.session.subscribe(topic_filter, self._arrived.put)

    @property
    def boxes(self) -> frozenset[str]:
        """The boxes that are subscribed to one by one; none where all are at once."""
        return frozenset(self._boxes)

    def choose_boxes(self) -> bool:
        """Subscribe to the boxes that are ours by now, and to no others; tell if that changed.

        Called after each round of the leases: so a box that joins is heard within seconds.
        """
        if self._share is None or self._directory is None:
            return False
        with self._subscribing:
            looked = self._directory(), self._share.held()
            if self._looked is not None and all(map(operator.is_, looked, self._looked)):
                return False
            self._looked = looked
            ours = boxes_in(*looked)
            for box in sorted(self._boxes - ours):
                for topic_filter in filters_of_box(self._site, box):
                    self.session.unsubscribe(topic_filter)
            for box in sorted(ours - self._boxes):
                for topic_filter in filters_of_box(self._site, box):
                    self.session.subscribe(topic_filter, self._arrived.put)
            changed, self._boxes = ours != self._boxes, ours
        if changed:
            _log.info("boxes_chosen", boxes=len(ours), partitions=len(looked[1]))
        return changed

    def run(self, stop: Stop) -> None:
        """Connect, and store what comes until ``stop``; the body of the thread ``ingest``."""
        self.session.start()
        try:
            while not stop.is_set():
                deliveries = self._gather()
                if deliveries:
                    self._store(deliveries, stop)
        finally:
            self.session.stop()

    def _gather(self) -> list[Delivery]:
        """Wait for a message, then for more that belong to its batch.

        It ends when it is full, ``batch_ms`` are over, or none comes for a moment (the broker may
        be waiting for our acknowledgements).
        """
        try:
            deliveries = [self._arrived.get(timeout=_IDLE_S)]
        except queue.Empty:
            return []
        deadline = time.monotonic() + self._settings.batch_ms / 1000
        while len(deliveries) < self._settings.batch_messages:
            try:
                deliveries.append(self._arrived.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                break
        return deliveries

    def _store(self, deliveries: Sequence[Delivery], stop: Stop) -> None:
        """Store a batch, trying until there is room; then acknowledge it."""
        now_ms = self._now_ms()
        messages = [Incoming(d.topic, d.payload, now_ms, d.retain) for d in deliveries]
        pause_s = _RETRY_S[0]
        while True:
            try:
                batch = self._intake.process(messages)
                break
            except StorageError as error:
                if not self.failing:
                    event = "storage_full" if isinstance(error, StorageFull) else "storage_failing"
                    _log.error(event, reason=str(error), waiting=len(messages))
                self.failing = str(error)
            if stop.wait(pause_s):
                return
            pause_s = min(pause_s * 2, _RETRY_S[1])
        if self.failing:
            _log.info("storage_recovered", stored=batch.stored)
            self.failing = ""
        for delivery in deliveries:
            delivery.ack()
        self._watch(messages)
        self._on_stored(batch)

    def _watch(self, messages: Sequence[Incoming]) -> None:
        """Say loudly which box floods us: the broker keeps what it sends under its own topics."""
        for message in messages:
            try:
                box, _, _ = topic_box(message.topic, self._site)
            except Rejected:
                continue
            told = self._floods.note(box, len(message.payload), now_ms=message.received_ms)
            if not told:
                continue
            _log.critical("box_floods", box=box, detail=told)
            try:
                self._intake.report(box, REASON, told)
            except StorageError as error:
                _log.error("storage_failing", reason=str(error), waiting=0)
