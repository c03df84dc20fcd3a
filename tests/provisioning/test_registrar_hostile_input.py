"""Whatever comes in place of a request, an answer or a claim is refused by name, never crashes."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import encode
from protocol.errors import ProtocolError
from protocol.joining import (
    BoxConfiguration,
    BoxIdentity,
    OfflineAdmission,
    OfflineRequest,
)
from protocol.signing import SigningKey
from provisioning.box.firstboot.keys import make_request
from provisioning.formats import est, pki
from provisioning.formats.errors import RequestInvalid
from provisioning.formats.pki import CertificateError, merged_crls

KEY = SigningKey("box-7", bytes(range(32)))
REQUEST = make_request("box-7", ec.derive_private_key(7, ec.SECP256R1()))
ASKED = OfflineRequest("demo", "box-7", bytes(32), REQUEST, b"proof")
TOLD = BoxConfiguration("demo", "box-7", 1, {"cameras": [], "mqtt": {}}, b"d", None, "pem\n")
flips = st.tuples(st.integers(0, 10_000), st.integers(1, 255))


def flipped(data: bytes, flip: tuple[int, int]) -> bytes:
    changed = bytearray(data)
    changed[flip[0] % len(changed)] ^= flip[1]
    return bytes(changed)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_message(data: bytes) -> None:
    for read in (OfflineRequest.parse, OfflineAdmission.parse, BoxConfiguration.parse):
        with contextlib.suppress(ProtocolError):
            read(data)
    with contextlib.suppress(RequestInvalid):
        est.read_request(data, box="box-7")
    with contextlib.suppress(RequestInvalid):
        est.read_certs_only(data)
    with contextlib.suppress(RequestInvalid):
        est.decode_body(data)


@given(flips)
def test_a_changed_certificate_request_is_never_taken(flip: tuple[int, int]) -> None:
    assert est.read_request(REQUEST, box="box-7")
    with contextlib.suppress(RequestInvalid):
        # ECDSA's two integers have one DER each; what still reads must be the request itself.
        est.read_request(flipped(REQUEST, flip), box="box-7")
        pytest.fail("a changed request was taken")


@given(flips)
def test_a_changed_proof_of_identity_is_never_taken(flip: tuple[int, int]) -> None:
    proof = BoxIdentity.of("demo", KEY, REQUEST).to_bytes()
    opened = BoxIdentity.open(proof, site="demo", box="box-7", request=REQUEST)
    assert opened.verify_key == KEY.verify_key
    with pytest.raises(ProtocolError):
        BoxIdentity.open(flipped(proof, flip), site="demo", box="box-7", request=REQUEST)


@given(flips)
def test_changed_files_of_the_stick_read_as_something_or_are_refused(
    flip: tuple[int, int],
) -> None:
    assert OfflineRequest.parse(ASKED.to_bytes()) == ASKED
    with contextlib.suppress(ProtocolError):
        assert OfflineRequest.parse(flipped(ASKED.to_bytes(), flip)) != ASKED


@given(st.recursive(st.none() | st.booleans() | st.text(), st.lists, max_leaves=5))
def test_settings_that_are_not_a_table_are_refused(value: object) -> None:
    payload = TOLD.sign(SigningKey("registrar", bytes(32))).payload
    assert BoxConfiguration.parse(payload) == TOLD
    broken = {
        "v": 1,
        "site": "demo",
        "box": "box-7",
        "issued_at_ms": 1,
        "settings": json.dumps(value) or "x",
        "directory": b"d",
        "admissions": None,
        "ca_pem": "pem\n",
    }
    with pytest.raises(ProtocolError):
        BoxConfiguration.parse(encode(broken))


@given(st.binary(max_size=60))
def test_revocation_lists_that_are_none(data: bytes) -> None:
    with contextlib.suppress(CertificateError):
        assert merged_crls(data) == b""
    damaged = b"-----BEGIN X509 CRL-----\n" + data + b"\n-----END X509 CRL-----\n"
    with pytest.raises(CertificateError):
        merged_crls(damaged)


def test_of_each_ca_the_newest_revocation_list_is_kept_in_any_order() -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    root = pki.new_root("demo", now=now, years=1)
    issuing = pki.new_issuing(root, "demo", now=now, years=1)

    def crl(ca: pki.Authority, number: int) -> bytes:
        revoked = [(100 + number, now)]
        return pki.pem(pki.revocation_list(ca, revoked, number=number, now=now))

    ours, old, new = crl(root, 3), crl(issuing, 9), crl(issuing, 12)
    assert merged_crls(ours, old, new) == ours + new
    assert merged_crls(ours + new, crl(root, 1) + old) == ours + new
