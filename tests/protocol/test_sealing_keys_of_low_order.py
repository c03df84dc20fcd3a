"""A sealing key with whose X25519 half nothing can be agreed on is refused when it is read."""

from __future__ import annotations

import protocol_samples as s
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from protocol import hpke
from protocol.errors import MalformedMessage
from protocol.hpke import _LOW_ORDER_U, _MLKEM_PUBLIC, _P

SPELLINGS = [
    (u + more | top << 255).to_bytes(32, "little")
    for u in sorted(_LOW_ORDER_U)
    for more in (0, _P)
    for top in (0, 1)
    if u + more < 2**255
]


@pytest.mark.parametrize("half", SPELLINGS, ids=bytes.hex)
def test_every_spelling_of_a_coordinate_of_low_order_is_refused(half: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):  # so it is one: the agreement is all zero
        X25519PrivateKey.from_private_bytes(b"k" * 32).exchange(
            X25519PublicKey.from_public_bytes(half)
        )
    genuine = s.sealing_key("m").public.raw
    with pytest.raises(MalformedMessage, match="low order"):
        hpke.PublicKey(genuine[:_MLKEM_PUBLIC] + half)
