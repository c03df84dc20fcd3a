"""Officers sign by passkey over the same bytes, and a directory goes out in two forms."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import protocol_samples as s
import pytest
from authenticator import ORIGIN, PASSKEY, PRESENT, PUBLIC, VERIFIED, assertion, client_data_for
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.about_queries import APPROVAL_KIND
from protocol.authorization import authorize, check_approval
from protocol.boxterms import MAX_RECORDINGS, BoxTerms
from protocol.directory import (
    Directory,
    OutsideWitness,
    Principal,
    open_directory,
)
from protocol.encoding import decode, encode
from protocol.errors import (
    ApprovalInvalid,
    MalformedMessage,
    SignatureInvalid,
    UnsupportedVersion,
)
from protocol.signing import Signed, to_be_signed


def client(**changes: object) -> bytes:
    return json.dumps({**json.loads(client_data_for(b"message", ORIGIN)), **changes}).encode()


def test_an_assertion_over_the_message_verifies() -> None:
    PASSKEY.verify_bytes(assertion(b"message"), b"message")
    PASSKEY.verify_bytes(assertion(b"message", said=client(extra="x")), b"message")


@pytest.mark.parametrize(
    "signature",
    [
        assertion(b"another"),
        assertion(b"message", rp_id="evil.example"),
        assertion(b"message", flags=PRESENT),
        assertion(b"message", flags=VERIFIED),
        assertion(b"message", key=ec.derive_private_key(5, ec.SECP256R1())),
        assertion(b"message", said=client(origin="https://desk.bucheon.example")),
        assertion(b"message", said=client(origin="https://evil.example")),
        assertion(b"message", said=client(crossOrigin=True)),
        assertion(b"message", said=client(type="webauthn.create")),
        assertion(b"message", said=client(challenge=None)),
        assertion(b"message", said=client(challenge="\ud800")),
        assertion(b"message", said=client(challenge="é")),
        assertion(b"message", said=client(origin="\ud800")),
        assertion(b"message", said=b"not json"),
        assertion(b"message", said=b"[" * 100_000),
        assertion(b"message", said=b"[]"),
        assertion(b"message", said=client(padding="x" * 5000)),
        encode([b"", b"{}", b""]),
        encode([b"short", client(), b"\x30\x00"]),
        encode([]),
        b"garbage",
        b"",
    ],
)
def test_what_is_not_this_officers_assertion_over_it_is_refused(signature: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        PASSKEY.verify_bytes(signature, b"message")


def test_no_bit_of_an_assertion_can_be_another() -> None:
    good = assertion(b"message")
    for place in range(len(good)):
        altered = bytearray(good)
        altered[place] ^= 0x40
        with pytest.raises(SignatureInvalid):
            PASSKEY.verify_bytes(bytes(altered), b"message")


@pytest.mark.parametrize(
    "change",
    [
        {"public": PUBLIC[:-1]},
        {"public": b"\x04" + bytes(64)},
        {"public": b"\x02" + bytes(64)},
        {"rp_id": ""},
        {"origin": "https://dесk"},
        {"origin": "a\nb"},
    ],
)
def test_a_passkey_that_is_none_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        replace(PASSKEY, **change)  # type: ignore[arg-type]


def with_passkeys(*names: str) -> Directory:
    directory = s.directory()
    principals = {
        name: replace(one, passkeys=(PASSKEY,)) if name in names else one
        for name, one in directory.principals.items()
    }
    return replace(directory, principals=principals)


def approved_by_passkey(approver: str) -> tuple[s.Case, Signed]:
    case = s.case(approvers=("bo",))
    payload = s.approval(case.query, approver).payload
    message = to_be_signed(APPROVAL_KIND, approver, payload)
    return case, Signed(APPROVAL_KIND, approver, payload, assertion(message))


def test_an_approval_by_passkey_counts_as_one_by_key_file() -> None:
    case, second = approved_by_passkey("cy")
    assert authorize(
        case.query,
        [*case.approvals, Signed.parse(second.to_bytes(), kind=APPROVAL_KIND)],
        [],
        directory=with_passkeys("cy"),
        policy=s.POLICY,
        now_ms=s.NOW_MS,
    ).approvers == ("bo", "cy")


def test_a_passkey_that_the_directory_does_not_list_approves_nothing() -> None:
    case, second = approved_by_passkey("cy")
    for directory in (s.directory(), with_passkeys("di")):
        with pytest.raises(ApprovalInvalid):
            check_approval(second, case.query.digest, "ana", directory, s.POLICY)


def test_an_assertion_over_one_approval_is_none_over_another() -> None:
    case, second = approved_by_passkey("cy")
    other = s.approval(s.case(purpose="something else").query, "cy").payload
    with pytest.raises(ApprovalInvalid):
        check_approval(
            replace(second, payload=other), case.query.digest, "ana", with_passkeys("cy"), s.POLICY
        )


def test_an_officer_with_a_passkey_still_signs_by_key_file() -> None:
    case = s.case()
    for approval in case.approvals:
        check_approval(approval, case.query.digest, "ana", with_passkeys("bo", "cy"), s.POLICY)
        forged = replace(approval, signature=bytes(64))
        with pytest.raises(ApprovalInvalid):
            check_approval(forged, case.query.digest, "ana", with_passkeys("bo", "cy"), s.POLICY)


def test_two_officers_with_one_passkey_are_one_party() -> None:
    with pytest.raises(MalformedMessage):
        with_passkeys("bo", "cy").sign(s.authority(), 2)
    assert with_passkeys("bo", "cy").shared_keys() == [("bo", "cy")]


# --------------------------------------------------------------------------- directories


def full() -> Directory:
    directory = with_passkeys("bo")
    box = replace(
        directory.principals["box-1"], recordings=("cam-2", "cam-7"), version_1_until_ms=s.NOW_MS
    )
    return replace(
        directory,
        principals={**directory.principals, "box-1": box},
        form=2,
        places=s.fixed("places", 32),
        outside_witnesses=(
            OutsideWitness("univ", s.signing_key("univ").verify_key, "https://univ.example"),
        ),
        admitted={"box-9": BoxTerms(("cam-7",), s.NOW_MS), "box-8": BoxTerms(("cam-2", "cam-3"))},
    )


def read(signed: Signed) -> Directory:
    return open_directory(signed.to_bytes(), s.authority().verify_key, site=s.SITE)


def test_the_second_form_comes_back_as_it_was() -> None:
    assert read(full().sign(s.authority(), 2)) == full()


def test_the_first_form_is_what_older_machines_read_and_says_the_same_of_everybody() -> None:
    first = read(full().sign(s.authority(), 1))
    assert first.form == 1
    assert set(decode(full().sign(s.authority(), 1).payload, what="directory")) == {
        "v", "site", "version", "issued_at_ms", "threshold", "principals",
    }  # fmt: skip
    for name, one in full().principals.items():
        assert first.principals[name] == replace(
            one, recordings=(), passkeys=(), version_1_until_ms=None
        )


def test_a_form_to_come_is_named() -> None:
    fields = decode(full().sign(s.authority(), 2).payload, what="directory")
    with pytest.raises(UnsupportedVersion, match=r"form 3.*update"):
        Directory.parse(encode({**fields, "v": 3}))


def test_what_contradicts_itself_is_refused() -> None:
    fields = decode(full().sign(s.authority(), 2).payload, what="directory")
    witness = fields["outside_witnesses"][0]
    said = fields["admitted"]["box-9"]
    changes: tuple[dict[str, object], ...] = (
        {"places": bytes(31)},
        {"outside_witnesses": [witness, witness]},
        {"outside_witnesses": [{**witness, "name": "c1"}]},
        {"outside_witnesses": [{**witness, "verify_key": bytes(32)}]},
        {"outside_witnesses": [{"name": "x"}]},
        {"admitted": {"box-1": said}},
        {"admitted": {"ana": said}},
        {"admitted": {"univ": said}},
        {"admitted": {"authority": said}},
        {"admitted": {"No Name": said}},
        {"admitted": {"box-9": {**said, "cameras": ["cam-7"]}}},
        {"admitted": {"box-9": {"recordings": []}}},
        {"admitted": {"box-9": {**said, "recordings": ["No Name"]}}},
        {"admitted": {"box-9": {**said, "recordings": ["cam-7", "cam-7"]}}},
        {
            "admitted": {
                "box-9": {**said, "recordings": [f"c{n}" for n in range(MAX_RECORDINGS + 1)]}
            }
        },
        {"admitted": {"box-9": {**said, "version_1_until_ms": -1}}},
        {"admitted": {"box-9": {**said, "version_1_until_ms": True}}},
        {"admitted": {"box-9": [["cam-7"], 1]}},
        {"admitted": [["box-9", said]]},
    )
    for change in changes:
        with pytest.raises(MalformedMessage):
            Directory.parse(encode({**fields, **change}))


def test_a_box_that_the_authority_lists_itself_is_no_longer_spoken_of_as_admitted() -> None:
    taken = s.principal("box-9", "box", cameras=("cam-9",))
    listed = full().next_version({**full().principals, "box-9": taken}, at_ms=s.NOW_MS)
    assert set(listed.admitted) == {"box-8"}
    assert read(listed.sign(s.authority(), 2)).principals["box-9"] == taken


def test_a_principal_of_one_form_is_none_of_the_other() -> None:
    one = full().principals["box-1"]
    assert Principal.from_value(one.to_value(2), 2) == one
    with pytest.raises(MalformedMessage):
        Principal.from_value(one.to_value(2), 1)
    with pytest.raises(MalformedMessage):
        Principal.from_value(one.to_value(1), 2)


def test_the_challenge_is_the_digest_of_what_is_signed() -> None:
    said = json.loads(client_data_for(b"message", ORIGIN))
    padded = said["challenge"] + "=" * (-len(said["challenge"]) % 4)
    assert base64.urlsafe_b64decode(padded) == hashlib.sha256(b"message").digest()
