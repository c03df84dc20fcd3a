"""A still is asked for and answered under signatures, and the answer opens for who asked alone."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest

from protocol.encoding import decode, encode
from protocol.errors import (
    AuthenticationFailed,
    MalformedMessage,
    ProtocolError,
    ScopeExceeded,
    SignatureInvalid,
    UnknownSigner,
)
from protocol.names import SightingName
from protocol.signing import Signed
from protocol.v2.evidence import MAX_STILL_BYTES, SealedStill
from protocol.v2.stills import (
    MAX_ANSWER_BYTES,
    MAX_ASKED,
    OUTCOMES,
    STILL_ANSWER_KIND,
    StillAnswer,
    StillRequest,
    answer_request,
    open_answer,
    open_request,
)

NAME = SightingName.of(v2.NAME, s.fixed("id one", 8))
OTHER = replace(NAME, sighting_id=s.fixed("id two", 8))
DIGEST = s.fixed("query", 32)
ASKED = StillRequest(s.SITE, DIGEST, NAME.box, (NAME, OTHER), s.fixed("nonce", 16), s.NOW_MS)
STILL = SealedStill(s.SITE, NAME, bytes(12), b"sealed")


def request(by: str = "ana", asked: StillRequest = ASKED) -> bytes:
    return asked.sign(s.signing_key(by)).to_bytes()


def answer(still: SealedStill = STILL) -> StillAnswer:
    to = s.sealing_key("ana").public
    data = still.to_bytes()
    return answer_request(request(), "ana", ASKED, NAME, answered_at_ms=s.NOW_MS, still=data, to=to)


def test_a_request_comes_back_with_who_signed_it() -> None:
    assert open_request(request(), s.directory()) == ("ana", ASKED)


@pytest.mark.parametrize("by", ["bo", "aggregator", "eve", "box-1"])
def test_nobody_but_an_investigator_asks(by: str) -> None:
    with pytest.raises(UnknownSigner):
        open_request(request(by), s.directory())


def test_a_request_that_somebody_altered_is_refused() -> None:
    signed = ASKED.sign(s.signing_key("ana"))
    other = replace(ASKED, sightings=(OTHER,)).payload()
    with pytest.raises(SignatureInvalid):
        open_request(replace(signed, payload=other).to_bytes(), s.directory())


@pytest.mark.parametrize(
    "change",
    [
        {"site": "elsewhere"},
        {"sightings": ()},
        {"sightings": (NAME, NAME)},
        {"sightings": (replace(NAME, box="box-2"),)},
        {"box": "box-2"},
        {"nonce": bytes(15)},
        {"query_digest": bytes(31)},
        {
            "sightings": tuple(
                replace(NAME, sighting_id=number.to_bytes(8, "big"))
                for number in range(MAX_ASKED + 1)
            )
        },
    ],
)
def test_a_request_of_another_form_is_none(change: dict[str, object]) -> None:
    bad = replace(ASKED, **change)  # type: ignore[arg-type]
    with pytest.raises(MalformedMessage):
        open_request(request(asked=bad), s.directory())


def test_what_was_sent_opens_for_who_asked_and_for_nobody_else() -> None:
    _, came = open_answer(answer().sign(s.signing_key("box-1")).to_bytes(), s.directory())
    assert came.open("ana", s.sealing_key("ana")) == STILL
    with pytest.raises(ScopeExceeded):
        came.open("bea", s.sealing_key("bea"))
    for change in ({"officer": "bea"}, {"request": bytes(32)}, {"name": OTHER}):
        moved = replace(came, **change)
        with pytest.raises(AuthenticationFailed):
            moved.open(moved.officer, s.sealing_key("ana"))


def test_the_still_of_another_sighting_is_not_taken_for_the_one_asked_for() -> None:
    with pytest.raises(ScopeExceeded, match="another sighting"):
        answer(replace(STILL, name=OTHER)).open("ana", s.sealing_key("ana"))


@pytest.mark.parametrize("outcome", sorted(OUTCOMES - {"sent"}))
def test_a_box_that_sends_nothing_says_why(outcome: str) -> None:
    told = answer_request(
        request(), "ana", ASKED, NAME, answered_at_ms=1, outcome=outcome, reason="too-old"
    )
    came = StillAnswer.parse(told.payload())
    assert (came.outcome, came.reason, came.sealed) == (outcome, "too-old", b"")
    with pytest.raises(ScopeExceeded):
        came.open("ana", s.sealing_key("ana"))


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "none"},
        {"reason": "too-old"},
        {"sealed": b""},
        {"outcome": "none", "sealed": b""},
        {"outcome": "perhaps", "sealed": b"", "reason": "too-old"},
        {"outcome": "none", "sealed": b"", "reason": "words that are no code"},
    ],
)
def test_an_answer_that_contradicts_itself_is_none(change: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        StillAnswer.parse(replace(answer(), **change).payload())  # type: ignore[arg-type]


def test_a_box_answers_for_its_own_sightings_and_site_alone() -> None:
    for signer in ("box-2", "aggregator", "ana"):
        with pytest.raises(ProtocolError):
            open_answer(answer().sign(s.signing_key(signer)).to_bytes(), s.directory())
    elsewhere = replace(answer(), site="elsewhere").sign(s.signing_key("box-1")).to_bytes()
    with pytest.raises(MalformedMessage, match="of site 'elsewhere'"):
        open_answer(elsewhere, s.directory())


def test_the_largest_still_fits_into_an_answer() -> None:
    largest = replace(STILL, sealed=bytes(MAX_STILL_BYTES + 48))
    signed = answer(largest).sign(s.signing_key("box-1")).to_bytes()
    assert len(signed) <= MAX_ANSWER_BYTES
    assert Signed.parse(signed, kind=STILL_ANSWER_KIND, max_bytes=MAX_ANSWER_BYTES)
    assert open_answer(signed, s.directory())[1].open("ana", s.sealing_key("ana")) == largest


def test_nobody_asks_with_fields_that_are_not_known() -> None:
    value = decode(ASKED.payload(), what="request")
    with pytest.raises(MalformedMessage, match="unknown fields"):
        StillRequest.parse(encode({**value, "also": 1}))
