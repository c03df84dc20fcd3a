"""A browser and its authenticator: an officer's passkey, and what it signs."""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.passkeys import Passkey, encode_assertion

ORIGIN, RP_ID = "https://desk.bucheon.example:8443", "desk.bucheon.example"
KEY = ec.derive_private_key(0x5EA17ACE, ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
PASSKEY = Passkey(PUBLIC, RP_ID, ORIGIN)
PRESENT, VERIFIED = 0x01, 0x04


def client_data_for(message: bytes, origin: str) -> bytes:
    """Return the client data that a browser makes for ``message``."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(message).digest()).rstrip(b"=").decode()
    said = {"type": "webauthn.get", "challenge": challenge, "origin": origin, "crossOrigin": False}
    return json.dumps(said, separators=(",", ":")).encode()


def assertion(
    message: bytes,
    *,
    key: ec.EllipticCurvePrivateKey = KEY,
    rp_id: str = RP_ID,
    flags: int = PRESENT | VERIFIED,
    said: bytes | None = None,
    origin: str = ORIGIN,
) -> bytes:
    """What a browser and its authenticator make of ``message``."""
    data = hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + (7).to_bytes(4, "big")
    client = client_data_for(message, origin) if said is None else said
    signed = key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
    return encode_assertion(data, client, signed)
