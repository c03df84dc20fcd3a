"""A browser's answer is a passkey if it is for what was asked: this page, ES256, verified."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field, replace

import pytest
from fido2.cose import ES256, CoseKey
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData
from officers_passkeys import ORIGIN, RP_ID, Device

from officers.desk.passkeys import PasskeyInvalid, registered_passkey

CHALLENGE = bytes(range(32))
_POINT = Device("bo").passkey.public
KEY = CoseKey.parse({1: 2, 3: -7, -1: 1, -2: _POINT[1:33], -3: _POINT[33:]})
ED25519 = CoseKey.parse({1: 1, 3: -8, -1: 6, -2: bytes(32)})
PRESENT, VERIFIED, WITH_KEY = 0x01, 0x04, 0x40


@dataclass(frozen=True)
class Made:
    """What a browser says when it made a passkey."""

    kind: str = "webauthn.create"
    challenge: bytes = CHALLENGE
    origin: str = ORIGIN
    rp_id: str = RP_ID
    flags: int = PRESENT | VERIFIED | WITH_KEY
    key: CoseKey = field(default_factory=lambda: KEY)
    cross_origin: bool = False

    @property
    def client_data(self) -> bytes:
        challenge = urlsafe_b64encode(self.challenge).rstrip(b"=").decode()
        said = {"type": self.kind, "challenge": challenge, "origin": self.origin}
        return json.dumps({**said, "crossOrigin": self.cross_origin}).encode()

    @property
    def attestation(self) -> bytes:
        credential = AttestedCredentialData.create(bytes(16), b"credential", self.key)
        data = AuthenticatorData.create(
            hashlib.sha256(self.rp_id.encode()).digest(),
            AuthenticatorData.FLAG(self.flags),
            0,
            credential if self.flags & WITH_KEY else b"",
        )
        return bytes(AttestationObject.create("none", data, {}))


def read(made: Made) -> tuple[object, bytes]:
    return registered_passkey(
        made.attestation, made.client_data, challenge=CHALLENGE, origin=ORIGIN
    )


def test_a_passkey_is_read_with_its_key_page_and_id() -> None:
    assert read(Made()) == (Device("bo").passkey, b"credential")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (Made(kind="webauthn.get"), "another question"),
        (Made(challenge=bytes(32)), "another question"),
        (Made(origin="http://localhost:9999"), "another page"),
        (Made(origin="https://evil.example"), "another page"),
        (Made(rp_id="evil.example"), "another page"),
        (Made(cross_origin=True), "another page"),
        (Made(flags=PRESENT | WITH_KEY), "verifying that it is you"),
        (Made(flags=VERIFIED | WITH_KEY), "verifying that it is you"),
        (Made(flags=PRESENT | VERIFIED), "verifying that it is you"),
        (
            Made(key=ED25519),
            "ES256",
        ),
        (Made(key=ES256({**KEY, -2: bytes(31)})), "no passkey"),
        (Made(key=ES256({**KEY, -3: b"\x01" * 32})), "no passkey"),
        (Made(key=ES256({**KEY, -2: 7})), "no passkey"),
    ],
)
def test_what_is_made_for_something_else_is_no_passkey(made: Made, why: str) -> None:
    with pytest.raises(PasskeyInvalid, match=why):
        read(made)


@pytest.mark.parametrize("attestation", [b"", b"garbage", b"\xa0", b"\xff" * 100, b"x" * 70_000])
def test_what_is_no_attestation_at_all_is_refused_and_ends_nothing(attestation: bytes) -> None:
    with pytest.raises(PasskeyInvalid):
        registered_passkey(attestation, Made().client_data, challenge=CHALLENGE, origin=ORIGIN)


@pytest.mark.parametrize("said", [b"", b"[]", b"not json", b'{"type": 5}', b"\xff", b"[" * 60_000])
def test_what_is_no_client_data_is_refused_and_ends_nothing(said: bytes) -> None:
    with pytest.raises(PasskeyInvalid):
        registered_passkey(Made().attestation, said, challenge=CHALLENGE, origin=ORIGIN)


def test_a_challenge_that_was_never_given_out_is_answered_by_nobody() -> None:
    made = replace(Made(), challenge=b"")
    with pytest.raises(PasskeyInvalid, match="another question"):
        registered_passkey(made.attestation, made.client_data, challenge=b"", origin=ORIGIN)
