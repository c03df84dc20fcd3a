"""What is sealed opens only with the right key, unaltered, and gives back what went in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import protocol_samples as s
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protocol import hpke
from protocol.directory import Directory, open_directory
from protocol.errors import (
    AuthenticationFailed,
    DirectoryRollback,
    KeyCommitmentMismatch,
    MalformedMessage,
    ModelMismatch,
    ProtocolError,
    SealError,
    SignatureInvalid,
)
from protocol.keytree import FACE
from protocol.results import Candidate, row_of_version_1
from protocol.sealing import LIVE_ENVELOPE, Envelope, model_dimension, open_block, seal_block
from protocol.sightings import (
    Encounter,
    MaskStatus,
    Sighting,
    decode_meta,
    dequantise_template,
    encode_meta,
    encode_template_block,
    quantise_template,
    split_rows,
)
from protocol.signing import Signed
from protocol.templates import SubjectFile, open_templates, seal_templates
from protocol.v2.sightings import Row

FRACTIONS = st.floats(0, 1)
ENCOUNTERS = st.builds(
    Encounter,
    st.binary(min_size=8, max_size=8),
    st.none() | st.floats(0, 600),
    st.floats(0, 6000),
    st.sampled_from(MaskStatus),
    FRACTIONS,
)
SIGHTINGS = st.builds(
    lambda sid, start, length, mask, confidence, quality, met: Sighting(
        sid, start, start + length, mask, confidence, quality, {}, tuple(met)
    ),
    st.binary(min_size=8, max_size=8),
    st.integers(0, 2**45),
    st.integers(0, 60_000),
    st.sampled_from(MaskStatus),
    FRACTIONS,
    FRACTIONS,
    st.lists(ENCOUNTERS, max_size=4),
)
VECTORS = hnp.arrays(np.float64, st.integers(1, 300), elements=st.floats(-1, 1)).filter(
    lambda v: np.linalg.norm(v) > 1e-3
)


@given(st.lists(SIGHTINGS, min_size=1, max_size=8))
def test_meta_gives_back_what_went_in(seen: list[Sighting]) -> None:
    body = encode_meta(seen)
    assert len(body) % 512 == 0
    meta = decode_meta(body, count=len(seen))
    for number, before in enumerate(seen):
        after = meta.sighting(number)
        assert after.sighting_id == before.sighting_id
        assert (after.first_seen_ms, after.last_seen_ms) == (
            before.first_seen_ms,
            before.last_seen_ms,
        )
        assert after.mask is before.mask
        assert after.mask_confidence == pytest.approx(before.mask_confidence, abs=1 / 500)
        assert len(after.encounters) == len(before.encounters)
        for met, was in zip(after.encounters, before.encounters, strict=True):
            assert met.other_id == was.other_id
            assert (met.distance_m is None) == (was.distance_m is None)
            assert met.distance_m is None or met.distance_m == pytest.approx(
                was.distance_m, abs=0.006
            )
            assert met.seconds == pytest.approx(was.seconds, abs=0.06)


@given(VECTORS)
def test_a_quantised_template_keeps_its_direction_and_unit_length(vector: np.ndarray) -> None:
    row, scale = quantise_template(vector)
    back = dequantise_template(row, scale)
    assert np.linalg.norm(back) == pytest.approx(1, abs=1e-5)
    assert back @ (vector / np.linalg.norm(vector)) > 0.995


@pytest.mark.parametrize("bad", [np.zeros(4), np.array([np.nan, 1.0]), np.ones((2, 2))])
def test_no_vector_no_template(bad: np.ndarray) -> None:
    with pytest.raises(MalformedMessage):
        quantise_template(bad)


def test_a_sighting_without_a_face_scores_nothing() -> None:
    without = Sighting(b"i" * 8, 1, 2, MaskStatus.UNKNOWN, 0, 0, {})
    block = encode_template_block([s.sighting("a"), without], FACE, s.DIMENSION)
    rows, scales = split_rows(np.frombuffer(block, np.uint8), s.DIMENSION)
    scores = (rows.astype(np.float32) @ s.unit_vector("a").astype(np.float32)) * scales
    assert scores[0] == pytest.approx(1, abs=0.01)
    assert scores[1] == 0


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_a_block_opens_to_what_was_sealed(plain: bytes, header: bytes) -> None:
    key = s.slot_keys()["face"]
    sealed = seal_block(key, plain, header=header, label="face", nonce=b"n" * 12)
    assert open_block(key, sealed, header=header, label="face", nonce=b"n" * 12) == plain
    assert plain not in sealed or len(plain) < 4


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_an_altered_block_does_not_open(position: int, change: int) -> None:
    key = s.slot_keys()["face"]
    sealed = bytearray(seal_block(key, b"plain", header=b"h", label="face", nonce=b"n" * 12))
    sealed[position % len(sealed)] ^= change
    with pytest.raises(SealError):
        open_block(key, bytes(sealed), header=b"h", label="face", nonce=b"n" * 12)


def test_another_key_header_label_or_nonce_does_not_open() -> None:
    key = s.slot_keys()["face"]
    sealed = seal_block(key, b"plain", header=b"h", label="face", nonce=b"n" * 12)
    with pytest.raises(KeyCommitmentMismatch):
        open_block(s.slot_keys(s.SLOT + 1)["face"], sealed, header=b"h", label="face",
                   nonce=b"n" * 12)  # fmt: skip
    for header, label, nonce in (
        (b"x", "face", b"n" * 12),
        (b"h", "meta", b"n" * 12),
        (b"h", "face", b"m" * 12),
    ):
        with pytest.raises(AuthenticationFailed):
            open_block(key, sealed, header=header, label=label, nonce=nonce)
    with pytest.raises(MalformedMessage):
        open_block(key, b"short", header=b"h", label="face", nonce=b"n" * 12)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_altered_envelope_verifies(position: int, change: int) -> None:
    raw = bytearray(ENVELOPE)
    raw[position % len(raw)] ^= change
    with pytest.raises(ProtocolError):
        Envelope.parse(bytes(raw)).verify(s.directory().resolver("box"))


def test_a_live_envelope_hides_its_blocks_behind_the_live_key() -> None:
    envelope = s.envelope(LIVE_ENVELOPE)
    keys = s.slot_keys()
    with pytest.raises(MalformedMessage):
        envelope.blocks()
    with pytest.raises(KeyCommitmentMismatch):
        envelope.blocks(keys["face"])
    assert envelope.blocks(keys["live"]).templates[FACE]


@pytest.mark.parametrize("kind", ["live", "segment"])
def test_an_envelope_shows_no_template_id_or_mask(kind: str) -> None:
    raw = s.envelope(kind).to_bytes()
    for number in range(3):
        seen = s.sighting(f"person {number}")
        assert seen.sighting_id not in raw
        assert seen.templates[FACE].row.tobytes() not in raw


def test_an_envelope_of_a_revoked_box_is_refused() -> None:
    envelope = Envelope.parse(ENVELOPE)
    envelope.verify(s.directory().resolver("box"))
    with pytest.raises(SignatureInvalid, match="revoked"):
        envelope.verify(s.directory().revoke("box-1", at_ms=4).resolver("box"))


def test_templates_open_only_for_their_query() -> None:
    case, matcher = s.case(), s.sealing_key("matcher")
    sealed = seal_templates({"P-17": [s.template()]}, matcher.public, query_digest=b"d" * 32)
    with pytest.raises(AuthenticationFailed):
        open_templates(sealed, matcher, s.query(), query_digest=case.query.digest)
    other = seal_templates(
        {"P-17": [s.template("somebody else")]}, matcher.public, query_digest=case.query.digest
    )
    with pytest.raises(SealError, match="not those of the query"):
        open_templates(other, matcher, s.query(), query_digest=case.query.digest)
    more = seal_templates(
        {"P-17": [s.template()], "P-18": [s.template("x")]},
        matcher.public,
        query_digest=case.query.digest,
    )
    with pytest.raises(SealError, match="does not name"):
        open_templates(more, matcher, s.query(), query_digest=case.query.digest)


def test_a_template_of_another_model_is_not_taken_for_this_one() -> None:
    value = s.template().to_value()
    value[1] = "other-32@00000000"
    with pytest.raises(ModelMismatch):
        type(s.template()).from_value(value)
    assert model_dimension("a-192@0+b-512@1") == 704
    for bad in ("", "a", "a-x@1", "a-0@1", "a-99999@1"):
        with pytest.raises(ModelMismatch):
            model_dimension(bad)


def test_a_subject_file_opens_for_its_investigator_alone() -> None:
    ana = s.sealing_key("ana")
    subject = SubjectFile.enrol("P", "consent 1", [s.template()], ana.public, enrolled_at_ms=4)
    stored = subject.to_bytes()
    assert s.template().row.tobytes() not in stored
    assert SubjectFile.parse(stored).open(ana)[0].digest == s.template().digest
    with pytest.raises(AuthenticationFailed):
        SubjectFile.parse(stored).open(s.sealing_key("bo"))


def test_a_candidate_opens_for_its_investigator_and_query_alone() -> None:
    seen = s.sighting("person 1")
    row = Row.parse(row_of_version_1(seen, contacts=True).to_bytes())
    candidate = Candidate(
        "P-17", s.ADDRESS, seen.sighting_id, row, "face", s.MODEL, 0.75, 2.5,
    )  # fmt: skip
    sealed = candidate.seal(s.sealing_key("ana").public, query_digest=b"q" * 32)
    assert Candidate.open(sealed, s.sealing_key("ana"), query_digest=b"q" * 32) == candidate
    film = replace(candidate, origin="recorded", time_source="stated")
    again = film.seal(s.sealing_key("ana").public, query_digest=b"q" * 32)
    assert Candidate.open(again, s.sealing_key("ana"), query_digest=b"q" * 32) == film
    for key, digest in (("bo", b"q" * 32), ("ana", b"r" * 32)):
        with pytest.raises(AuthenticationFailed):
            Candidate.open(sealed, s.sealing_key(key), query_digest=digest)


@given(st.binary(max_size=100))
def test_hpke_opens_for_its_purpose_and_context_alone(plain: bytes) -> None:
    key = s.sealing_key("anyone")
    sealed = key.public.seal(plain, purpose="p", context=[1])
    assert key.open(sealed, purpose="p", context=[1]) == plain
    others: tuple[tuple[str, list[object]], ...] = (("q", [1]), ("p", [2]))
    for purpose, context in others:
        with pytest.raises(AuthenticationFailed):
            key.open(sealed, purpose=purpose, context=context)
    with pytest.raises(AuthenticationFailed):
        key.open(sealed[:-1], purpose="p", context=[1])


@pytest.mark.parametrize("size", [0, 95, 97])
def test_hpke_keys_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(MalformedMessage):
        hpke.PrivateKey(b"k" * size)
    with pytest.raises(MalformedMessage):
        hpke.PublicKey(b"k" * size)


def test_a_directory_is_the_authoritys_and_never_goes_back() -> None:
    signed = s.directory().sign(s.authority())
    key = s.authority().verify_key
    opened = open_directory(signed.to_bytes(), key, site=s.SITE)
    assert opened == s.directory()
    newer = open_directory(
        opened.revoke("box-1", at_ms=1).sign(s.authority()).to_bytes(), key, newest=opened
    )
    assert newer.version == opened.version + 1
    with pytest.raises(DirectoryRollback):
        open_directory(signed.to_bytes(), key, newest=newer)
    with pytest.raises(SignatureInvalid):
        open_directory(s.directory().sign(s.signing_key("bo")).to_bytes(), key)
    with pytest.raises(SignatureInvalid, match="site"):
        open_directory(signed.to_bytes(), key, site="elsewhere")
    forged = Signed("directory", "authority", signed.payload, s.signing_key("bo").sign_bytes(b""))
    with pytest.raises(SignatureInvalid):
        open_directory(forged.to_bytes(), key)


def test_a_directory_speaks_of_each_camera_once() -> None:
    twice = dict(s.directory().principals)
    twice["box-2"] = s.principal("box-2", "box", cameras=("cam-1",))
    payload = s.directory().next_version(twice, at_ms=1).sign(s.authority()).payload
    with pytest.raises(MalformedMessage, match="twice"):
        Directory.parse(payload)
    assert s.directory().box_of_camera("cam-2").name == "box-2"


ENVELOPE = s.envelope().to_bytes()
