"""Envelopes: a batch of sightings sealed under its slot's keys and signed by the board.

``[header, ciphertext, signature]``. The header is clear and authenticated; the ciphertext is the
deterministic encoding of one block a modality (``MODALITIES``, in that order) and ``meta``, each
sealed under the key of its own label. A **live** envelope's ciphertext is sealed once more, whole,
under the slot's ``live`` key: a grant without that key opens the segment that replaces it, but
nothing of the slot now running. Each seal is ``commitment (32) || AES-256-GCM ciphertext || tag
(16)`` with the nonce ``salt[:4] || sequence (8, big endian)`` and the header and label as
additional data.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.encoding import MAX_MESSAGE_BYTES, PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import (
    AuthenticationFailed,
    KeyCommitmentMismatch,
    MalformedMessage,
    ModelMismatch,
)
from protocol.keytree import LIVE, META, MODALITIES, ModalityKey
from protocol.names import SLOTS_PER_EPOCH, CameraAddress
from protocol.sightings import MAX_BATCH
from protocol.signing import Signed, SigningKey, Verifier, sign

LIVE_ENVELOPE = "live"
SEGMENT = "segment"
ENVELOPE_KIND = "envelope"
SALT_BYTES = 8
COMMITMENT_BYTES = 32
TAG_BYTES = 16
SEAL_OVERHEAD = COMMITMENT_BYTES + TAG_BYTES
MAX_ENVELOPE_BYTES = MAX_MESSAGE_BYTES
_ENVELOPE_ITEMS = 4  # an array and its three members
_BLOCKS_ITEMS = 2 + len(MODALITIES)
_HEADER_ITEMS = 27 + 2 * len(MODALITIES)  # a map of 13 entries, one of them a map
_MAX_HEADER_BYTES = 4096
_KINDS = frozenset({LIVE_ENVELOPE, SEGMENT})
_LISTED = " or ".join(MODALITIES)


@dataclass(frozen=True, slots=True)
class Header:
    """What an envelope says in the clear (docs/protocol.md, "Envelopes").

    ``models`` maps the modality of each template block to its model id; ``salt`` is 8 random
    bytes a seal; ``sequence`` counts a camera's envelopes and announcements without a gap.
    """

    kind: str
    address: CameraAddress
    epoch: int
    generation: int
    slot: int
    sequence: int
    count: int
    models: Mapping[str, str]
    sealed_at_ms: int
    salt: bytes

    def to_bytes(self) -> bytes:
        """Encode; these very bytes are authenticated by every seal and by the signature."""
        return encode(
            {
                "v": PROTOCOL_VERSION,
                "kind": self.kind,
                "site": self.address.site,
                "box": self.address.box,
                "camera": self.address.camera,
                "epoch": self.epoch,
                "generation": self.generation,
                "slot": self.slot,
                "sequence": self.sequence,
                "count": self.count,
                "models": dict(self.models),
                "sealed_at_ms": self.sealed_at_ms,
                "salt": self.salt,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Read a header.

        Raises:
            MalformedMessage: it is not one.
        """
        value = decode(
            data, what="envelope header", max_bytes=_MAX_HEADER_BYTES, max_items=_HEADER_ITEMS
        )
        fields = Fields(value, what="header")
        fields.version()
        header = cls(
            kind=fields.choice("kind", _KINDS),
            address=CameraAddress(fields.text("site"), fields.text("box"), fields.text("camera")),
            epoch=fields.integer("epoch", high=2**31),
            generation=fields.integer("generation", low=1),
            slot=fields.integer("slot", high=SLOTS_PER_EPOCH - 1),
            sequence=fields.integer("sequence"),
            count=fields.integer("count", low=1, high=MAX_BATCH),
            models=read_models(fields.mapping("models", max_items=len(MODALITIES))),
            sealed_at_ms=fields.integer("sealed_at_ms"),
            salt=fields.raw("salt", size=SALT_BYTES),
        )
        fields.done()
        return header


def read_models(models: Mapping[str, object]) -> dict[str, str]:
    """Check a map of modality to model id.

    Raises:
        MalformedMessage: another modality, or an id that is not a text.
    """
    if not set(models) <= set(MODALITIES):
        raise MalformedMessage(f"models are given for another modality than {_LISTED}")
    if not all(
        isinstance(model, str) and 0 < len(model) <= 256 and model.isprintable()
        for model in models.values()
    ):
        raise MalformedMessage("a model id is not a printable text")
    return {modality: str(model) for modality, model in models.items()}


def model_dimension(model_id: str) -> int:
    """Return the template dimension that a model id states: ``name-192@hash[+name-512@hash]``.

    Raises:
        ModelMismatch: the id does not have that form.
    """
    if len(model_id) > 256 or not model_id.isprintable():
        raise ModelMismatch("a model id is not a printable text of at most 256 characters")
    try:
        total = sum(int(part.split("@")[0].rsplit("-", 1)[1]) for part in model_id.split("+"))
    except (IndexError, ValueError):
        total = 0
    if not 0 < total <= 4096:
        raise ModelMismatch(f"model id '{model_id}' states no usable dimension")
    return total


@dataclass(frozen=True, slots=True)
class Blocks:
    """The sealed blocks of an envelope: those of templates by modality, and the metadata's.

    In version 1 the first modality always has a block; any other may be absent.
    """

    templates: Mapping[str, bytes]
    meta: bytes

    def to_bytes(self) -> bytes:
        """Encode as the ciphertext of a segment.

        Raises:
            MalformedMessage: a block has no place in it, or the one that must be there is missing.
        """
        if not {MODALITIES[0]} <= set(self.templates) <= set(MODALITIES):
            raise MalformedMessage(
                f"an envelope has blocks of {_LISTED}, and always one of {MODALITIES[0]}"
            )
        return encode([*(self.templates.get(modality) for modality in MODALITIES), self.meta])

    @classmethod
    def parse(cls, data: bytes) -> Blocks:
        """Split a segment's ciphertext (or an opened live envelope's).

        Raises:
            MalformedMessage: it is not a block or null for each modality, and ``meta``.
        """
        value = decode(data, what="envelope blocks", max_items=_BLOCKS_ITEMS)
        if (
            not isinstance(value, list)
            or len(value) != len(MODALITIES) + 1
            or not all(isinstance(block, bytes | None) for block in value)
            or value[0] is None
            or value[-1] is None
        ):
            raise MalformedMessage(f"an envelope's blocks are not [{', '.join(MODALITIES)}, meta]")
        *blocks, meta = value
        found = zip(MODALITIES, blocks, strict=True)
        return cls({modality: block for modality, block in found if block is not None}, meta)


def nonce_of(salt: bytes, sequence: int) -> bytes:
    """Return the 12-byte nonce of an envelope's seals."""
    return salt[:4] + sequence.to_bytes(8, "big")


def nonces_of(salts: bytes, sequences: npt.NDArray[np.int64]) -> list[bytes]:
    """Return what :func:`nonce_of` does, for many envelopes.

    Args:
        salts: of all of them, end to end.
        sequences: (n,), none of them negative.
    """
    table = np.empty((len(sequences), 12), np.uint8)
    table[:, :4] = np.frombuffer(salts, np.uint8).reshape(-1, SALT_BYTES)[:, :4]
    table[:, 4:] = sequences.astype(">u8").view(np.uint8).reshape(-1, 8)
    nonces = table.tobytes()
    return [nonces[at : at + 12] for at in range(0, len(nonces), 12)]


def seal_block(
    key: ModalityKey, plaintext: bytes | bytearray, *, header: bytes, label: str, nonce: bytes
) -> bytes:
    """Seal one block; ``header`` is the envelope's header bytes."""
    sealed = AESGCM(key.key).encrypt(nonce, bytes(plaintext), header + label.encode())
    return key.commitment + sealed


def opened_size(block: bytes | memoryview) -> int:
    """Return how many bytes a sealed block opens to.

    Raises:
        MalformedMessage: it is shorter than an empty seal.
    """
    size = len(block) - SEAL_OVERHEAD
    if size < 0:
        raise MalformedMessage("a sealed block is cut short")
    return size


def open_block_into(
    key: ModalityKey,
    block: bytes | memoryview,
    out: memoryview,
    *,
    header: bytes,
    label: str,
    nonce: bytes,
) -> None:
    """Open one block straight into ``out``, which has exactly :func:`opened_size` bytes.

    Raises:
        KeyCommitmentMismatch: this is not the key that the block was sealed under.
        AuthenticationFailed: block or header have been altered; ``out`` is undefined.
    """
    view = memoryview(block)
    opened_size(view)
    if not hmac.compare_digest(view[:COMMITMENT_BYTES], key.commitment):
        raise KeyCommitmentMismatch(f"the {label} block was sealed under another key")
    try:
        open_sealed_into(key.key, view[COMMITMENT_BYTES:], out, header + label.encode(), nonce)
    except AuthenticationFailed as error:
        raise AuthenticationFailed(f"the {label} block or its header has been altered") from error


def open_sealed_into(
    key: bytes, sealed: bytes | memoryview, out: memoryview, binding: bytes, nonce: bytes
) -> None:
    """Open what follows a block's commitment, which the caller has compared with the key's.

    Args:
        key: 32 bytes.
        out: of exactly the bytes that it opens to; undefined where it does not.
        binding: what the seal is bound to.

    Raises:
        AuthenticationFailed: it does not open.
    """
    try:
        AESGCM(key).decrypt_into(nonce, sealed, binding, out)
    except (InvalidTag, ValueError) as error:
        raise AuthenticationFailed("a block or its header has been altered") from error


def open_block(
    key: ModalityKey, block: bytes | memoryview, *, header: bytes, label: str, nonce: bytes
) -> bytearray:
    """Open one block into a new buffer, which the caller wipes. Errors as above."""
    out = bytearray(opened_size(block))
    open_block_into(key, block, memoryview(out), header=header, label=label, nonce=nonce)
    return out


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope as it came: ``header_bytes`` are what seals and signature cover."""

    header: Header
    header_bytes: bytes
    ciphertext: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """Encode for the wire."""
        return encode([self.header_bytes, self.ciphertext, self.signature])

    @property
    def nonce(self) -> bytes:
        """The 12-byte nonce of this envelope's seals."""
        return nonce_of(self.header.salt, self.header.sequence)

    @classmethod
    def parse(cls, data: bytes) -> Envelope:
        """Split an envelope and read its header; nothing is verified yet.

        Raises:
            MalformedMessage, MessageTooLarge: it is not an envelope.
        """
        value = decode(
            data, what="envelope", max_bytes=MAX_ENVELOPE_BYTES, max_items=_ENVELOPE_ITEMS
        )
        if (
            not isinstance(value, list)
            or len(value) != 3
            or not all(isinstance(part, bytes) for part in value)
        ):
            raise MalformedMessage("an envelope is not [header, ciphertext, signature]")
        header_bytes, ciphertext, signature = value
        return cls(Header.parse(header_bytes), header_bytes, ciphertext, signature)

    def verify(self, resolve: Callable[[str], Verifier]) -> None:
        """Check the board's signature.

        Raises:
            SignatureInvalid: see :meth:`protocol.signing.Signed.verify`.
        """
        payload = encode([self.header_bytes, self.ciphertext])
        Signed(ENVELOPE_KIND, self.header.address.box, payload, self.signature).verify(resolve)

    def blocks(self, live_key: ModalityKey | None = None) -> Blocks:
        """Return the sealed blocks; a live envelope needs the slot's ``live`` key.

        Raises:
            KeyCommitmentMismatch, AuthenticationFailed: the outer seal does not open.
            MalformedMessage: a live envelope and no key.
        """
        if self.header.kind == SEGMENT:
            return Blocks.parse(self.ciphertext)
        if live_key is None:
            raise MalformedMessage("a live envelope needs the slot's live key")
        opened = open_block(
            live_key, self.ciphertext, header=self.header_bytes, label=LIVE, nonce=self.nonce
        )
        return Blocks.parse(bytes(opened))


def seal_envelope(
    header: Header,
    *,
    templates: Mapping[str, bytes | bytearray],
    meta: bytes | bytearray,
    keys: Mapping[str, ModalityKey],
    board: SigningKey,
) -> Envelope:
    """Seal plain blocks under the slot's ``keys`` (label to key) and sign as ``board``.

    Raises:
        MalformedMessage: ``templates`` (modality to block) has a modality too many or too few.
    """
    header_bytes = header.to_bytes()
    nonce = nonce_of(header.salt, header.sequence)

    def seal(label: str, plaintext: bytes | bytearray) -> bytes:
        return seal_block(keys[label], plaintext, header=header_bytes, label=label, nonce=nonce)

    ciphertext = Blocks(
        {modality: seal(modality, block) for modality, block in templates.items()},
        seal(META, meta),
    ).to_bytes()
    if header.kind == LIVE_ENVELOPE:
        ciphertext = seal(LIVE, ciphertext)
    signature = sign(ENVELOPE_KIND, encode([header_bytes, ciphertext]), board).signature
    return Envelope(header, header_bytes, ciphertext, signature)
