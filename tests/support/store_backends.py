"""Every backend of the aggregator's store: what the contract's tests run over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from laid_down import new_store
from sealed_boxes import TestBox

from aggregator.store import Store, Unit
from aggregator.store.envelopes import AnyEnvelope, lay_out
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.names import CameraAddress
from protocol.signing import Signed
from protocol.v2.envelopes import parse_envelope

BACKENDS: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: new_store(folder / "aggregator.db"),
}


@dataclass(frozen=True)
class Backend:
    """One backend's place in a folder; can be opened again, by another process too."""

    name: str
    folder: Path

    def open(self) -> Store:
        """Open the store that is there, or make it."""
        return BACKENDS[self.name](self.folder)


def stream_of(unit: Unit, address: CameraAddress) -> int:
    """Return the number of a camera's stream, adding it when it is new."""
    return (unit.ledger.stream(address) or unit.ledger.add_stream(address)).number


def keep(unit: Unit, box: TestBox, *messages: tuple[str, bytes]) -> list[AnyEnvelope]:
    """Append envelopes of a box, as its segments and live messages have them."""
    kept = []
    for _, payload in messages:
        envelope = parse_envelope(payload)
        unit.segments.append(stream_of(unit, box.address), lay_out(envelope), received_ms=1)
        kept.append(envelope)
    return kept


def announce(unit: Unit, box: TestBox, message: tuple[str, bytes]) -> bool:
    """Add an announcement of a box; tell whether it was new."""
    signed = Signed.parse(message[1], kind=EPOCH_KIND)
    said = Announcement.parse(signed.payload, box=signed.signer)
    return unit.ledger.add_announcement(stream_of(unit, box.address), said, message[1])
