"""A row of version 2 that matching found, or that belongs to what it found: its metadata sealed.

Comparing opens templates and nothing else. What a row says of time and mask opens afterwards, by
the custodians' hand (`protocol.v2.release`): so a `Found` names the row, and carries what it takes
to open it once they have agreed.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.keytree import ModalityKey
from protocol.names import CameraAddress, SightingName
from protocol.sealing import COMMITMENT_BYTES, open_block
from protocol.v2.header import Header
from protocol.v2.sightings import Row


@dataclass(frozen=True, slots=True)
class Found:
    """A sighting whose row is to be opened for one subject.

    Args:
        subject: the pseudonym.
        name: of the sighting.
        episode: for as long as the box follows this person, 8 bytes.
        score: the cosine that reached the threshold; None for a row of the episode of one that did.
        modality, space: what was compared.
        header: of the row's envelope, as the box signed it.
        sealed: the row's sealed metadata.
        through: id of the sighting that was found, for a row of its episode; None where it is the
            one that was found.
        follows: the confirmed hit by whose clothes it was found (`aggregator.following`).
    """

    subject: str
    name: SightingName
    episode: bytes
    score: float | None
    modality: str
    space: str
    header: bytes
    sealed: bytes
    through: bytes | None = None
    follows: SightingName | None = None

    @property
    def commitment(self) -> bytes:
        """What the row's key commits to, 32 bytes (`protocol.v2.release.open_row_key`)."""
        return self.sealed[:COMMITMENT_BYTES]

    @property
    def address(self) -> CameraAddress:
        """The camera that saw it."""
        return Header.parse(self.header).name.address

    def open(self, key: ModalityKey) -> Row:
        """Open the metadata with the row's key.

        Raises:
            KeyCommitmentMismatch, AuthenticationFailed: it is not this row's key, or altered.
            MalformedMessage: what it opens to is no row.
        """
        header = Header.parse(self.header)
        opened = open_block(
            key,
            self.sealed,
            header=header.row_binding(self.name.sighting_id),
            label="",
            nonce=header.nonce,
        )
        try:
            return Row.parse(bytes(opened))
        finally:
            opened[:] = bytes(len(opened))
