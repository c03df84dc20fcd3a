"""A log that was rewritten, cut or forked does not verify; checkpoints follow C2SP's note form."""

from __future__ import annotations

import base64
import hashlib

import protocol_samples as s
import pytest
from examples import step
from hypothesis import given
from hypothesis import strategies as st

from protocol.auditlog import (
    Checkpoint,
    check_consistency,
    check_entries,
    check_inclusion,
    cosign,
    parse_checkpoint,
    root_of,
    seal_entry,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from protocol.encoding import decode_base64
from protocol.errors import (
    AuthenticationFailed,
    CheckpointInvalid,
    EntryAltered,
    LogForked,
    LogInconsistent,
    MalformedMessage,
)
from protocol.merkle import MerkleTree, leaf_hash
from protocol.merkle_proofs import consistency_form, inclusion_form

ORIGIN = "sealtrace/vectors/c1"
ENTRIES = st.lists(st.binary(max_size=20), min_size=1, max_size=20)


def head(entries: list[bytes]) -> Checkpoint:
    return Checkpoint(ORIGIN, len(entries), root_of(entries))


def tree(entries: list[bytes]) -> MerkleTree:
    return MerkleTree(map(leaf_hash, entries))


def reference_root(entries: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    split = 1 << ((len(entries) - 1).bit_length() - 1)
    left, right = reference_root(entries[:split]), reference_root(entries[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@given(ENTRIES | st.just([]))
def test_roots_are_those_of_rfc_9162(entries: list[bytes]) -> None:
    assert root_of(entries) == reference_root(entries)


def test_the_leaf_of_the_empty_entry_is_the_known_one() -> None:
    known = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"").hex() == known


@given(ENTRIES, st.data())
def test_an_altered_entry_is_found(entries: list[bytes], data: st.DataObject) -> None:
    checkpoint = head(entries)
    check_entries([*entries, b"later"], checkpoint)
    position = data.draw(st.integers(0, len(entries) - 1))
    altered = [*entries[:position], entries[position] + b"!", *entries[position + 1 :]]
    with pytest.raises(EntryAltered):
        check_entries(altered, checkpoint)
    with pytest.raises(LogInconsistent):
        check_entries(entries[:-1], checkpoint)


@given(ENTRIES, ENTRIES)
def test_growth_is_proved_and_rewriting_is_not(entries: list[bytes], more: list[bytes]) -> None:
    grown = tree([*entries, *more])
    proof = consistency_form(len(entries), len(entries) + len(more), grown.subtree)
    check_consistency(head(entries), head([*entries, *more]), proof)
    rewritten = [entries[0] + b"!", *entries[1:]]
    with pytest.raises(LogInconsistent):
        check_consistency(head(rewritten), head([*entries, *more]), proof)
    with pytest.raises(LogForked):
        check_consistency(head(rewritten), head(entries), None)
    with pytest.raises(LogInconsistent):
        check_consistency(head([*entries, *more]), head(entries), proof)
    with pytest.raises(LogInconsistent):
        check_consistency(head(entries), head([*entries, *more]), None)
    with pytest.raises(LogInconsistent):
        check_consistency(head(entries), head([*entries, *more]), {"type": "consistency"})


@given(ENTRIES, st.data())
def test_inclusion_is_proved_for_the_entry_and_its_place(
    entries: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(entries) - 1))
    proof = inclusion_form(index, len(entries), tree(entries).subtree)
    check_inclusion(entries[index], index, head(entries), proof)
    with pytest.raises(EntryAltered):
        check_inclusion(entries[index] + b"!", index, head(entries), proof)
    with pytest.raises(EntryAltered):
        check_inclusion(entries[index], index + 1, head(entries), proof)


def test_checkpoints_are_signed_and_cosigned() -> None:
    checkpoint = head([b"a", b"b"])
    note = sign_checkpoint(checkpoint, s.signing_key("c1"))
    assert note.startswith(f"{ORIGIN}\n2\n")
    key = s.signing_key("c1").verify_key
    assert verify_checkpoint(note, origin=ORIGIN, key=key) == checkpoint
    witness, witness_key = "sealtrace/vectors/c2", s.signing_key("c2")
    note += cosign(checkpoint, witness=witness, key=witness_key, time_s=99)
    assert verify_checkpoint(note, origin=ORIGIN, key=key) == checkpoint
    assert verify_cosignature(note, witness=witness, key=witness_key.verify_key) == 99
    with pytest.raises(CheckpointInvalid, match="not cosigned"):
        verify_cosignature(note, witness="sealtrace/vectors/c3", key=witness_key.verify_key)
    with pytest.raises(CheckpointInvalid):
        verify_checkpoint(note, origin=ORIGIN, key=witness_key.verify_key)
    with pytest.raises(CheckpointInvalid):
        verify_checkpoint(note, origin="sealtrace/vectors/c9", key=key)


@given(st.data())
def test_an_altered_checkpoint_does_not_verify(data: st.DataObject) -> None:
    note = sign_checkpoint(head([b"a", b"b"]), s.signing_key("c1"))
    position = data.draw(st.integers(0, len(note) - 2))
    other = data.draw(st.characters(codec="ascii", exclude_characters=note[position]))
    altered = note[:position] + other + note[position + 1 :]
    with pytest.raises(CheckpointInvalid):
        verify_checkpoint(altered, origin=ORIGIN, key=s.signing_key("c1").verify_key)


@pytest.mark.slow
def test_no_checkpoint_has_a_second_spelling() -> None:
    signer = s.signing_key("c1")
    note, key = sign_checkpoint(head([b"a", b"b"]), signer), signer.verify_key
    verify_checkpoint(note, origin=ORIGIN, key=key)
    alphabet = (
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t\r\x0b\x0c\x1c\x85"
    )
    last = range(len(note) - 8, len(note))  # where a signature could end in another way
    for position in {*range(0, len(note), step()), *last}:
        for other in set(alphabet) - {note[position]}:
            for altered in (
                note[:position] + other + note[position + 1 :],
                note[:position] + other + note[position:],
            ):
                with pytest.raises(CheckpointInvalid):
                    verify_checkpoint(altered, origin=ORIGIN, key=key)
    for altered in (note[:-1], note[:-1] + "\r\n", note + "\n", note + "=", " " + note):
        with pytest.raises(CheckpointInvalid):
            verify_checkpoint(altered, origin=ORIGIN, key=key)


@given(st.binary(max_size=80), st.data())
def test_base64_is_read_in_its_one_spelling_alone(data: bytes, draw: st.DataObject) -> None:
    spelt = base64.b64encode(data).decode()
    assert decode_base64(spelt, what="data") == data
    if spelt:
        place = draw.draw(st.integers(0, len(spelt) - 1))
        other = spelt[:place] + draw.draw(st.characters()) + spelt[place + 1 :]
        try:
            assert (decode_base64(other, what="data") == data) == (other == spelt)
        except MalformedMessage:
            assert other != spelt
    for wrong in (spelt + "=", spelt + "\n", " " + spelt):
        with pytest.raises(MalformedMessage):
            decode_base64(wrong, what="data")


def test_a_cosignature_does_not_pass_to_another_checkpoint() -> None:
    key = s.signing_key("c2")
    line = cosign(head([b"a"]), witness="w", key=key, time_s=1)
    note = sign_checkpoint(head([b"a", b"b"]), s.signing_key("c1")) + line
    assert len(parse_checkpoint(note)[1]) == 2
    with pytest.raises(CheckpointInvalid, match="false"):
        verify_cosignature(note, witness="w", key=key.verify_key)


def test_an_entry_opens_for_the_auditors_alone() -> None:
    eve = s.sealing_key("eve")
    entry = seal_entry(
        "grant", {"scope": "cam-1"}, time_ms=5, actor="c1", query_id=b"q",
        auditors={"eve": eve.public},
    )  # fmt: skip
    assert b"cam-1" not in entry.to_bytes()
    assert type(entry).parse(entry.to_bytes()) == entry
    assert entry.open("eve", eve) == {"scope": "cam-1"}
    with pytest.raises(AuthenticationFailed):
        entry.open("eve", s.sealing_key("ana"))
    with pytest.raises(AuthenticationFailed):
        entry.open("ana", s.sealing_key("ana"))


def test_a_log_does_not_sign_for_another_logs_head() -> None:
    key, other = s.signing_key("c1"), "sealtrace/vectors/c2"
    note = Checkpoint(other, 1, root_of([b"x"])).note()
    own = sign_checkpoint(Checkpoint(ORIGIN, 1, root_of([b"x"])), key)
    assert verify_checkpoint(own, origin=ORIGIN, key=key.verify_key)
    # The key's own id and name, over a note that speaks of another log.
    blob = base64.b64decode(own.split()[-1])[:4] + key.sign_bytes(note.encode())
    mixed = f"{note}\n\u2014 {ORIGIN} {base64.b64encode(blob).decode()}\n"
    with pytest.raises(CheckpointInvalid, match=f"a checkpoint of '{other}', not of '{ORIGIN}'"):
        verify_checkpoint(mixed, origin=ORIGIN, key=key.verify_key)
