"""Envelopes of version 2: what opens with which key, what an observer sees, what is refused."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import decode, encode
from protocol.errors import (
    AuthenticationFailed,
    KeyCommitmentMismatch,
    MalformedMessage,
    SignatureInvalid,
    UnsupportedVersion,
)
from protocol.keytree import COVER, META, ModalityKey
from protocol.names import SlotName
from protocol.sealing import LIVE_ENVELOPE, SEGMENT, open_block_into, opened_size
from protocol.sealing import Envelope as EnvelopeOfVersion1
from protocol.sightings import Quantised, split_rows
from protocol.signing import VerifyKey
from protocol.v2.blocks import Space, lay_out, true_rows
from protocol.v2.envelopes import Envelope, parse_envelope
from protocol.v2.header import BlockBindings, Header
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.padding import fill, pad, size_class, unpad
from protocol.v2.rows import Coverage, Rows
from protocol.v2.sightings import Row, Sighting


def resolve(name: str) -> VerifyKey:
    return s.signing_key(name).verify_key


def test_what_was_sealed_opens_row_by_row() -> None:
    seen = [v2.sighting("one"), v2.sighting("turned away", face=False), v2.sighting("two")]
    came = Envelope.parse(v2.envelope(seen=seen).to_bytes())
    came.verify(resolve)
    rows = came.rows(v2.key(COVER))
    assert rows.coverage == v2.COVERAGE
    assert [rows.id_of(number) for number in range(3)] == [one.sighting_id for one in seen]
    for number, one in enumerate(seen):
        assert came.row(rows, number, v2.key_of_row(one.sighting_id)) == one.row


def test_blocks_opened_end_to_end_are_one_matrix_without_their_padding() -> None:
    buffer, at = bytearray(1 << 16), 0
    names = [["a", "b", "c"], ["d"], [f"n{number}" for number in range(11)]]
    for group in names:
        came = v2.envelope(seen=[v2.sighting(name) for name in group])
        entry, block = came.block("face")
        assert entry.space is not None
        view = memoryview(buffer)[at : at + opened_size(block)]
        binding = came.header.binding("face", entry.space)
        open_block_into(
            v2.key("face"), block, view, header=binding, label="", nonce=came.header.nonce
        )
        at += true_rows(view, entry.space) * entry.space.width
    table, scales = split_rows(np.frombuffer(buffer, np.uint8, at), s.DIMENSION)
    flat = [name for group in names for name in group]
    assert len(table) == len(flat)
    for number, name in enumerate(flat):
        assert int(np.argmax(v2.scores(table, scales, name))) == number


def test_who_shows_no_face_has_a_row_and_no_template() -> None:
    came = v2.envelope()
    rows = came.rows(v2.key(COVER))
    assert list(rows.sighting_at("face", np.array([0, 1]))) == [0, 2]
    with pytest.raises(MalformedMessage):
        rows.sighting_at("face", np.array([2]))


def test_nobody_seen_is_a_segment_all_the_same_and_tells_what_was_watched() -> None:
    came = v2.envelope(seen=[], always=frozenset({"face"}))
    rows = came.rows(v2.key(COVER))
    assert len(rows) == 0
    assert rows.coverage is not None
    assert rows.coverage.watched_s == 840
    assert true_rows(memoryview(came.open("face", v2.key("face"))), v2.SPACE) == 0


@pytest.mark.slow
def test_an_observer_cannot_tell_one_person_from_eight() -> None:
    def sizes(count: int) -> list[int]:
        seen = [v2.sighting(f"p{number}", face=bool(number % 2)) for number in range(count)]
        seen = [replace(one, row=replace(one.row, encounters=())) for one in seen]
        return [len(block) for block in v2.envelope(seen=seen, always=frozenset({"face"})).blocks]

    assert sizes(0) == sizes(1) == sizes(8)
    assert len({tuple(sizes(count)) for count in range(65)}) <= 10


def test_the_header_tells_no_count() -> None:
    few = v2.envelope(seen=[v2.sighting("one")])
    many = v2.envelope(seen=[v2.sighting(f"p{number}") for number in range(5)])
    one, other = (decode(e.header_bytes, what="header") for e in (few, many))
    differing = {name for name in one if one[name] != other[name]}
    assert differing == {"blocks"}  # their digests
    assert "count" not in one


def test_metadata_of_one_row_does_not_open_another() -> None:
    came = v2.envelope()
    rows = came.rows(v2.key(COVER))
    with pytest.raises(KeyCommitmentMismatch):
        came.row(rows, 2, v2.key_of_row(rows.id_of(0)))


def test_a_row_moved_to_another_place_does_not_open() -> None:
    """Offsets say where a row lies; its seal says whose it is."""
    came = v2.envelope()
    rows = came.rows(v2.key(COVER))
    swapped = replace(rows, offsets=np.array([*rows.offsets[1:], rows.offsets[-1] + 1]))
    with pytest.raises((KeyCommitmentMismatch, AuthenticationFailed)):
        came.row(swapped, 0, v2.key_of_row(rows.id_of(0)))
    beyond = replace(rows, offsets=rows.offsets + 1_000_000)
    with pytest.raises(MalformedMessage):
        came.row(beyond, 0, v2.key_of_row(rows.id_of(0)))


def test_a_live_envelope_shows_nothing_but_that_it_is_there() -> None:
    came = Envelope.parse(v2.envelope(LIVE_ENVELOPE).to_bytes())
    came.verify(resolve)
    assert [entry.label for entry in came.header.blocks] == ["live"]
    inner = came.inner(v2.key("live"))
    rows = inner.rows(v2.key(COVER))
    assert len(rows) == 3
    assert rows.coverage is None
    assert inner.row(rows, 0, v2.key_of_row(rows.id_of(0))) == v2.sighting("one").row
    with pytest.raises(KeyCommitmentMismatch):
        came.inner(v2.key(COVER))


@pytest.mark.parametrize("place", range(3))
def test_an_altered_block_is_noticed_without_any_key(place: int) -> None:
    came = v2.envelope()
    blocks = list(came.blocks)
    blocks[place] = bytes([blocks[place][0] ^ 1]) + blocks[place][1:]
    with pytest.raises(AuthenticationFailed):
        replace(came, blocks=tuple(blocks)).verify(resolve)


def test_a_header_of_another_box_or_an_altered_one_does_not_verify() -> None:
    came = v2.envelope()
    altered = replace(came.header, sequence=8).to_bytes()
    with pytest.raises(SignatureInvalid):
        Envelope.parse(replace(came, header_bytes=altered).to_bytes()).verify(resolve)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": s.EPOCH + 1},
        {"generation": s.GENERATION + 1},
        {"slot": s.SLOT + 1},
        {"address": replace(s.ADDRESS, box="box-9")},
        {"address": replace(s.ADDRESS, camera="cam-9")},
    ],
)
def test_a_key_is_bound_to_its_box_camera_and_slot(change: dict[str, object]) -> None:
    other = replace(v2.NAME, **change)  # type: ignore[arg-type]
    leaves = [v2.leaf(root, "face") for root in s.roots()]
    assert slot_key(leaves, other, "face").key != v2.key("face").key
    row_id = s.fixed("id one", 8)
    values = [row_value(v2.leaf(root, META), row_id) for root in s.roots()]
    assert row_key(values, other, row_id).key != v2.key_of_row(row_id).key


def test_no_key_of_version_1_opens_a_block_of_version_2() -> None:
    came = v2.envelope()
    for label, key in s.slot_keys().items():
        if came.has(label):
            with pytest.raises(KeyCommitmentMismatch):
                came.open(label, key)


def test_each_version_is_read_as_what_it_is() -> None:
    assert isinstance(parse_envelope(v2.envelope().to_bytes()), Envelope)
    assert isinstance(parse_envelope(s.envelope().to_bytes()), EnvelopeOfVersion1)
    with pytest.raises(UnsupportedVersion, match=r"version 1.*update"):
        Header.parse(s.envelope().header_bytes)
    for neither in (b"", encode([b"", b"", 1]), encode([b"", [b""], b""])):
        with pytest.raises(MalformedMessage):
            parse_envelope(neither)


def test_seals_of_one_row_in_two_envelopes_share_no_nonce() -> None:
    live, segment = v2.envelope(LIVE_ENVELOPE), v2.envelope()
    assert live.header.nonce != segment.header.nonce


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replaces": ((3, 9),)}, "before"),
        ({"replaces": ((3, 4), (5, 6))}, "apart"),
        ({"replaces": ((4, 3),)}, "ascending"),
        ({"kind": LIVE_ENVELOPE}, "live"),
        ({"blocks": ()}, "blocks"),
        ({"origin": "dream"}, "origin"),
        ({"time_source": "guess"}, "time_source"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(change: dict[str, object], words: str) -> None:
    header = replace(v2.envelope().header, **change)  # type: ignore[arg-type]
    with pytest.raises(MalformedMessage, match=words):
        Header.parse(header.to_bytes())


def test_a_header_that_lists_a_block_twice_or_templates_without_a_space_is_refused() -> None:
    header = v2.envelope().header
    twice = replace(header, blocks=(*header.blocks, header.blocks[0]))
    with pytest.raises(MalformedMessage, match="twice"):
        Header.parse(twice.to_bytes())
    spaceless = replace(header, blocks=(replace(header.blocks[0], space=None), *header.blocks[1:]))
    with pytest.raises(MalformedMessage, match="space"):
        Header.parse(spaceless.to_bytes())


def test_an_encoding_that_is_not_known_is_read_as_a_header_and_skipped_as_a_block() -> None:
    header = v2.envelope().header
    masked = replace(header.blocks[0], space=Space(s.MODEL, "mask16"))
    again = Header.parse(replace(header, blocks=(masked, *header.blocks[1:])).to_bytes())
    assert again.blocks[0].space is not None
    with pytest.raises(MalformedMessage, match="mask16"):
        _ = again.blocks[0].space.width


def test_a_block_that_claims_more_rows_than_it_holds_is_refused() -> None:
    block = lay_out([(v2.template("a").row, 0.1)], v2.SPACE)
    assert true_rows(memoryview(block), v2.SPACE) == 1
    block[-4:] = (9).to_bytes(4, "little")
    with pytest.raises(MalformedMessage, match="more rows"):
        true_rows(memoryview(block), v2.SPACE)
    with pytest.raises(MalformedMessage):
        true_rows(memoryview(block)[:-1], v2.SPACE)
    with pytest.raises(MalformedMessage):
        true_rows(memoryview(b"")[:0], v2.SPACE)


def test_one_id_twice_is_refused_before_it_is_sealed() -> None:
    with pytest.raises(MalformedMessage, match="twice"):
        v2.envelope(seen=[v2.sighting("one"), v2.sighting("one")])


def test_rows_that_lie_about_their_places_are_refused() -> None:
    honest = v2.envelope().rows(v2.key(COVER))
    for places in ([0, 1, 1], [1, 2, 3], [5, 0, 1]):
        lying = replace(honest, places={"face": np.array(places, np.uint32)})
        with pytest.raises(MalformedMessage, match="numbered"):
            lying.to_bytes()
    for offsets in ([1, 2, 3, 4], [0, 5, 5, 9], [0, 9, 5, 10]):
        with pytest.raises(MalformedMessage, match="behind"):
            replace(honest, offsets=np.array(offsets, np.uint32)).to_bytes()


def test_more_seconds_than_a_slot_has_are_refused() -> None:
    with pytest.raises(MalformedMessage):
        Coverage(watched_s=800, dark_s=101)
    with pytest.raises(MalformedMessage):
        Coverage(watched_s=-1)


@given(st.integers(0, 5000), st.sampled_from([8, 512]))
def test_a_size_class_holds_its_size_and_is_at_most_twice_as_large(size: int, unit: int) -> None:
    held = size_class(size, unit)
    assert size <= held
    assert held == unit or held < 2 * size
    assert held % unit == 0
    assert (held // unit).bit_count() == 1


@given(st.binary(max_size=2000), st.booleans())
def test_padding_comes_off_again(body: bytes, padded: bool) -> None:
    assert unpad(pad(body, padded=padded)) == body
    assert fill(body, padded=padded).startswith(body)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20),
    st.sampled_from([SEGMENT, LIVE_ENVELOPE]),
    st.booleans(),
)
def test_any_batch_comes_back_as_it_was(
    people: list[tuple[bool, bool]], kind: str, padded: bool
) -> None:
    clothes = Space("clothes-8@11111111")
    seen: list[Sighting] = []
    for number, (face, dressed) in enumerate(people):
        one = v2.sighting(f"p{number}", face=face)
        templates = dict(one.templates)
        if dressed:
            rng = np.random.default_rng(number)
            row = rng.integers(-127, 128, 8).astype(np.int8)
            templates["appearance"] = Quantised(row, 0.01)
        seen.append(replace(one, templates=templates))
    spaces = {"face": v2.SPACE, "appearance": clothes}
    came = Envelope.parse(v2.envelope(kind, seen=seen, padded=padded, spaces=spaces).to_bytes())
    came.verify(resolve)
    inner = came.inner(v2.key("live")) if kind == LIVE_ENVELOPE else came
    rows = inner.rows(v2.key(COVER))
    assert len(rows) == len(seen)
    for modality, space in spaces.items():
        owners = [n for n, one in enumerate(seen) if modality in one.templates]
        assert inner.has(modality) == bool(owners)
        if not owners:
            continue
        opened = inner.open(modality, v2.key(modality))
        count = true_rows(memoryview(opened), space)
        assert list(rows.sighting_at(modality, np.arange(count))) == owners
        table, _ = split_rows(np.frombuffer(opened, np.uint8, count * space.width), space.width - 4)
        for place, number in enumerate(owners):
            assert np.array_equal(table[place], seen[number].templates[modality].row)
    for number, one in enumerate(seen):
        assert inner.row(rows, number, v2.key_of_row(one.sighting_id)) == one.row


@given(st.binary(max_size=400))
def test_a_row_of_random_bytes_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Row.parse(data)
    with pytest.raises(MalformedMessage):
        Rows.parse(data)


def test_a_row_with_a_field_out_of_range_is_refused() -> None:
    good = decode(v2.sighting("one").row.to_bytes(), what="row")
    for place, value in [
        (0, -1),
        (1, -1),
        (1, 2**62),
        (2, 3),
        (3, 256),
        (4, -1),
        (5, [[0, -1, 0, 0]]),
        (5, [[1, 2, 7, 0]]),
        (5, [[1, 2, 0, 256]]),
        (6, {"gait": "x"}),
        (6, {"face": ""}),
        (7, b"short"),
        (8, [[b"short", b"x" * 8, 1, 2, 3, None, None, [], []]]),
        (8, [[b"x" * 8, b"x" * 8, 2, 1, 3, None, None, [], []]]),
        (8, [[b"x" * 8, b"x" * 8, 1, 2, 3, 70_000, None, [], []]]),
    ]:
        changed = list(good)
        changed[place] = value
        with pytest.raises(MalformedMessage):
            Row.parse(encode(changed))
    with pytest.raises(MalformedMessage):
        Row.parse(encode(good[:-1]))


def test_what_was_plain_is_wiped_after_sealing(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bytearray] = []

    def keep(*args: object, **more: object) -> bytearray:
        held.append(lay_out(*args, **more))  # type: ignore[arg-type]
        return held[-1]

    monkeypatch.setattr("protocol.v2.envelopes.lay_out", keep)
    v2.envelope()
    assert held
    assert all(not any(block) for block in held)


def test_a_key_with_a_missing_root_is_no_key() -> None:
    with pytest.raises(MalformedMessage):
        slot_key([], v2.NAME, "face")
    with pytest.raises(MalformedMessage):
        slot_key([os.urandom(31)], v2.NAME, "face")
    short = slot_key([v2.leaf(root, "face") for root in s.roots()[:2]], v2.NAME, "face")
    assert isinstance(short, ModalityKey)
    with pytest.raises(KeyCommitmentMismatch):
        v2.envelope().open("face", short)


@given(
    name=st.builds(
        lambda slot, generation: replace(v2.NAME, slot=slot, generation=generation),
        st.integers(0, 95),
        st.integers(1, 2**62),
    ),
    sequence=st.integers(0, 2**62),
    salt=st.binary(min_size=8, max_size=8),
    space=st.none() | st.text("abc-@1é", min_size=1, max_size=300).map(Space),
    kind=st.sampled_from([SEGMENT, LIVE_ENVELOPE]),
)
def test_what_binds_many_blocks_is_what_binds_each(
    name: SlotName, sequence: int, salt: bytes, space: Space | None, kind: str
) -> None:
    header = replace(v2.header(kind), name=name, sequence=sequence, salt=salt)
    bindings = BlockBindings(
        kind,
        name.address,
        epoch=name.epoch,
        generation=name.generation,
        label="face",
        space=space,
    )
    assert bindings.of(name.slot, sequence, salt) == header.binding("face", space)
    with pytest.raises(MalformedMessage):
        bindings.of(name.slot, sequence, salt[1:])
