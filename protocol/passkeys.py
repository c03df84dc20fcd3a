"""Officers' signatures by passkey (WebAuthn Level 2), over the same bytes as by key file.

A browser's authenticator does not sign our bytes but an assertion that carries their SHA-256 as the
challenge. Such a signature is ``[authenticator data, client data, ECDSA signature]``: whoever
verifies it checks that it is an assertion, for this challenge, made for the officers' own page,
with the officer present and known to the authenticator. Source: W3C, "Web Authentication", 7.2.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage, ProtocolError, SignatureInvalid
from protocol.signing import SIGNATURE_BYTES, VerifyKey
from protocol.textformats import parse_json

POINT_BYTES = 65
MAX_ASSERTION_BYTES = 4096
_FLAGS_AT, _USER_PRESENT, _USER_VERIFIED = 32, 0x01, 0x04
_SMALLEST_DATA = 37  # RP id hash, flags, counter
_GET = "webauthn.get"


@dataclass(frozen=True, slots=True)
class Passkey:
    """An ES256 credential of an officer.

    Args:
        public: the P-256 point, uncompressed, 65 bytes.
        rp_id: the page's domain.
        origin: the page's exact origin: scheme, host, and port where it is not the scheme's own.
    """

    public: bytes
    rp_id: str
    origin: str

    def __post_init__(self) -> None:
        if len(self.public) != POINT_BYTES:
            raise MalformedMessage(f"a passkey's public key is a point of {POINT_BYTES} bytes")
        self._key()
        for what, text in (("RP id", self.rp_id), ("origin", self.origin)):
            if not 0 < len(text) <= 256 or not text.isascii() or not text.isprintable():
                raise MalformedMessage(f"a passkey's {what} is not a short ASCII text")

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the public key's SHA-256, for people."""
        return hashlib.sha256(self.public).hexdigest()[:16]

    def _key(self) -> ec.EllipticCurvePublicKey:
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.public)
        except ValueError as error:
            raise MalformedMessage("a passkey's public key is no point of P-256") from error

    def to_value(self) -> dict[str, object]:
        """Return the map that is encoded."""
        return {"public": self.public, "rp_id": self.rp_id, "origin": self.origin}

    @classmethod
    def from_value(cls, value: object) -> Passkey:
        """Read a decoded map.

        Raises:
            MalformedMessage: it is not a passkey.
        """
        fields = Fields(value, what="passkey")
        passkey = cls(
            fields.raw("public", size=POINT_BYTES), fields.text("rp_id"), fields.text("origin")
        )
        fields.done()
        return passkey

    def verify_bytes(self, signature: bytes, message: bytes) -> None:
        """Check an assertion over ``message``.

        Raises:
            SignatureInvalid: it is not one of this passkey, for this message, from this page, with
                its officer present and verified.
        """
        try:
            authenticator_data, client_data, ecdsa = _assertion(signature)
            said = parse_json(client_data)
        except (ProtocolError, ValueError) as error:
            raise SignatureInvalid(
                f"the passkey's signature is not an assertion: {error}"
            ) from error
        if not isinstance(said, dict) or said.get("type") != _GET:
            raise SignatureInvalid("the passkey made something else than a signature")
        digest = hashlib.sha256(message).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if said.get("challenge") != challenge:  # nothing here is secret; it may be any text at all
            raise SignatureInvalid("the passkey signed something else")
        if said.get("origin") != self.origin or said.get("crossOrigin", False) is not False:
            raise SignatureInvalid("the passkey signed for another page than the officers' own")
        owner = hashlib.sha256(self.rp_id.encode()).digest()
        if len(authenticator_data) < _SMALLEST_DATA or not hmac.compare_digest(
            authenticator_data[:_FLAGS_AT], owner
        ):
            raise SignatureInvalid("the passkey signed for another domain than the officers' own")
        flags = authenticator_data[_FLAGS_AT]
        if not flags & _USER_PRESENT or not flags & _USER_VERIFIED:
            raise SignatureInvalid("the passkey signed without its officer present and verified")
        signed = authenticator_data + hashlib.sha256(client_data).digest()
        try:
            self._key().verify(ecdsa, signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise SignatureInvalid("the signature does not verify") from error


@dataclass(frozen=True, slots=True)
class Credentials:
    """The several credentials of one officer: any of them signs for them."""

    key: VerifyKey
    passkeys: tuple[Passkey, ...]

    def verify_bytes(self, signature: bytes, message: bytes) -> None:
        """Check a signature by key file, or an assertion by one of the passkeys.

        Raises:
            SignatureInvalid: it is none of this officer's.
        """
        if len(signature) == SIGNATURE_BYTES:
            self.key.verify_bytes(signature, message)
            return
        refused: SignatureInvalid | None = None
        for passkey in self.passkeys:
            try:
                passkey.verify_bytes(signature, message)
            except SignatureInvalid as error:
                refused = error
            else:
                return
        raise refused or SignatureInvalid("the signature does not verify")


def encode_assertion(authenticator_data: bytes, client_data: bytes, ecdsa: bytes) -> bytes:
    """Return what stands in place of an Ed25519 signature.

    Args:
        client_data: the JSON bytes as the browser gave them.
        ecdsa: the signature, DER.
    """
    return encode([authenticator_data, client_data, ecdsa])


def _assertion(signature: bytes) -> tuple[bytes, bytes, bytes]:
    value = decode(signature, what="assertion", max_bytes=MAX_ASSERTION_BYTES, max_items=4)
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(isinstance(part, bytes) for part in value)
    ):
        raise MalformedMessage("not [authenticator data, client data, signature]")
    return value[0], value[1], value[2]
