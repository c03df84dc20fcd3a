"""A passkey is listed for who offers it: their key file and the passkey itself have signed that."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
from authenticator import KEY, PASSKEY, PUBLIC, assertion, client_data_for
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.directory import Directory
from protocol.encoding import decode, encode
from protocol.errors import (
    ClockSkew,
    MalformedMessage,
    PrincipalRevoked,
    ProtocolError,
    SignatureInvalid,
    UnknownSigner,
)
from protocol.passkey_offers import LASTS_MS, PasskeyOffer, check_page, open_offer
from protocol.passkeys import Passkey

OFFER = PasskeyOffer(s.SITE, PASSKEY, s.NOW_MS)


def offered(
    offer: PasskeyOffer = OFFER,
    *,
    officer: str = "bo",
    key_of: str = "",
    for_officer: str = "",
    key: ec.EllipticCurvePrivateKey = KEY,
) -> bytes:
    signing = s.signing_key(key_of or officer)
    signing.signer = officer
    return offer.to_bytes(
        signing, assertion(offer.challenge_bytes(for_officer or officer), key=key)
    )


def opened(data: bytes, directory: Directory | None = None) -> tuple[str, Passkey]:
    return open_offer(data, directory or s.directory(), now_ms=s.NOW_MS)


def test_what_both_keys_of_an_officer_signed_is_an_offer() -> None:
    assert opened(offered()) == ("bo", PASSKEY)


def test_another_officers_key_file_or_another_passkey_offers_nothing() -> None:
    with pytest.raises(SignatureInvalid, match="signature of 'bo'"):
        opened(offered(key_of="cy"))
    with pytest.raises(SignatureInvalid):
        opened(offered(key=ec.derive_private_key(5, ec.SECP256R1())))
    with pytest.raises(SignatureInvalid, match="signed something else"):
        opened(offered(for_officer="cy"))
    stolen = decode(offered(), what="offer")
    mine = decode(offered(officer="cy"), what="offer")
    assert isinstance(stolen, list)
    assert isinstance(mine, list)
    with pytest.raises(SignatureInvalid, match="signed something else"):
        opened(encode([mine[0], stolen[1]]))


def test_an_assertion_made_at_another_page_than_it_states_offers_nothing() -> None:
    message = OFFER.challenge_bytes("bo")
    elsewhere = assertion(message, said=client_data_for(message, "https://evil.example"))
    with pytest.raises(SignatureInvalid, match="another page"):
        opened(OFFER.to_bytes(s.signing_key("bo"), elsewhere))


def test_only_officers_in_force_of_this_site_offer_passkeys() -> None:
    with pytest.raises(UnknownSigner):
        opened(offered(officer="zoe"))
    with pytest.raises(UnknownSigner):
        opened(offered(officer="box-1"))
    with pytest.raises(PrincipalRevoked):
        opened(offered(), s.directory().revoke("bo", at_ms=1))
    with pytest.raises(SignatureInvalid, match="offered to site 'elsewhere'"):
        opened(offered(replace(OFFER, site="elsewhere")))


def test_an_offer_lasts_a_month() -> None:
    assert opened(offered(replace(OFFER, made_at_ms=s.NOW_MS - LASTS_MS)))
    for moment_ms in (s.NOW_MS - LASTS_MS - 1, s.NOW_MS + 3_600_000):
        with pytest.raises(ClockSkew, match="write a new file"):
            opened(offered(replace(OFFER, made_at_ms=moment_ms)))


@pytest.mark.parametrize(
    ("origin", "rp_id"),
    [
        ("https://desk.example", "desk.example"),
        ("https://a.desk.example:8443", "desk.example"),
        ("http://localhost:8460", "localhost"),
        ("https://localhost", "localhost"),
    ],
)
def test_a_page_within_its_domain_can_have_a_passkey(origin: str, rp_id: str) -> None:
    check_page(Passkey(PUBLIC, rp_id, origin))


@pytest.mark.parametrize(
    ("origin", "rp_id"),
    [
        ("https://desk.example", "a.desk.example"),
        ("https://evildesk.example", "desk.example"),
        ("https://desk.example.evil", "desk.example"),
        ("https://desk.example", "example"),
        ("http://desk.example", "desk.example"),
        ("https://desk.example/", "desk.example"),
        ("https://desk.example/page", "desk.example"),
        ("https://desk.example:443", "desk.example"),
        ("https://desk.example:99999", "desk.example"),
        ("https://DESK.example", "desk.example"),
        ("https://user@desk.example", "desk.example"),
        ("https://10.0.0.7", "10.0.0.7"),
        ("https://desk..example", "desk..example"),
        ("https://-desk.example", "-desk.example"),
        ("ftp://desk.example", "desk.example"),
        ("desk.example", "desk.example"),
    ],
)
def test_a_page_where_no_browser_would_use_it_is_refused(origin: str, rp_id: str) -> None:
    passkey = Passkey(PUBLIC, rp_id, origin)
    with pytest.raises(MalformedMessage):
        check_page(passkey)
    with pytest.raises(MalformedMessage):
        PasskeyOffer.parse(replace(OFFER, passkey=passkey).payload())


def test_no_byte_of_an_offer_can_be_another() -> None:
    good = offered()
    for place in range(0, len(good), 3):
        altered = bytearray(good)
        altered[place] ^= 0x20
        with pytest.raises(ProtocolError):
            opened(bytes(altered))


@pytest.mark.parametrize("data", [b"", b"rubbish", encode([]), encode([b"", b""]), encode({})])
def test_what_is_no_offer_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        opened(data)
