"""Sealing keys that a custodian can sign and nobody can seal to."""

from __future__ import annotations

from edge_site import EPOCH, NOON_MS, Site

from protocol import hpke
from protocol.daykeys import DAY_KEYS_KIND
from protocol.encoding import PROTOCOL_VERSION, encode
from protocol.signing import SigningKey, sign

_MLKEM = 1184
# The points of small order on Curve25519 and its twist, and their other encodings (RFC 7748, 6.1).
LOW_ORDER = (
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
    bytes(31) + b"\x80",
)
_GOOD = hpke.PrivateKey.generate().public.raw
HOSTILE = (
    {f"low-order-{n}": _GOOD[:_MLKEM] + point for n, point in enumerate(LOW_ORDER)}
    | {
        "coefficients-out-of-range": b"\xff" * _MLKEM + _GOOD[_MLKEM:],
        "one-coefficient-out-of-range": b"\x01\x0d\x00" + _GOOD[3:],  # 3329 is the modulus
        "cut-short": _GOOD[:-1],
        "empty": b"",
    }
)


def hostile_day_keys(
    site: Site,
    custodian: str,
    raw: bytes,
    *,
    epochs: tuple[int, ...] = (EPOCH, EPOCH + 1),
    issued_at_ms: int = NOON_MS + 1,
    by: SigningKey | None = None,
) -> bytes:
    """Day keys as a custodian signs them that gives out ``raw`` for every day."""
    payload = {
        "v": PROTOCOL_VERSION,
        "site": "demo",
        "issued_at_ms": issued_at_ms,
        "keys": [[epoch, raw] for epoch in epochs],
    }
    return sign(DAY_KEYS_KIND, encode(payload), by or site.custodians[custodian]).to_bytes()
