"""What custodians sign when they open rows of a query, and what an aggregator lists of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import protocol_samples as s

from protocol.names import SightingName, epoch_of, slot_of
from protocol.results import Opening
from protocol.v2.release import RowRelease, digest_of, seal_rows

FIRST_ENTRY = 10
"""Of a custodian's log that tells of rows."""
SALT = s.fixed("salt of a receipt", 32)


def row_name(number: int, *, camera: str = "cam-1", at_ms: int = s.NOW_MS) -> SightingName:
    """A sighting's name; it ended in the quarter hour of ``at_ms``."""
    sighting = number.to_bytes(8, "big")
    return SightingName("box-1", camera, epoch_of(at_ms), 0, slot_of(at_ms), sighting)


@dataclass
class RowsOf:
    """One custodian that opens rows for a query: it counts, and keeps each receipt."""

    custodian: str
    query_digest: bytes
    released_at_ms: int = s.NOW_MS
    opened: set[SightingName] = field(default_factory=set)
    signed: list[bytes] = field(default_factory=list)

    def open(self, rows: Sequence[SightingName], *, more: int = 0) -> bytes:
        """Open rows; return the signed receipt. ``more``: how many it counts beyond."""
        self.opened |= set(rows)
        index = len(self.signed)
        release_id = hashlib.sha256(f"{self.custodian} {index}".encode()).digest()[:16]
        values = {row: {0: bytes(32)} for row in rows}
        release = RowRelease(
            release_id=release_id,
            query_digest=self.query_digest,
            rows=len(set(rows)),
            total=len(self.opened) + more,
            digest=digest_of(SALT, rows),
            entry_index=FIRST_ENTRY + index,
            released_at_ms=self.released_at_ms,
            sealed=seal_rows(
                values,
                s.sealing_key("matcher").public,
                salt=SALT,
                release_id=release_id,
                query_digest=self.query_digest,
            ),
        )
        self.signed.append(release.sign(s.signing_key(self.custodian)).to_bytes())
        return self.signed[-1]


def opening_by(custodians: Iterable[RowsOf], rows: Sequence[SightingName]) -> Opening:
    """Have custodians open the same rows, and list it as an honest aggregator does."""
    return Opening(tuple(rows), {one.custodian: (one.open(rows), SALT) for one in custodians})
