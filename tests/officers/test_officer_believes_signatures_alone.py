"""What an officer's command refuses to believe, whoever hands it out."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest

from officers.desk.api_client import StoredResult
from officers.desk.case import CaseInvalid, objection, open_case
from officers.desk.facts import false_words, query_facts
from officers.desk.filing import matcher_key_of
from officers.desk.results import open_candidates
from officers.desk.voices import weigh
from protocol import hpke
from protocol.about_queries import MatcherKey
from protocol.errors import SignatureInvalid, UnknownSigner
from protocol.signing import SigningKey

DIRECTORY = s.directory()
SIGNED = s.query().sign(s.signing_key("ana"))
CASE = open_case(SIGNED.to_bytes(), s.query().query_id.hex(), DIRECTORY)


def matcher_key(digest: bytes, signer: SigningKey) -> bytes:
    public = hpke.PrivateKey(s.fixed("matcher", 96)).public
    return MatcherKey(digest, public, s.NOW_MS).sign(signer).to_bytes()


def test_the_matchers_key_for_this_query_is_taken() -> None:
    data = matcher_key(SIGNED.digest, s.signing_key("aggregator"))
    assert matcher_key_of(data, CASE, DIRECTORY) == hpke.PrivateKey(s.fixed("matcher", 96)).public


def test_a_matcher_key_of_another_query_gets_no_template() -> None:
    data = matcher_key(bytes(32), s.signing_key("aggregator"))
    with pytest.raises(CaseInvalid, match="no template was sent"):
        matcher_key_of(data, CASE, DIRECTORY)


def test_a_matcher_key_by_anybody_else_gets_no_template() -> None:
    with pytest.raises(UnknownSigner):
        matcher_key_of(matcher_key(SIGNED.digest, s.signing_key("c1")), CASE, DIRECTORY)
    forged = SigningKey("aggregator", bytes(32))
    with pytest.raises(SignatureInvalid):
        matcher_key_of(matcher_key(SIGNED.digest, forged), CASE, DIRECTORY)


def test_a_revoked_requesters_query_is_readable_and_objected_to() -> None:
    later = DIRECTORY.revoke("ana", at_ms=s.NOW_MS)
    case = open_case(SIGNED.to_bytes(), CASE.id, later)
    assert case.query == CASE.query
    assert "revoked" in objection(case, later, s.POLICY, now_ms=s.NOW_MS)
    assert objection(CASE, DIRECTORY, s.POLICY, now_ms=s.NOW_MS) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"not_after_ms": s.NOW_MS}, "expired"),
        ({"policy_digest": bytes(32)}, "another policy"),
        ({"thresholds": {s.MODEL: 0.1}}, "below the policy's"),
        ({"cameras": tuple(f"cam-{n}" for n in range(101))}, "the policy permits 100"),
    ],
)
def test_the_policy_held_here_decides_not_the_one_at_the_aggregator(
    changes: s.QueryChanges, said: str
) -> None:
    signed = s.query(**changes).sign(s.signing_key("ana"))
    case = open_case(signed.to_bytes(), CASE.id, DIRECTORY)
    assert said in objection(case, DIRECTORY, s.POLICY, now_ms=s.NOW_MS)


def test_another_query_than_asked_for_is_refused() -> None:
    with pytest.raises(CaseInvalid, match="handed out"):
        open_case(SIGNED.to_bytes(), "0" * 32, DIRECTORY)


def test_rubbish_among_the_results_is_told_and_skipped() -> None:
    candidates, problems = open_candidates(
        [StoredResult(bytes(16), b"", None), StoredResult(bytes(16), b"rubbish" * 300, None)],
        CASE,
        s.sealing_key("ana"),
        DIRECTORY,
    )
    assert candidates == ()
    assert [p.startswith(f"result {n} ") for n, p in enumerate(problems, 1)] == [True, True]


def test_every_camera_subject_and_hour_stands_before_the_signature() -> None:
    cameras = tuple(f"cam-{n}" for n in range(1, 60))
    listed = query_facts(
        replace(s.query(), cameras=cameras), "ana", DIRECTORY, s.POLICY, now_ms=s.NOW_MS
    )
    facts = {fact.about: fact.words for fact in listed}
    assert facts["cameras"] == f"59: {', '.join(cameras)}"
    assert "P-17" in facts["looks for"]
    assert "1 h 30 min on 59 cameras (354 camera quarter hours)" in facts["would open"]


@pytest.mark.parametrize(
    ("expected", "words"),
    [(0, "0 false"), (0.0004, "fewer than 0.01"), (0.25, "0.25 false"), (1234.4, "1,234 false")],
)
def test_expected_false_candidates_are_never_rounded_to_none(expected: float, words: str) -> None:
    assert false_words(expected).startswith(words)


def test_only_approvals_that_custodians_would_count_are_shown_as_such() -> None:
    genuine = s.case()
    case = open_case(genuine.query.to_bytes(), s.query().query_id.hex(), s.directory())
    listed = [
        genuine.approvals[0].to_bytes(),
        genuine.approvals[0].to_bytes(),
        s.approval(s.case(purpose="other").query, "cy").to_bytes(),
        s.approval(genuine.query, "ana").to_bytes(),
        b"rubbish",
    ]
    voices = weigh(listed, [], case, directory=s.directory(), policy=s.POLICY, needed=2)
    approvers, problems = tuple(one.approver for one in voices.approvals), voices.problems
    assert approvers == ("bo",)
    assert len(problems) == 3
