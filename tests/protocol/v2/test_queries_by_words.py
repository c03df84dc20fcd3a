"""A query by clothes in words stands alone, and only where the policy has a floor for words."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
import query_samples_v2 as q2

from protocol.authorization import AuthorizedQuery, authorize
from protocol.encoding import decode, encode
from protocol.errors import (
    ApprovalsMissing,
    AuthenticationFailed,
    MalformedMessage,
    PolicyViolation,
)
from protocol.names import SightingName
from protocol.policy import BY_WORDS, Policy, parse_policy
from protocol.query import Asked, Query, Subject, TemplateReference
from protocol.templates import SubjectFile, Template

(MODEL,) = q2.by_words().thresholds
(DESCRIBED,) = q2.by_words().subjects


def policy_of(floors: str) -> Policy:
    text = q2.POLICY_TEXT.replace(b"[threshold_floor]", b"[threshold_floor]\n" + floors.encode())
    return parse_policy(text)


SEEN = f'"{MODEL}" = 0.6\n'
PERMITTED = policy_of(SEEN + f'"{BY_WORDS}{MODEL}" = 0.1')


def decide(
    query: Query, policy: Policy = PERMITTED, approvers: tuple[str, ...] = ("bo", "cy", "di")
) -> AuthorizedQuery:
    signed = replace(query, policy_digest=policy.digest).sign(s.signing_key("ana"))
    approvals = [s.approval(signed, name, policy_digest=policy.digest) for name in approvers]
    return authorize(signed, approvals, [], directory=s.directory(), policy=policy, now_ms=s.NOW_MS)


def test_words_are_looked_for_below_the_floor_of_pictures_for_one_approval_more() -> None:
    assert decide(q2.by_words()).query.subjects[0].words == "red jacket, dark trousers"
    with pytest.raises(ApprovalsMissing, match="2 of 3"):
        decide(q2.by_words(), approvers=("bo", "cy"))


def test_without_a_floor_for_words_there_are_no_queries_by_words() -> None:
    with pytest.raises(PolicyViolation, match="permits no queries by words"):
        decide(q2.by_words(), policy_of(SEEN))


def test_a_threshold_below_the_floor_for_words_is_refused() -> None:
    with pytest.raises(PolicyViolation, match=r"0\.050 .* below the policy's 0\.100"):
        decide(q2.by_words(thresholds={MODEL: 0.05}))


def test_the_floor_for_words_lowers_no_other_querys() -> None:
    seen = replace(DESCRIBED, words="")
    with pytest.raises(PolicyViolation, match=r"below the policy's 0\.600"):
        decide(q2.by_words(subjects=(seen,)))
    assert PERMITTED.floors_of_models[MODEL] == 0.6
    assert not any(name.startswith(BY_WORDS) for name in PERMITTED.floors_of_models)


EXAMPLE = SightingName("box-1", "cam-1", s.EPOCH, s.GENERATION, 38, b"12345678")
FACE = TemplateReference("face", s.MODEL, s.fixed("a face", 32))
SECOND = TemplateReference("appearance", MODEL, s.fixed("another", 32))


@pytest.mark.parametrize(
    "subjects",
    [
        (DESCRIBED, Subject("P-1", "order", (SECOND,))),
        (replace(DESCRIBED, examples=(EXAMPLE,)),),
        (replace(DESCRIBED, templates=(*DESCRIBED.templates, SECOND)),),
        (replace(DESCRIBED, templates=(FACE,)),),
        (replace(DESCRIBED, templates=(), examples=(EXAMPLE,)),),
    ],
)
def test_beside_words_nothing_else_is_compared(subjects: tuple[Subject, ...]) -> None:
    query = q2.by_words(subjects=subjects, thresholds={MODEL: 0.15, s.MODEL: 0.9})
    with pytest.raises(MalformedMessage, match="something else besides"):
        Query.parse(query.sign(s.signing_key("ana")).payload)


def test_by_words_no_faces_are_opened() -> None:
    query = q2.by_words(modalities=("appearance", "face"))
    with pytest.raises(MalformedMessage, match="something else besides"):
        Query.parse(query.sign(s.signing_key("ana")).payload)


@pytest.mark.parametrize("asks", [Asked(continuation=True), Asked(linked_contacts=True)])
def test_whom_words_find_is_neither_followed_nor_linked(asks: Asked) -> None:
    query = q2.by_words(asks=asks, contacts=True)
    with pytest.raises(MalformedMessage, match="nobody whom words find"):
        Query.parse(query.sign(s.signing_key("ana")).payload)


@pytest.mark.parametrize("words", ["", "x" * 201, "red\njacket", "red\u202ejacket", 7, None])
def test_words_that_are_no_line_of_text_are_refused(words: object) -> None:
    payload = decode(q2.by_words().sign(s.signing_key("ana")).payload, what="query")
    assert isinstance(payload, dict)
    payload["subjects"][0]["words"] = words
    with pytest.raises(MalformedMessage):
        Query.parse(encode(payload))


def test_the_first_form_has_no_words() -> None:
    query = q2.by_words(version=1)
    assert not Query.parse(query.sign(s.signing_key("ana")).payload).by_words
    value = DESCRIBED.to_value(2)
    with pytest.raises(MalformedMessage):
        Subject.from_value(
            {k: value[k] for k in ("pseudonym", "consent_reference", "templates", "words")}, 1
        )


def test_a_subject_that_was_seen_reads_as_before_there_were_words() -> None:
    assert "words" not in q2.subject().to_value(2)


def of_words(words: str) -> SubjectFile:
    made = s.template("words")
    template = Template("appearance", MODEL, made.salt, made.row, made.scale)
    return SubjectFile.enrol(
        "W-3", "order 12/31", [template], s.sealing_key("ana").public,
        enrolled_at_ms=s.NOW_MS, investigator_name="ana", words=words,
    )  # fmt: skip


def test_a_subject_file_says_its_words_in_the_clear_and_is_bound_to_them() -> None:
    file = SubjectFile.parse(of_words("red jacket").to_bytes())
    assert file.words == "red jacket"
    assert file.open(s.sealing_key("ana"))
    for changed in ("blue jacket", ""):
        with pytest.raises(AuthenticationFailed):
            replace(file, words=changed).open(s.sealing_key("ana"))
    assert SubjectFile.parse(of_words("").to_bytes()).open(s.sealing_key("ana"))
