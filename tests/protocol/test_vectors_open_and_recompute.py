"""The committed vectors in docs/vectors are what this code computes and can open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import protocol_samples as s
import pytest

from protocol import hpke
from protocol.about_queries import Refusal
from protocol.auditlog import Checkpoint, check_entries, root_of, verify_checkpoint
from protocol.auditlog import verify_cosignature as cosigned_at
from protocol.epoch import Announcement
from protocol.epoch_keys import combine
from protocol.errors import ScopeExceeded, SharesMissing
from protocol.grant import GRANT_REQUEST_KIND, Grant, GrantRequest
from protocol.keytree import LABELS, expand, tree_top, window_nodes
from protocol.policy import open_policy
from protocol.query import Query
from protocol.sealing import Envelope, open_block
from protocol.sightings import decode_meta, split_rows
from protocol.signing import Signed, VerifyKey
from protocol.templates import open_templates

VECTORS = Path(__file__).parents[2] / "docs" / "vectors"


def load(name: str) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return vector


def resolver(public_hex: str) -> Callable[[str], VerifyKey]:
    return lambda name: VerifyKey(bytes.fromhex(public_hex))


def test_key_tree() -> None:
    vector = load("key-tree")
    root = bytes.fromhex(vector["root"])
    assert set(vector["leaves"]) == set(LABELS)
    for label in LABELS:
        top = tree_top(root, label)
        assert top.key.hex() == vector["tops"][label]
        leaves = expand([top])
        assert {k: leaves[int(k)].hex() for k in vector["leaves"][label]} == vector["leaves"][label]
    for window in vector["windows"]:
        nodes = window_nodes(root, "face", window["first"], window["last"])
        assert [[n.level, n.index] for n in nodes] == window["cover"]
        assert [n.key.hex() for n in nodes] == window["face_nodes"]


def test_slot_keys() -> None:
    vector = load("slot-keys")
    assert [r.hex() for r in s.roots()] == vector["roots"]
    for label, key in s.slot_keys().items():
        assert key.key.hex() == vector["keys"][label]["key"]
        assert key.commitment.hex() == vector["keys"][label]["commitment"]


def test_sealed_to_a_public_key() -> None:
    vector = load("sealed")
    key = hpke.PrivateKey(bytes.fromhex(vector["seed"]))
    assert key.public.raw.hex() == vector["public"]
    opened = key.open(
        bytes.fromhex(vector["sealed"]), purpose=vector["purpose"], context=vector["context"]
    )
    assert opened.hex() == vector["plaintext"]


@pytest.mark.parametrize("kind", ["segment", "live"])
def test_envelope(kind: str) -> None:
    vector = load("envelope")
    raw = bytes.fromhex(vector[kind])
    assert s.envelope(kind).to_bytes() == raw, "sealing is deterministic for a given salt"
    envelope = Envelope.parse(raw)
    envelope.verify(resolver(vector["box_public"]))
    keys = s.slot_keys()
    blocks = envelope.blocks(keys["live"])
    face, meta = (
        open_block(keys[label], block, header=envelope.header_bytes, label=label,
                   nonce=envelope.nonce)
        for label, block in (("face", blocks.templates["face"]), ("meta", blocks.meta))
    )  # fmt: skip
    assert bytes(face).hex() == vector["face_block"]
    assert bytes(meta).hex() == vector["meta_block"]
    rows, scales = split_rows(np.frombuffer(face, np.uint8), s.DIMENSION)
    assert np.allclose(np.linalg.norm(rows * scales[:, None], axis=1), 1, atol=1e-5)
    assert len(decode_meta(bytes(meta), count=envelope.header.count)) == 3


def test_announcement() -> None:
    vector = load("announcement")
    signed = Signed.parse(bytes.fromhex(vector["signed"]), kind="epoch")
    announced = Announcement.parse(signed.verify(resolver(vector["box_public"])), box="box-1")
    assert [sorted(subset) for subset in announced.subsets()] == vector["excluded_subsets"]
    for name, custodian in vector["custodians"].items():
        opened = announced.open_share(
            name, hpke.PrivateKey(bytes.fromhex(custodian["day_key_seed"]))
        )
        assert {n: root.hex() for n, root in opened.items()} == {
            n: vector["roots"][n] for n in custodian["roots"]
        }


def test_query() -> None:
    vector = load("query")
    signed = Signed.parse(bytes.fromhex(vector["signed"]), kind="query")
    query = Query.parse(signed.verify(resolver(vector["requester_public"])))
    assert query == s.query()
    assert signed.digest.hex() == vector["digest"]
    matcher = hpke.PrivateKey(bytes.fromhex(vector["matcher_seed"]))
    opened = open_templates(
        bytes.fromhex(vector["sealed_templates"]), matcher, query, query_digest=signed.digest
    )
    assert opened["P-17"][0].digest.hex() == vector["template_digest"]


def test_approval_and_policy() -> None:
    vector = load("approval")
    policy = open_policy(
        vector["policy"].encode(),
        bytes.fromhex(vector["policy_signature"]),
        VerifyKey(bytes.fromhex(vector["authority_public"])),
    )
    assert policy.digest.hex() == vector["policy_digest"]
    for item in vector["approvals"]:
        signed = Signed.parse(bytes.fromhex(item["signed"]), kind="approval")
        signed.verify(resolver(item["public"]))
        assert signed.to_bytes() == s.approval(s.case().query, item["approver"]).to_bytes()


def test_refusal() -> None:
    vector = load("refusal")
    signed = Signed.parse(bytes.fromhex(vector["signed"]), kind="refusal")
    refusal = Refusal.parse(signed.verify(resolver(vector["public"])))
    assert refusal.reason == vector["reason"]
    assert signed.to_bytes() == s.refusal(s.case().query, vector["approver"]).to_bytes()


def test_grant() -> None:
    vector = load("grant")
    matcher = hpke.PrivateKey(bytes.fromhex(vector["matcher_seed"]))
    announced = Announcement.parse(
        Signed.parse(bytes.fromhex(vector["announcement"]), kind="epoch").payload, box="box-1"
    )
    released = []
    for item in vector["grants"]:
        signed = Signed.parse(bytes.fromhex(item["signed"]), kind="grant")
        grant = Grant.parse(signed.verify(resolver(item["public"])))
        released += grant.open(matcher)
    keys = combine(announced, released)
    for label in vector["labels"]:
        assert keys.key(s.SLOT, label) == s.slot_keys()[label]
    with pytest.raises(SharesMissing):
        combine(announced, released[:1])


def test_grant_requests() -> None:
    vector = load("grant")["requests"]
    read = {}
    for how in ("in_full", "by_digest"):
        signed = Signed.parse(bytes.fromhex(vector[how]), kind=GRANT_REQUEST_KIND)
        read[how] = GrantRequest.parse(signed.verify(resolver(vector["public"])))
    digest = bytes.fromhex(vector["query_digest"])
    assert (read["by_digest"].query, read["by_digest"].query_digest) == (b"", digest)
    assert read["in_full"].naming(digest) == read["by_digest"]
    assert read["by_digest"].having(read["in_full"].query) == read["in_full"]
    with pytest.raises(ScopeExceeded):
        read["by_digest"].having(s.case(live=False).query.to_bytes())


def test_checkpoint() -> None:
    vector = load("checkpoint")
    entries = [bytes.fromhex(entry) for entry in vector["entries"]]
    assert [root_of(entries[:n]).hex() for n in range(6)] == vector["roots"]
    head = verify_checkpoint(
        vector["note"],
        origin="sealtrace/vectors/c1",
        key=VerifyKey(bytes.fromhex(vector["log_public"])),
    )
    assert head == Checkpoint("sealtrace/vectors/c1", 5, root_of(entries))
    check_entries(entries, head)
    witness_key = VerifyKey(bytes.fromhex(vector["witness_public"]))
    assert cosigned_at(vector["note"], witness=vector["witness"], key=witness_key) == 1_771_000_000
