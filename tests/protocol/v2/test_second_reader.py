"""A reader of segments written from docs/protocol.md alone: nothing of ours, two libraries.

It opens docs/vectors/segment.json from the roots and the envelopes' bytes, and derives a row's key
the way custodians do.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VECTORS = Path(__file__).parents[3] / "docs" / "vectors"
CONTEXT = "sealtrace/v2"
NONE = 0xFFFFFFFF


@pytest.fixture(scope="module")
def vector() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((VECTORS / "segment.json").read_text())
    return value


def encoded(value: object) -> bytes:
    return cbor2.dumps(value, canonical=True)


def mac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def leaf(root: bytes, label: str, slot: int) -> bytes:
    node = mac(root, f"{CONTEXT}/tree/{label}".encode())
    for bit in f"{slot:07b}":
        node = mac(node, b"\x01" if bit == "1" else b"\x00")
    return node


class Segment:
    """One envelope, opened from the roots."""

    def __init__(self, data: bytes, roots: list[bytes], public: bytes) -> None:
        self.roots = roots
        header_bytes, self.blocks, signature = cbor2.loads(data)
        self.header = cbor2.loads(header_bytes)
        signed = encoded(["sealtrace/v1", "envelope", self.header["box"], header_bytes])
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
        self.entries = self.header["blocks"]
        for (*_, digest), block in zip(self.entries, self.blocks, strict=True):
            assert hashlib.sha256(block).digest() == digest
        if self.header["kind"] == "live":
            inside = cbor2.loads(self.open("live"))
            self.entries = [entry for entry, _ in inside]
            self.blocks = [block for _, block in inside]

    @property
    def place(self) -> list[object]:
        names = ("site", "box", "camera", "epoch", "generation", "slot")
        return [self.header[name] for name in names]

    def unseal(
        self, values: list[bytes], info: list[object], sealed: bytes, last: list[Any]
    ) -> bytes:
        kdf = HKDF(hashes.SHA256(), 64, None, encoded(info))
        derived = kdf.derive(b"".join(values))
        assert sealed[:32] == derived[32:], "sealed under another key"
        nonce = self.header["salt"][:4] + struct.pack(">Q", self.header["sequence"])
        head = [CONTEXT, self.header["kind"], *self.place]
        bound = encoded([*head, self.header["sequence"], self.header["salt"], *last])
        return AESGCM(derived[:32]).decrypt(nonce, sealed[32:], bound)

    def open(self, label: str) -> bytes:
        entry, block = next(
            (entry, block)
            for entry, block in zip(self.entries, self.blocks, strict=True)
            if entry[0] == label
        )
        leaves = [leaf(root, label, self.header["slot"]) for root in self.roots]
        return self.unseal(leaves, [CONTEXT, "slot-key", *self.place, label], block, entry[:3])

    def rows(self) -> dict[str, Any]:
        value: dict[str, Any] = cbor2.loads(self.open("cover").rstrip(b"\x00")[:-1])
        return value

    def counts(self) -> dict[str, Any]:
        value: dict[str, Any] = cbor2.loads(self.open("counts").rstrip(b"\x00")[:-1])
        return value

    def row(self, number: int) -> list[Any]:
        rows = self.rows()
        row_id = rows["ids"][8 * number : 8 * number + 8]
        begin, end = struct.unpack_from("<2I", rows["offsets"], 4 * number)
        sealed = next(
            block
            for entry, block in zip(self.entries, self.blocks, strict=True)
            if entry[0] == "meta"
        )
        values = [mac(leaf(r, "meta", self.header["slot"]), b"row" + row_id) for r in self.roots]
        info = [CONTEXT, "row-key", *self.place, row_id]
        value: list[Any] = cbor2.loads(self.unseal(values, info, sealed[begin:end], [row_id]))
        return value

    def face(self, number: int) -> bytes | None:
        (place,) = struct.unpack_from("<I", self.rows()["places"]["face"], 4 * number)
        space = next(entry[1] for entry in self.entries if entry[0] == "face")
        width = int(space.split("@")[0].rsplit("-", 1)[1]) + 4
        opened = self.open("face")
        (count,) = struct.unpack("<I", opened[-4:])
        if place == NONE:
            return None
        assert place < count
        return opened[place * width : (place + 1) * width]


def read(vector: dict[str, Any], kind: str) -> Segment:
    roots = [bytes.fromhex(root) for root in vector["roots"]]
    return Segment(bytes.fromhex(vector[kind]), roots, bytes.fromhex(vector["box_public"]))


@pytest.mark.parametrize("kind", ["segment", "live"])
def test_the_documents_alone_suffice_to_open_what_a_box_sealed(
    vector: dict[str, Any], kind: str
) -> None:
    segment = read(vector, kind)
    rows = segment.rows()
    assert rows["coverage"] == (vector["coverage"] if kind == "segment" else None)
    if kind == "segment":
        assert segment.counts() == vector["counts"]
    assert len(rows["ids"]) == 8 * len(vector["sightings"])
    for number, person in enumerate(vector["sightings"]):
        assert rows["ids"][8 * number :][:8].hex() == person["id"]
        assert rows["episodes"][8 * number :][:8].hex() == person["episode"]
        assert encoded(segment.row(number)).hex() == person["row"]
        face = segment.face(number)
        assert (None if face is None else face.hex()) == person["templates"]["face"]


def test_the_second_reader_refuses_what_another_box_signed(vector: dict[str, Any]) -> None:
    rfc_8032_test_1 = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    other = {**vector, "box_public": rfc_8032_test_1}
    with pytest.raises(InvalidSignature):
        read(other, "segment")


def test_the_documents_alone_suffice_to_read_on_which_consent_a_query_rests() -> None:
    told = json.loads((VECTORS / "query-document.json").read_text())
    kind, signer, payload, signature = cbor2.loads(bytes.fromhex(told["signed"]))
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["public"]))
    signed = encoded(["sealtrace/v1", kind, signer, payload])
    public.verify(signature, signed)
    (subject,) = cbor2.loads(payload)["subjects"]
    names = ("pseudonym", "consent_reference")
    assert [subject[name] for name in names] == [told[name] for name in names]
    assert subject["consent_document"].hex() == told["consent_document"]


def test_the_documents_alone_suffice_to_read_which_hours_are_told_of() -> None:
    told = json.loads((VECTORS / "camera-hours.json").read_text())
    kind, signer, payload, signature = cbor2.loads(bytes.fromhex(told["signed"]))
    assert (kind, signer) == ("camera-hours", "aggregator")
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["aggregator_public"]))
    public.verify(signature, encoded(["sealtrace/v1", kind, signer, payload]))
    read = cbor2.loads(payload)
    assert {name: read[name] for name in ("site", "box", "camera")} == {
        name: told[name] for name in ("site", "box", "camera")
    }
    names = ("live", "elsewhere", "own")
    days = [
        {"epoch": epoch}
        | {
            name: [slot for slot in range(96) if bits[slot // 8] >> slot % 8 & 1]
            for name, bits in zip(names, listed, strict=True)
        }
        for epoch, *listed in read["days"]
    ]
    assert days == told["days"]
