"""Ed25519 signatures (RFC 8032) over messages, each bound to its kind and its signer.

What is signed is the deterministic encoding of ``["sealtrace/v1", kind, signer, payload]``, so that
a signature over one kind of message can never be passed off as one over another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.encoding import MAX_MESSAGE_BYTES, decode, encode
from protocol.errors import MalformedMessage, SignatureInvalid, UnknownSigner
from protocol.names import require_name

CONTEXT = "sealtrace/v1"
SEED_BYTES = 32
SIGNATURE_BYTES = 64
_ITEMS = 5  # the array and its four members


_P = 2**255 - 19
_SIGN_BIT = 1 << 255
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset({0, 1, _P - 1, _ORDER_8, _P - _ORDER_8})
"""The y coordinates of the eight points of order 1, 2, 4 and 8 (RFC 8032, section 5.1)."""


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """An Ed25519 public key, 32 raw bytes.

    Refused are the points of small order, under which one signature verifies for many messages, so
    that nobody's word is bound to it, and coordinates that are not reduced: second spellings.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise MalformedMessage("an Ed25519 public key has 32 bytes")
        y = int.from_bytes(self.raw, "little") & ~_SIGN_BIT
        if y >= _P or y in _SMALL_ORDER:
            raise MalformedMessage("an Ed25519 public key is of small order, or not canonical")

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the key's SHA-256, for people."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verify_bytes(self, signature: bytes, message: bytes) -> None:
        """Check a signature over bytes as they are.

        Raises:
            SignatureInvalid: it does not verify.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise SignatureInvalid("the signature does not verify") from error


class Verifier(Protocol):
    """Whatever checks a signature: a key, or the several credentials of one officer."""

    def verify_bytes(self, signature: bytes, message: bytes) -> None:
        """Check a signature over bytes as they are.

        Raises:
            SignatureInvalid: it does not verify.
        """


class SigningKey:
    """An Ed25519 private key and the name of the principal that it speaks for."""

    __slots__ = ("_key", "signer")

    def __init__(self, signer: str, seed: bytes) -> None:
        self.signer = require_name(signer, what="signer")
        if len(seed) != SEED_BYTES:
            raise MalformedMessage(f"an Ed25519 seed has {SEED_BYTES} bytes")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def generate(cls, signer: str) -> SigningKey:
        """Draw a new key for ``signer``."""
        return cls(signer, Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def seed(self) -> bytes:
        """The private seed, 32 bytes: to be stored encrypted only."""
        return self._key.private_bytes_raw()

    @property
    def verify_key(self) -> VerifyKey:
        """The public half."""
        return VerifyKey(self._key.public_key().public_bytes_raw())

    def sign_bytes(self, message: bytes) -> bytes:
        """Sign bytes as they are (checkpoints have a form of their own); 64 bytes."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey({self.signer!r})"


def to_be_signed(kind: str, signer: str, payload: bytes) -> bytes:
    """Return the bytes that a signature of ``signer`` over a ``kind`` message covers."""
    return encode([CONTEXT, kind, signer, payload])


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed message ``[kind, signer, payload, signature]``, not yet verified."""

    kind: str
    signer: str
    payload: bytes
    signature: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was signed: names this very message of this very signer; 32 bytes."""
        return hashlib.sha256(to_be_signed(self.kind, self.signer, self.payload)).digest()

    @property
    def by_passkey(self) -> bool:
        """Whether it carries a passkey's assertion, and no signature by key file."""
        return len(self.signature) != SIGNATURE_BYTES

    def to_bytes(self) -> bytes:
        """Encode for the wire."""
        return encode([self.kind, self.signer, self.payload, self.signature])

    @classmethod
    def parse(cls, data: bytes, *, kind: str, max_bytes: int = MAX_MESSAGE_BYTES) -> Signed:
        """Split the outer array only; the payload stays unread until :meth:`verify`.

        Raises:
            MalformedMessage: not a signed message of ``kind``.
        """
        value = decode(data, what=f"signed {kind}", max_bytes=max_bytes, max_items=_ITEMS)
        if not isinstance(value, list) or len(value) != 4 or value[0] != kind:
            raise MalformedMessage(f"not a signed {kind}")
        _, signer, payload, signature = value
        if not isinstance(payload, bytes) or not isinstance(signature, bytes):
            raise MalformedMessage(f"signed {kind}: payload and signature must be byte strings")
        return cls(kind, require_name(signer, what="signer"), payload, signature)

    def verify(self, resolve: Callable[[str], Verifier]) -> bytes:
        """Check the signature under the key that ``resolve`` gives for the signer's name.

        Returns:
            the payload, now worth parsing.

        Raises:
            UnknownSigner, PrincipalRevoked: ``resolve`` does not vouch for the signer.
            SignatureInvalid: the signature is wrong.
        """
        try:
            key = resolve(self.signer)
        except KeyError as error:
            raise UnknownSigner(f"no key is known for '{self.signer}'") from error
        try:
            key.verify_bytes(self.signature, to_be_signed(self.kind, self.signer, self.payload))
        except SignatureInvalid as error:
            raise SignatureInvalid(
                f"the signature of '{self.signer}' over this {self.kind} does not verify"
            ) from error
        return self.payload


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A message that ``signer`` is about to sign: first it is made and shown, then it is signed."""

    kind: str
    signer: str
    payload: bytes

    def challenge_bytes(self) -> bytes:
        """Return what a passkey has to sign (a browser is given its SHA-256)."""
        return to_be_signed(self.kind, self.signer, self.payload)

    def by_key(self, key: SigningKey) -> Signed:
        """Sign with a key file's key.

        Raises:
            SignatureInvalid: it is somebody else's.
        """
        if key.signer != self.signer:
            raise SignatureInvalid(
                f"this {self.kind} is for '{self.signer}' to sign, and the key is '{key.signer}'s"
            )
        return Signed(self.kind, self.signer, self.payload, key.sign_bytes(self.challenge_bytes()))

    def by_assertion(self, assertion: bytes) -> Signed:
        """Return it with a passkey's assertion (`protocol.passkeys.encode_assertion`), unverified.

        Args:
            assertion: over `challenge_bytes`.
        """
        return Signed(self.kind, self.signer, self.payload, assertion)


def sign(kind: str, payload: bytes, key: SigningKey) -> Signed:
    """Sign ``payload`` as a message of ``kind``."""
    return Unsigned(kind, key.signer, payload).by_key(key)


def signed_kind(data: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> str:
    """Return what kind of message ``data`` says to be; nothing is verified yet.

    Raises:
        MalformedMessage: it is not a signed message at all.
    """
    value = decode(data, what="signed message", max_bytes=max_bytes, max_items=_ITEMS)
    if not isinstance(value, list) or len(value) != 4 or not isinstance(value[0], str):
        raise MalformedMessage("not a signed message")
    return value[0]
