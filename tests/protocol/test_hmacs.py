"""Our HMAC and HKDF give what the standard library and `cryptography` give."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.hmacs import BOTH, LEFT, RIGHT, grow, hkdf_pair, hmac_sha256

keys = st.binary(min_size=32, max_size=32)


@given(keys, st.binary(max_size=200))
@settings(max_examples=examples(50))
def test_an_hmac_is_that_of_the_standard_library(key: bytes, message: bytes) -> None:
    assert hmac_sha256(key, message) == hmac.digest(key, message, "sha256")


@given(st.binary(max_size=300), st.binary(max_size=200))
@settings(max_examples=examples(50))
def test_a_pair_of_keys_is_64_bytes_of_hkdf(secret: bytes, info: bytes) -> None:
    derived = HKDF(hashes.SHA256(), 64, None, info).derive(secret)
    assert hkdf_pair(secret, info) == (derived[:32], derived[32:])


@given(keys)
@settings(max_examples=examples(20))
def test_children_are_hmacs_of_one_byte(key: bytes) -> None:
    left, right = (hmac.digest(key, side, "sha256") for side in (b"\x00", b"\x01"))
    tree = [key]
    grow(tree, [(0, BOTH), (0, LEFT), (0, RIGHT), (2, RIGHT)])
    assert tree == [key, left, right, left, right, hmac.digest(right, b"\x01", "sha256")]
