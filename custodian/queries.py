"""The queries that this process has granted for: named by their digests in what comes afterwards.

A query of ten thousand cameras has a hundred kilobytes, and comes with hundreds of requests. It is
in the log once in full, and by its digest in later entries; a request may name it so, too. Who
restarts holds none, says so, and is sent it again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from protocol import hpke
from protocol.errors import QueryNotHeld
from protocol.signing import Signed

MOST, MOST_BYTES = 64, 32 << 20
"""So many, and so large together, are held; those that were asked for longest ago go first."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A signed query, and the auditors to whom the log has it in full."""

    data: bytes
    auditors: Mapping[str, hpke.PublicKey]


class Queries:
    """What is held of queries; safe in several threads."""

    def __init__(self) -> None:
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def held(self, digest: bytes) -> bytes:
        """Return the signed query of a digest.

        Raises:
            QueryNotHeld: it was not granted for since this process began, or not lately.
        """
        with self._lock:
            known = self._held.get(digest)
            if known is None:
                raise QueryNotHeld(
                    f"this custodian does not hold the query {digest.hex()[:16]}: send it in full"
                )
            self._held.move_to_end(digest)
            return known.data

    def in_entry(
        self, signed: Signed, data: bytes, auditors: Mapping[str, hpke.PublicKey]
    ) -> bytes:
        """Return what a log entry says of a query: its digest where these auditors have it in full.

        Args:
            signed: the query.
            data: the same, encoded.
            auditors: to whom the entry is sealed.
        """
        with self._lock:
            known = self._held.get(signed.digest)
        return signed.digest if known is not None and known.auditors == auditors else data

    def logged(self, signed: Signed, data: bytes, auditors: Mapping[str, hpke.PublicKey]) -> None:
        """Note that the log has a query in full, sealed to these auditors; it was authorized."""
        with self._lock:
            before = self._held.pop(signed.digest, None)
            self._bytes += len(data) - (len(before.data) if before else 0)
            self._held[signed.digest] = _Held(data, dict(auditors))
            while len(self._held) > MOST or (self._bytes > MOST_BYTES and len(self._held) > 1):
                _, gone = self._held.popitem(last=False)
                self._bytes -= len(gone.data)
