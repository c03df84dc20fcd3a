"""Evidence: the still of one sighting, opened for officers who confirm it, and for nobody else.

A still is sealed once, under a key of its own made like a row's, from the label ``evidence``. It
names its slot in the clear and nothing else. Custodians release values on a confirming officer's
signed request, only for rows that they released for this query before, counted against what it
asked for, and seal them to the confirming officers: the aggregator carries stills and never opens
one (docs/protocol.md, "Version 2").
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage
from protocol.keytree import ModalityKey, derive_key
from protocol.names import SIGHTING_ID_BYTES, SightingName
from protocol.sealing import open_block, seal_block
from protocol.signing import Signed, SigningKey, sign
from protocol.v2 import CONTEXT, VERSION

EVIDENCE_REQUEST_KIND = "evidence-request"
MAX_STILLS = 256
MAX_STILL_BYTES = 256 << 10
NONCE_BYTES = 12
_PARTS = 16


def evidence_value(leaf: bytes, sighting_id: bytes) -> bytes:
    """Return what opens one still together with the values of the other roots, 32 bytes.

    Args:
        leaf: of the label ``evidence``, 32 bytes.

    Raises:
        MalformedMessage: not an id.
    """
    if len(sighting_id) != SIGHTING_ID_BYTES:
        raise MalformedMessage(f"a sighting's id has {SIGHTING_ID_BYTES} bytes")
    return hmac.digest(leaf, sighting_id, "sha256")


def evidence_key(values: Sequence[bytes], name: SightingName, site: str) -> ModalityKey:
    """Combine a still's values of **all** roots in their order, 32 bytes each."""
    info = [CONTEXT, "evidence-key", *name.slot_name(site).to_value(), name.sighting_id]
    return derive_key(values, info)


@dataclass(frozen=True, slots=True)
class SealedStill:
    """A still as it crosses the wire and rests: ``nonce`` is 12 random bytes."""

    site: str
    name: SightingName
    nonce: bytes
    sealed: bytes

    def to_bytes(self) -> bytes:
        """Encode."""
        return encode([VERSION, self.site, self.name.to_value(), self.nonce, self.sealed])

    @classmethod
    def parse(cls, data: bytes) -> SealedStill:
        """Read a sealed still.

        Raises:
            MalformedMessage, MessageTooLarge: it is not one.
        """
        value = decode(
            data, what="sealed still", max_bytes=MAX_STILL_BYTES + 1024, max_items=_PARTS
        )
        if (
            not isinstance(value, list)
            or len(value) != 5
            or [type(part) for part in (value[0], value[1], value[3], value[4])]
            != [int, str, bytes, bytes]
            or value[0] != VERSION
            or len(value[3]) != NONCE_BYTES
        ):
            raise MalformedMessage("not [version, site, sighting, nonce, sealed]")
        name = SightingName.from_value(value[2])
        name.slot_name(value[1])
        return cls(value[1], name, value[3], value[4])

    @classmethod
    def seal(
        cls,
        picture: bytes | bytearray,
        key: ModalityKey,
        *,
        site: str,
        name: SightingName,
        nonce: bytes,
    ) -> SealedStill:
        """Seal an encoded picture of at most 256 KiB, which the caller wipes.

        Raises:
            MalformedMessage: it is larger.
        """
        if len(picture) > MAX_STILL_BYTES:
            raise MalformedMessage(f"a still has at most {MAX_STILL_BYTES} bytes")
        sealed = seal_block(key, picture, header=_binding(site, name), label="", nonce=nonce)
        return cls(site, name, nonce, sealed)

    def open(self, key: ModalityKey) -> bytearray:
        """Open into a new buffer, which the caller wipes.

        Raises:
            KeyCommitmentMismatch, AuthenticationFailed: it does not open.
        """
        binding = _binding(self.site, self.name)
        return open_block(key, self.sealed, header=binding, label="", nonce=self.nonce)


@dataclass(frozen=True, slots=True)
class EvidenceRequest:
    """A confirming officer asks for stills of what a query has found."""

    query_digest: bytes
    sightings: tuple[SightingName, ...]
    requested_at_ms: int

    def sign(self, officer: SigningKey) -> Signed:
        """Sign as an officer who confirms hits of the query."""
        payload = {
            "v": VERSION,
            "query_digest": self.query_digest,
            "sightings": [name.to_value() for name in self.sightings],
            "requested_at_ms": self.requested_at_ms,
        }
        return sign(EVIDENCE_REQUEST_KIND, encode(payload), officer)

    @classmethod
    def parse(cls, payload: bytes) -> EvidenceRequest:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a request for evidence, or names a sighting twice.
        """
        fields = Fields(decode(payload, what="evidence request"), what="evidence request")
        fields.version(VERSION)
        request = cls(
            fields.raw("query_digest", size=32),
            tuple(
                SightingName.from_value(item)
                for item in fields.array("sightings", max_items=MAX_STILLS, min_items=1)
            ),
            fields.integer("requested_at_ms"),
        )
        fields.done()
        if len(set(request.sightings)) != len(request.sightings):
            raise MalformedMessage("evidence request: a sighting is named twice")
        return request


def _binding(site: str, name: SightingName) -> bytes:
    return encode([CONTEXT, "evidence", site, *name.to_value()])
