"""A public key under which one signature fits many messages is nobody's key."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.signing import SigningKey, VerifyKey

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    cross = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + cross, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - cross, -1, P) % P


def x_of(y: int) -> int | None:
    """A root of x^2 = (y^2 - 1) / (d y^2 + 1), if there is one."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_M1 % P
    return x if (x * x - square) % P == 0 else None


def torsion() -> set[Point]:
    """The eight points whose order divides 8: multiples of L times any point that has one."""
    order = 2**252 + 27742317777372353535851937790883648493
    y, found = 2, {(0, 1)}
    while len(found) < 8:
        x = x_of(y)
        y += 1
        if x is None:
            continue
        product, power, left = (0, 1), (x, y - 1), order
        while left:
            product = add(product, power) if left & 1 else product
            power, left = add(power, power), left >> 1
        point, found = product, {(0, 1)}
        while point not in found:
            found.add(point)
            point = add(point, product)
    return found


def spellings(point: Point) -> list[bytes]:
    """All 32 bytes that name a point to somebody lenient: both signs, y not reduced."""
    ys = [y for y in (point[1], point[1] + P) if y < 2**255]
    return [(y | sign << 255).to_bytes(32, "little") for y in ys for sign in (0, 1)]


TORSION = sorted({spelt for point in torsion() for spelt in spellings(point)})


def test_there_are_eight_such_points_and_all_their_spellings_are_refused() -> None:
    assert len(torsion()) == 8
    assert len(TORSION) == 14  # five y, of which 0 and 1 can be spelt in two ways; two signs each
    for raw in TORSION:
        with pytest.raises(MalformedMessage, match="small order"):
            VerifyKey(raw)


def forged_under(raw: bytes) -> int:
    """How many of 64 messages one made-up signature (R = 1, S = 0) verifies for."""
    signature = (1).to_bytes(32, "little") + bytes(32)
    try:
        key = Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        return 0
    count = 0
    for number in range(64):
        try:
            key.verify(signature, b"message %d" % number)
        except InvalidSignature:
            continue
        count += 1
    return count


def test_without_the_refusal_one_signature_would_do_for_many_messages() -> None:
    forged = {raw.hex(): forged_under(raw) for raw in TORSION}
    assert sum(count > 1 for count in forged.values()) >= 5, forged
    assert forged_under(SigningKey("ana", bytes(32)).verify_key.raw) == 0


@given(st.integers(P, 2**255 - 1), st.booleans())
def test_a_coordinate_that_is_not_reduced_is_refused(y: int, sign: bool) -> None:
    with pytest.raises(MalformedMessage):
        VerifyKey((y | sign << 255).to_bytes(32, "little"))


@given(st.binary(min_size=32, max_size=32))
def test_every_key_that_somebody_made_is_taken(seed: bytes) -> None:
    key = SigningKey("ana", seed)
    key.verify_key.verify_bytes(key.sign_bytes(b"m"), b"m")
