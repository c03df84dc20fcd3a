"""An intake over a store, with a clock and a directory that tests can change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from laid_down import new_store
from sealed_boxes import NOW_MS, SITE, TestBox, make_directory
from store_file import rows

from aggregator.config import LimitsSection
from aggregator.ingest.boxes import BoxStatus, statuses
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Batch, Incoming
from protocol.directory import Directory
from protocol.signing import SigningKey


class Desk:
    """An intake with a clock and a directory that tests can change, and a list as audit log."""

    def __init__(self, path: Path, boxes: list[TestBox], **limits: int) -> None:
        self.now_ms = NOW_MS
        self.set_ms = 0  # by how much our clock has been set ahead
        self.boxes = boxes
        self.aggregator = SigningKey.generate("aggregator")
        self.directory: Directory = make_directory(boxes, self.aggregator)
        self.audited: list[tuple[str, Mapping[str, object]]] = []
        self.limits = LimitsSection(**limits)
        self.store = new_store(path)
        self.intake = self.make_intake()

    def make_intake(self) -> Intake:
        return Intake(
            self.store,
            site=SITE,
            directory=lambda: self.directory,
            limits=self.limits,
            retention_days=lambda: 14,
            now_ms=lambda: self.now_ms + self.set_ms,
            boot_ms=lambda: self.now_ms,
            audit=lambda kind, body: self.audited.append((kind, body)),
        )

    def take(self, *messages: tuple[str, bytes], retained: bool = False) -> Batch:
        return self.intake.process(
            [Incoming(topic, payload, self.now_ms, retained) for topic, payload in messages]
        )

    def rejects(self) -> dict[str, int]:
        return dict(rows(self.store, "SELECT reason, sum(count) FROM rejects GROUP BY reason"))

    def stored(self) -> int:
        return int(rows(self.store, "SELECT count(*) FROM envelopes")[0][0])

    def status(self, box: str = "box-1") -> BoxStatus:
        found = statuses(
            self.store,
            self.directory,
            clock_skew_ms=self.limits.clock_skew_s * 1000,
            now_ms=self.now_ms,
        )
        return next(status for status in found if status.box == box)
