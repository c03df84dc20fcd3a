"""What a box and the registrar tell each other when the box joins, beside EST's own messages."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.signing import Signed, SigningKey, VerifyKey, sign
from protocol.textformats import parse_json

IDENTITY_KIND, CONFIGURATION_KIND = "box-identity", "box-configuration"
TIME_KIND = "registrar-time"
NONCE_BYTES = 32
MAX_REQUEST_BYTES = 32 << 10
_MAX_SETTINGS = 256 << 10
_MAX_PEM = 64 << 10


@dataclass(frozen=True, slots=True)
class BoxIdentity:
    """Proof that who asks for this certificate also holds this Ed25519 identity key."""

    site: str
    box: str
    request_digest: bytes
    verify_key: VerifyKey

    @classmethod
    def of(cls, site: str, key: SigningKey, request: bytes) -> Signed:
        """Return the proof for a PKCS #10 request (DER), signed with the key that it proves."""
        payload = {
            "v": PROTOCOL_VERSION,
            "site": site,
            "box": key.signer,
            "request_digest": hashlib.sha256(request).digest(),
            "verify_key": key.verify_key.raw,
        }
        return sign(IDENTITY_KIND, encode(payload), key)

    @classmethod
    def open(cls, data: bytes, *, site: str, box: str, request: bytes) -> BoxIdentity:
        """Verify and read a proof.

        Raises:
            MalformedMessage: it is not one.
            SignatureInvalid: it does not prove its key, or is for another box or request.
        """
        signed = Signed.parse(data, kind=IDENTITY_KIND, max_bytes=MAX_REQUEST_BYTES)
        fields = Fields(
            decode(signed.payload, what="box identity", max_items=11), what="box identity"
        )
        fields.version()
        proof = cls(
            site=fields.name("site"),
            box=fields.name("box"),
            request_digest=fields.raw("request_digest", size=32),
            verify_key=VerifyKey(fields.raw("verify_key", size=32)),
        )
        fields.done()
        signed.verify(lambda _name: proof.verify_key)
        ours = hashlib.sha256(request).digest()
        fits = (proof.site, proof.box, signed.signer) == (site, box, box)
        if not fits or not hmac.compare_digest(proof.request_digest, ours):
            raise SignatureInvalid("the proof of identity is for another box or another request")
        return proof


@dataclass(frozen=True, slots=True)
class BoxConfiguration:
    """What a box is told once it is admitted.

    Args:
        settings: sections of its box.toml: ``cameras``, ``mqtt`` and others (JSON values).
        directory: the authority's signed directory.
        admissions: the registrar's signed admissions, which list this box.
        ca_pem: the CA certificates to trust, for its certificate's chain too.
    """

    site: str
    box: str
    issued_at_ms: int
    settings: dict[str, Any]
    directory: bytes
    admissions: bytes | None
    ca_pem: str

    def sign(self, registrar: SigningKey) -> Signed:
        """Sign as the registrar."""
        payload = {
            "v": PROTOCOL_VERSION,
            "site": self.site,
            "box": self.box,
            "issued_at_ms": self.issued_at_ms,
            "settings": json.dumps(self.settings, sort_keys=True),
            "directory": self.directory,
            "admissions": self.admissions,
            "ca_pem": self.ca_pem,
        }
        return sign(CONFIGURATION_KIND, encode(payload), registrar)

    @classmethod
    def parse(cls, payload: bytes) -> BoxConfiguration:
        """Read a payload: unverified for its directory alone, or verified.

        Raises:
            MalformedMessage: it is not a configuration.
        """
        fields = Fields(decode(payload, what="box configuration"), what="box configuration")
        fields.version()
        text: dict[str, Any] = {}
        read = cls(
            site=fields.name("site"),
            box=fields.name("box"),
            issued_at_ms=fields.integer("issued_at_ms"),
            settings=text,
            directory=fields.raw("directory"),
            admissions=fields.optional("admissions", fields.raw),
            ca_pem=fields.text("ca_pem", max_length=_MAX_PEM, multiline=True),
        )
        try:
            settings = parse_json(fields.text("settings", max_length=_MAX_SETTINGS))
        except ValueError as error:
            raise MalformedMessage("the box's settings are not JSON") from error
        fields.done()
        if not isinstance(settings, dict):
            raise MalformedMessage("the box's settings are not a table")
        text.update(settings)
        return read


@dataclass(frozen=True, slots=True)
class RegistrarTime:
    """What time it is by the registrar's clock, said to whoever drew ``nonce``."""

    site: str
    nonce: bytes
    time_ms: int

    def sign(self, registrar: SigningKey) -> Signed:
        """Sign as the registrar."""
        payload = {
            "v": PROTOCOL_VERSION,
            "site": self.site,
            "nonce": self.nonce,
            "time_ms": self.time_ms,
        }
        return sign(TIME_KIND, encode(payload), registrar)

    @classmethod
    def parse(cls, payload: bytes) -> RegistrarTime:
        """Read a payload.

        Raises:
            MalformedMessage: it is none.
        """
        fields = Fields(decode(payload, what="time", max_items=9), what="time")
        fields.version()
        read = cls(
            site=fields.name("site"),
            nonce=fields.raw("nonce", size=NONCE_BYTES),
            time_ms=fields.integer("time_ms"),
        )
        fields.done()
        return read

    @classmethod
    def open(cls, data: bytes, *, site: str, nonce: bytes, key: VerifyKey) -> RegistrarTime:
        """Verify and read an answer to ``nonce``.

        Raises:
            MalformedMessage: it is not one.
            SignatureInvalid: another key signed it, or it answers another site or nonce.
        """
        signed = Signed.parse(data, kind=TIME_KIND, max_bytes=1024)
        read = cls.parse(signed.verify(lambda _name: key))
        if read.site != site or not hmac.compare_digest(read.nonce, nonce):
            raise SignatureInvalid("the time is for another site, or answers another question")
        return read


@dataclass(frozen=True, slots=True)
class OfflineRequest:
    """A box's request on a USB stick: all that it would send over the network."""

    site: str
    box: str
    claim: bytes
    request: bytes
    identity: bytes

    def to_bytes(self) -> bytes:
        """Encode for the file."""
        return encode(
            {
                "v": PROTOCOL_VERSION,
                "kind": "box-request",
                "site": self.site,
                "box": self.box,
                "claim": self.claim,
                "request": self.request,
                "identity": self.identity,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> OfflineRequest:
        """Read the file.

        Raises:
            MalformedMessage: it is not such a request.
        """
        what = "box request"
        fields = Fields(decode(data, what=what, max_bytes=4 * MAX_REQUEST_BYTES), what=what)
        fields.version()
        fields.choice("kind", frozenset({"box-request"}))
        read = cls(
            site=fields.name("site"),
            box=fields.name("box"),
            claim=fields.raw("claim", size=32),
            request=fields.raw("request", max_size=MAX_REQUEST_BYTES),
            identity=fields.raw("identity", max_size=MAX_REQUEST_BYTES),
        )
        fields.done()
        return read


@dataclass(frozen=True, slots=True)
class OfflineAdmission:
    """Headquarters' answer on a USB stick: the certificate (DER) and the signed configuration."""

    box: str
    certificate: bytes
    configuration: bytes

    def to_bytes(self) -> bytes:
        """Encode for the file."""
        return encode(
            {
                "v": PROTOCOL_VERSION,
                "kind": "box-admission",
                "box": self.box,
                "certificate": self.certificate,
                "configuration": self.configuration,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> OfflineAdmission:
        """Read the file.

        Raises:
            MalformedMessage: it is not such an answer.
        """
        fields = Fields(decode(data, what="box admission"), what="box admission")
        fields.version()
        fields.choice("kind", frozenset({"box-admission"}))
        read = cls(
            box=fields.name("box"),
            certificate=fields.raw("certificate", max_size=MAX_REQUEST_BYTES),
            configuration=fields.raw("configuration"),
        )
        fields.done()
        return read
