"""Evidence: the still of one sighting, opened for officers who confirm it, and for nobody else.

A still is sealed once, under a key of its own made like a row's, from the label ``evidence``. It
names its slot in the clear and nothing else. Custodians release values on a confirming officer's
signed request, only for rows that they released for this query before, counted against what it
asked for, and seal them to the confirming officers: the aggregator carries stills and never opens
one (docs/protocol.md, "Version 2").
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol import hpke
from protocol.encoding import Fields, decode, encode
from protocol.epoch import Announcement
from protocol.epoch_keys import Opening
from protocol.errors import MalformedMessage, ScopeExceeded
from protocol.grant import MAX_APPROVALS
from protocol.keytree import EVIDENCE, ModalityKey, derive_key
from protocol.names import SIGHTING_ID_BYTES, SightingName, require_name
from protocol.query import MAX_CONFIRMERS
from protocol.sealing import open_block, seal_block
from protocol.signing import Signed, SigningKey, sign
from protocol.v2 import CONTEXT, VERSION
from protocol.v2.release import (
    RELEASE_ID_BYTES,
    Values,
    encode_values,
    open_value_key,
    read_stated_values,
    release_values,
)

EVIDENCE_REQUEST_KIND, EVIDENCE_RELEASE_KIND = "evidence-request", "evidence-release"
MAX_STILLS = 256
MAX_STILL_BYTES = 256 << 10
NONCE_BYTES = 12
_PARTS = 16
_RELEASE = "evidence-release"


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
    """A confirming officer asks for stills of what a query has found.

    Every member but the sightings and the time is signed by those whose word it is, as in a request
    for rows: the custodian decides again, by signatures alone.
    """

    query: bytes
    approvals: tuple[bytes, ...]
    withdrawals: tuple[bytes, ...]
    announcements: tuple[bytes, ...]
    sightings: tuple[SightingName, ...]
    requested_at_ms: int

    def sign(self, officer: SigningKey) -> Signed:
        """Sign as an officer who confirms hits of the query."""
        payload = {
            "v": VERSION,
            "query": self.query,
            "approvals": list(self.approvals),
            "withdrawals": list(self.withdrawals),
            "announcements": list(self.announcements),
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
            query=fields.raw("query"),
            approvals=fields.raws("approvals", max_items=MAX_APPROVALS),
            withdrawals=fields.raws("withdrawals", max_items=MAX_APPROVALS),
            announcements=fields.raws("announcements", max_items=MAX_STILLS),
            sightings=tuple(
                SightingName.from_value(item)
                for item in fields.array("sightings", max_items=MAX_STILLS, min_items=1)
            ),
            requested_at_ms=fields.integer("requested_at_ms"),
        )
        fields.done()
        if len(set(request.sightings)) != len(request.sightings):
            raise MalformedMessage("evidence request: a sighting is named twice")
        return request


def release_stills(
    roots: Mapping[int, bytes], announcement: Announcement, names: Sequence[SightingName]
) -> Values:
    """Derive what one custodian releases of its roots of one announcement; as `release_rows`.

    Raises:
        ScopeExceeded: a sighting is of another generation, or the generation has no stills.
    """
    return release_values(roots, announcement, names, label=EVIDENCE, value_of=evidence_value)


@dataclass(frozen=True, slots=True)
class EvidenceRelease:
    """A custodian's answer to a confirming officer.

    Args:
        stills: how many this answer opens.
        total: distinct stills of this query that this custodian has opened so far, these included.
        digest: `protocol.v2.release.digest_of` the sightings under the salt beside their values.
        entry_index: where it stands in the custodian's log, written before this left.
        sealed: salt and values, to each officer who confirms hits of the query, by name.
    """

    release_id: bytes
    query_digest: bytes
    stills: int
    total: int
    digest: bytes
    entry_index: int
    released_at_ms: int
    sealed: Mapping[str, bytes]

    def sign(self, custodian: SigningKey) -> Signed:
        """Sign as the custodian."""
        payload = {
            "v": VERSION,
            "release_id": self.release_id,
            "query_digest": self.query_digest,
            "stills": self.stills,
            "total": self.total,
            "digest": self.digest,
            "entry_index": self.entry_index,
            "released_at_ms": self.released_at_ms,
            "sealed": dict(self.sealed),
        }
        return sign(EVIDENCE_RELEASE_KIND, encode(payload), custodian)

    @classmethod
    def parse(cls, payload: bytes) -> EvidenceRelease:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a release of evidence.
        """
        fields = Fields(decode(payload, what="evidence release"), what="evidence release")
        fields.version(VERSION)
        release = cls(
            release_id=fields.raw("release_id", size=RELEASE_ID_BYTES),
            query_digest=fields.raw("query_digest", size=32),
            stills=fields.integer("stills", low=1, high=MAX_STILLS),
            total=fields.integer("total", low=1),
            digest=fields.raw("digest", size=32),
            entry_index=fields.integer("entry_index"),
            released_at_ms=fields.integer("released_at_ms"),
            sealed={
                require_name(name, what="officer"): value
                for name, value in fields.mapping("sealed", max_items=MAX_CONFIRMERS + 1).items()
            },
        )
        fields.done()
        if release.total < release.stills:
            raise MalformedMessage("evidence release: it opens more than it has opened in all")
        if not release.sealed or not all(isinstance(v, bytes) for v in release.sealed.values()):
            raise MalformedMessage("evidence release: it is not sealed to anybody by name")
        return release

    def open(self, officer: str, key: hpke.PrivateKey) -> Values:
        """Open the values that were sealed to ``officer``.

        Raises:
            ScopeExceeded: nothing is sealed to that officer, or other sightings than it states.
            AuthenticationFailed: altered, or for another officer or query.
            MalformedMessage: not values of stills.
        """
        sealed = self.sealed.get(officer)
        if sealed is None:
            raise ScopeExceeded(f"nothing of this release is sealed to '{officer}'")
        context: list[object] = [self.release_id, self.query_digest, officer]
        opened = key.open(sealed, purpose=_RELEASE, context=context)
        _, values = read_stated_values(
            opened, self.stills, self.digest, most=MAX_STILLS, what="stills"
        )
        return values


def seal_stills(
    values: Values,
    officers: Mapping[str, hpke.PublicKey],
    *,
    salt: bytes,
    release_id: bytes,
    query_digest: bytes,
) -> dict[str, bytes]:
    """Seal released values to each officer by name.

    Args:
        salt: 32 random bytes, for the digest.
    """
    told = encode_values(salt, values)
    return {
        name: key.seal(told, purpose=_RELEASE, context=[release_id, query_digest, name])
        for name, key in officers.items()
    }


def open_still_key(
    announcement: Announcement,
    name: SightingName,
    released: Mapping[str, Mapping[int, bytes]],
    commitment: bytes,
) -> Opening:
    """Return the still's key that ``commitment`` (its seal's first 32 bytes) commits to.

    Raises:
        ShareInvalid, SharesMissing, KeyCommitmentMismatch: as of a row
            (`protocol.v2.release.open_row_key`).
    """
    return open_value_key(
        announcement,
        released,
        lambda values: evidence_key(values, name, announcement.address.site),
        commitment,
        what="the still",
    )


def _binding(site: str, name: SightingName) -> bytes:
    return encode([CONTEXT, "evidence", site, *name.to_value()])
