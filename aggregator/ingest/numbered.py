"""Take in one numbered message, an envelope or announcement: judge it, account for it, store it.

Order of the checks: `aggregator.ingest.checks`; sequence (duplicate, equivocation, replay), clock,
slot, retention, form of the blocks, version and origin. A generation's announcement fixes the last
two for all of its envelopes; an envelope that comes before it is stored, and opens only if it is of
the version that is announced (`aggregator.matching`). Every number that a box used is accounted for
as stored, quarantined or refused, so that a receipt can cover it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from aggregator.config import LimitsSection
from aggregator.ingest import quarantine
from aggregator.ingest.checks import (
    Checked,
    Rejected,
    check_announcement,
    check_clock,
    check_envelope,
    check_times,
    rejected_for,
    topic_box,
)
from aggregator.ingest.messages import Batch, Incoming
from aggregator.ingest.positions import Positions
from aggregator.ingest.sequence import Gap, Numbers, Place, Position
from aggregator.store import Unit
from aggregator.store.envelopes import lay_out
from aggregator.store.rows import QUARANTINED, REFUSED, STORED, Generation
from protocol.directory import Directory
from protocol.epoch import Announcement
from protocol.errors import ClockSkew, MalformedMessage, ModelMismatch
from protocol.names import EPOCH, CameraAddress

_DIGEST_BYTES = 16


@dataclass(slots=True)
class OpenBatch:
    """A batch whose transaction is open, and what is to be done when it ends."""

    unit: Unit
    directory: Directory
    now_ms: int
    result: Batch = field(default_factory=Batch)
    heard_ms: dict[str, int] = field(default_factory=dict)
    slots: set[tuple[int, int, int, int]] = field(default_factory=set)
    generations: dict[tuple[int, int, int], Generation] = field(default_factory=dict)
    closed: list[tuple[CameraAddress, Gap]] = field(default_factory=list)
    restarted: list[CameraAddress] = field(default_factory=list)


class Numbered:
    """Takes in numbered messages, each inside an open batch.

    Args:
        site: the site's name.
        limits: sizes, clock skew.
        retention_days: gives the policy's retention; older epochs are refused.
        positions: where the streams stand.
        room: the room in quarantine.
    """

    def __init__(
        self,
        *,
        site: str,
        limits: LimitsSection,
        retention_days: Callable[[], int],
        positions: Positions,
        room: quarantine.Room,
    ) -> None:
        self._site = site
        self._limits = limits
        self._retention_days = retention_days
        self._positions = positions
        self._room = room

    def take(self, batch: OpenBatch, message: Incoming, checked: Checked) -> None:
        """Take in a message that has just come, and that passed `check`.

        Raises:
            Rejected: it fails a further check; its number is accounted for.
        """
        position = self._positions.of(batch.unit.ledger, checked.address)
        if self._is_duplicate(batch, position, checked, message):
            batch.result.duplicates += 1
            return
        if not message.retained:
            batch.heard_ms[checked.address.box] = message.received_ms
        try:
            check_clock(checked, now_ms=batch.now_ms, skew_ms=self._limits.clock_skew_s * 1000)
        except ClockSkew as error:
            self._quarantine(batch, position, checked, message, str(error))
            return
        self._advance(batch, position, checked)
        batch.result.changed.add(checked.address)
        try:
            check_times(checked, now_ms=batch.now_ms, retention_days=self._retention_days())
            self._store(batch, position, checked, message.payload)
        except Rejected:
            self._remember(batch, position, checked, REFUSED, message.payload)
            raise
        self._remember(batch, position, checked, STORED, message.payload)
        batch.result.stored += 1

    def admit(self, batch: OpenBatch, message: Incoming) -> None:
        """Take in a message that was in quarantine, checked again but for the clock.

        Raises:
            Rejected: it does not pass the other checks (any more).
        """
        checked = self.check(message, batch.directory)
        check_times(checked, now_ms=batch.now_ms, retention_days=self._retention_days())
        position = self._positions.of(batch.unit.ledger, checked.address)
        if self._is_duplicate(batch, position, checked, message):
            batch.unit.ledger.note_admitted(position.stream, _digest(message.payload))
        else:
            self._advance(batch, position, checked)
            self._remember(batch, position, checked, STORED, message.payload)
        self._store(batch, position, checked, message.payload)
        batch.result.changed.add(checked.address)

    def check(self, message: Incoming, directory: Directory) -> Checked:
        """Check what needs no store: size, box, form, topic, signature.

        Raises:
            Rejected: it fails one of them.
        """
        box, camera, leaf = topic_box(message.topic, self._site)
        if leaf == EPOCH:
            return check_announcement(
                message.payload,
                box=box,
                camera=camera,
                site=self._site,
                directory=directory,
            )
        return check_envelope(
            message.payload,
            box=box,
            camera=camera,
            site=self._site,
            directory=directory,
            max_bytes=self._limits.max_envelope_bytes,
        )

    # ------------------------------------------------------------------ inside

    def _is_duplicate(
        self, batch: OpenBatch, position: Position, checked: Checked, message: Incoming
    ) -> bool:
        """Tell whether this very message has come before.

        Raises:
            Rejected: equivocation or replay.
        """
        place = position.place(self._numbers(batch, checked))
        if place in {Place.AHEAD, Place.FILLS}:
            return False
        known = batch.unit.ledger.digests(position.stream, checked.sequence)
        if _digest(message.payload) in known:
            return True
        if place is Place.RESTARTED:
            return False
        if place is Place.REPLAYED:
            if batch.unit.ledger.came(position.stream, checked.sequence):
                return True  # in an earlier run, longer ago than digests are kept
            raise Rejected(
                "replay",
                f"sequence {checked.sequence} is new, but generation {checked.generation} is over "
                f"(a newer one of '{checked.origin}' pictures has begun)",
            )
        if not known:  # older than what is kept for comparison
            return True
        raise Rejected(
            "equivocation",
            f"sequence {checked.sequence} came before, with another content: the box, or whoever "
            "holds its key, tells two stories",
        )

    def _advance(self, batch: OpenBatch, position: Position, checked: Checked) -> None:
        said, ledger, now_ms = self._numbers(batch, checked), batch.unit.ledger, batch.now_ms
        place = position.place(said)
        if place is Place.FILLS:
            gap = self._positions.fill(ledger, position, said=said, now_ms=now_ms)
            if gap is not None:
                batch.closed.append((checked.address, gap))
            return
        if place is Place.RESTARTED:
            batch.restarted.append(checked.address)
            self._positions.restart(ledger, position, said=said, now_ms=now_ms)
        else:
            self._positions.advance(ledger, position, said=said, now_ms=now_ms)

    def _numbers(self, batch: OpenBatch, checked: Checked) -> Numbers:
        believed = checked.stamped_ms <= batch.now_ms + self._limits.clock_skew_s * 1000
        return Numbers(
            checked.sequence,
            checked.generation,
            checked.epoch,
            checked.origin,
            isinstance(checked.body, Announcement),
            checked.stamped_ms if believed else None,
        )

    def _quarantine(
        self, batch: OpenBatch, position: Position, checked: Checked, message: Incoming, why: str
    ) -> None:
        """Keep a message aside; when there is no room the box has to keep it."""
        size = len(message.payload)
        if not self._room.has(batch.unit.ledger, size):
            raise Rejected("quarantine-full", f"no room in quarantine for a message {why}")
        self._advance(batch, position, checked)
        self._remember(batch, position, checked, QUARANTINED, message.payload)
        batch.unit.ledger.quarantine(
            stream=position.stream,
            topic=message.topic,
            payload=message.payload,
            reason=quarantine.CLOCK_AHEAD,
            detail=why,
            received_ms=message.received_ms,
        )
        self._room.take(size)
        batch.result.quarantined += 1
        batch.result.changed.add(checked.address)

    def _remember(
        self, batch: OpenBatch, position: Position, checked: Checked, outcome: int, payload: bytes
    ) -> None:
        batch.unit.ledger.remember(
            position.stream,
            position.run,
            sequence=checked.sequence,
            epoch=checked.epoch,
            outcome=outcome,
            digest=_digest(payload),
            now_ms=batch.now_ms,
        )

    def _store(
        self, batch: OpenBatch, position: Position, checked: Checked, payload: bytes
    ) -> None:
        """Store an envelope or announcement.

        Raises:
            Rejected: downgraded, wrong-version, wrong-origin, malformed blocks, or a second
                announcement of one generation.
        """
        body, unit = checked.body, batch.unit
        if isinstance(body, Announcement):
            _check_not_downgraded(batch.directory, body)
            if not unit.ledger.add_announcement(position.stream, body, payload):
                raise Rejected("equivocation", "a second announcement of one epoch and generation")
            return
        try:
            laid_out = lay_out(body)
        except (MalformedMessage, ModelMismatch) as error:
            raise rejected_for(error) from error
        _check_generation(batch, position.stream, checked, laid_out.version)
        unit.segments.append(position.stream, laid_out, received_ms=batch.now_ms)
        if laid_out.version == 1:
            batch.slots.add((position.stream, checked.epoch, checked.generation, checked.slot))


def _check_not_downgraded(directory: Directory, announcement: Announcement) -> None:
    """Refuse version 1 of a box that has gone on to the next: somebody wants it weaker again."""
    until_ms = directory.principals[announcement.address.box].version_1_until_ms
    if until_ms is None or announcement.version > 1 or announcement.announced_at_ms <= until_ms:
        return
    raise Rejected(
        "downgraded",
        "it announces version 1 of the protocol, and the directory says that its box went on to "
        "version 2: find out which software runs on it",
    )


def _check_generation(batch: OpenBatch, stream: int, checked: Checked, version: int) -> None:
    """Check an envelope against its generation's announcement, if that has come."""
    name = (stream, checked.epoch, checked.generation)
    fixed = batch.generations.get(name) or batch.unit.ledger.generation(*name)
    if fixed is None:
        return
    batch.generations[name] = fixed
    if version != fixed.version:
        raise Rejected(
            "wrong-version",
            f"it is of version {version} of the protocol, and its generation was announced in "
            f"version {fixed.version}",
        )
    if checked.origin != fixed.origin:
        raise Rejected(
            "wrong-origin",
            f"its pictures are '{checked.origin}', and its generation was announced as "
            f"'{fixed.origin}'",
        )


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:_DIGEST_BYTES]
