"""A still opens for who was released its values, and its name is part of its seal."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest

from protocol.encoding import encode
from protocol.errors import (
    AuthenticationFailed,
    KeyCommitmentMismatch,
    MalformedMessage,
    MessageTooLarge,
    ProtocolError,
    ScopeExceeded,
    SharesMissing,
)
from protocol.keytree import EVIDENCE, META, ModalityKey
from protocol.names import SightingName
from protocol.v2.evidence import (
    MAX_STILL_BYTES,
    EvidenceRelease,
    EvidenceRequest,
    SealedStill,
    evidence_key,
    evidence_value,
    open_still_key,
    release_stills,
    seal_stills,
)
from protocol.v2.keys import row_value
from protocol.v2.release import Values, digest_of

PICTURE = b"a picture" * 100
NAME = SightingName.of(v2.NAME, s.fixed("id one", 8))


def key(name: SightingName = NAME, label: str = EVIDENCE) -> ModalityKey:
    values = [evidence_value(v2.leaf(root, label), name.sighting_id) for root in s.roots()]
    return evidence_key(values, name, s.SITE)


def still() -> SealedStill:
    return SealedStill.seal(PICTURE, key(), site=s.SITE, name=NAME, nonce=s.fixed("nonce", 12))


def test_a_still_opens_with_its_key_alone() -> None:
    came = SealedStill.parse(still().to_bytes())
    assert came == still()
    assert came.open(key()) == PICTURE
    assert PICTURE[:9] not in came.to_bytes()
    with pytest.raises(KeyCommitmentMismatch):
        came.open(key(replace(NAME, sighting_id=s.fixed("id two", 8))))


def test_what_opens_the_metadata_opens_no_still() -> None:
    with pytest.raises(KeyCommitmentMismatch):
        still().open(key(label=META))
    rows = [row_value(v2.leaf(root, EVIDENCE), NAME.sighting_id) for root in s.roots()]
    with pytest.raises(KeyCommitmentMismatch):
        still().open(evidence_key(rows, NAME, s.SITE))


@pytest.mark.parametrize(
    "change",
    [{"slot": 3}, {"camera": "cam-9"}, {"box": "box-9"}, {"generation": 9}, {"epoch": 3}],
)
def test_a_still_passed_off_as_anothers_does_not_open(change: dict[str, object]) -> None:
    other = replace(NAME, **change)  # type: ignore[arg-type]
    with pytest.raises(AuthenticationFailed):
        replace(still(), name=other).open(key())


def test_a_still_that_is_too_large_or_not_one_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        SealedStill.seal(bytes(MAX_STILL_BYTES + 1), key(), site=s.SITE, name=NAME, nonce=bytes(12))
    with pytest.raises(MessageTooLarge):
        SealedStill.parse(bytes(MAX_STILL_BYTES * 2))
    parts = [2, s.SITE, NAME.to_value(), bytes(12), b"sealed"]
    assert SealedStill.parse(encode(parts))
    for place, value in [(0, 1), (1, b"x"), (1, "No Name"), (2, []), (3, bytes(11)), (4, None)]:
        with pytest.raises(MalformedMessage):
            SealedStill.parse(encode([*parts[:place], value, *parts[place + 1 :]]))


def test_a_request_comes_back_as_it_was_and_names_no_sighting_twice() -> None:
    asked = EvidenceRequest(b"query", (b"approval",), (), (b"announced",), (NAME,), s.NOW_MS)
    assert EvidenceRequest.parse(asked.sign(s.signing_key("ana")).payload) == asked
    for sightings in ((), (NAME, NAME)):
        bad = replace(asked, sightings=sightings).sign(s.signing_key("ana"))
        with pytest.raises(MalformedMessage):
            EvidenceRequest.parse(bad.payload)


def values_of(custodian: str) -> Values:
    announced = v2.announcement()
    roots = announced.open_share(custodian, s.day_key(custodian))
    return release_stills(roots, announced, [NAME])


def released(custodian: str, *officers: str) -> EvidenceRelease:
    salt, release_id, query = s.fixed("salt", 32), s.fixed("release", 16), s.fixed("query", 32)
    sealed = seal_stills(
        values_of(custodian),
        {name: s.sealing_key(name).public for name in officers},
        salt=salt,
        release_id=release_id,
        query_digest=query,
    )
    return EvidenceRelease(release_id, query, 1, 1, digest_of(salt, [NAME]), 4, s.NOW_MS, sealed)


def test_m_custodians_open_a_still_for_each_officer_by_name_and_one_opens_none() -> None:
    announced = v2.announcement()
    for officer in ("ana", "bea"):
        values = {}
        for custodian in ("c1", "c3"):
            signed = released(custodian, "ana", "bea").sign(s.signing_key(custodian))
            came = EvidenceRelease.parse(signed.payload)
            values[custodian] = came.open(officer, s.sealing_key(officer))[NAME]
        opening = open_still_key(announced, NAME, values, still().sealed[:32])
        assert not opening.liars
        assert still().open(opening.key) == PICTURE
        del values["c1"]
        with pytest.raises(SharesMissing):
            open_still_key(announced, NAME, values, still().sealed[:32])


def test_a_release_opens_for_nobody_else_and_for_what_it_states_alone() -> None:
    came = released("c1", "ana", "bea")
    with pytest.raises(ScopeExceeded, match="sealed to 'cy'"):
        came.open("cy", s.sealing_key("cy"))
    with pytest.raises(AuthenticationFailed):
        came.open("ana", s.sealing_key("bea"))
    swapped = {"ana": came.sealed["bea"], "bea": came.sealed["ana"]}
    with pytest.raises(AuthenticationFailed):
        replace(came, sealed=swapped).open("bea", s.sealing_key("ana"))
    for change in ({"stills": 2, "total": 2}, {"digest": bytes(32)}):
        with pytest.raises(ScopeExceeded, match="other stills"):
            replace(came, **change).open("ana", s.sealing_key("ana"))


@pytest.mark.parametrize(
    "change", [{"stills": 2}, {"sealed": {}}, {"sealed": {"ana": 5}}, {"sealed": {"No": b""}}]
)
def test_a_release_that_contradicts_itself_is_none(change: dict[str, object]) -> None:
    bad = replace(released("c1", "ana"), **change)  # type: ignore[arg-type]
    with pytest.raises(ProtocolError):
        EvidenceRelease.parse(bad.sign(s.signing_key("c1")).payload)


def test_a_generation_of_version_1_has_no_stills() -> None:
    roots = s.announcement().open_share("c1", s.day_key("c1"))
    with pytest.raises(ScopeExceeded, match="version 1"):
        release_stills(roots, s.announcement(), [NAME])
