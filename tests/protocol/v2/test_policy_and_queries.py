"""The second schema of policies and the second form of queries: what is not stated is closed."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import protocol_samples as s
import pytest

from protocol.authorization import AuthorizedQuery, authorize, check_policy
from protocol.encoding import decode, encode
from protocol.enrolment import WitnessedEnrolment, check_witnessed
from protocol.errors import (
    ApprovalsMissing,
    EnrolmentNotWitnessed,
    MalformedMessage,
    PolicyViolation,
    UnsupportedVersion,
)
from protocol.keytree import COUNTS, COVER, EVIDENCE, LIVE, META
from protocol.names import SightingName
from protocol.policy import OPTIONS, Policy, parse_policy
from protocol.query import Asked, Query, Subject, TemplateReference
from protocol.signing import Signed

OPEN = b"""
live = true
contacts = "linked"
continuation = true
continuation_minutes = 30
continuation_cameras = 3
same_place_counts = true
evidence_stills = 20
purposes = ["notifiable disease", "exercise"]
enrolment_without_witness = true
"""
CLOSED_KEYS = b"""policy_schema = 2
confirmations = 1
"""


def policy_with(keys: bytes, tables: bytes = b"") -> Policy:
    """The sample policy, of the second schema."""
    return parse_policy(CLOSED_KEYS + keys + s.POLICY_TEXT + tables)


OPENED = policy_with(OPEN)
CLOSED = policy_with(b'purposes = ["exercise"]\nenrolment_without_witness = true\n')


def query(policy: Policy = OPENED, **changes: Unpack[s.QueryChanges]) -> Query:
    plain: s.QueryChanges = {
        "version": 2,
        "purpose_kind": "exercise",
        "policy_digest": policy.digest,
        "live": False,
        "contacts": False,
        "window_from_ms": s.query().window_from_ms,
        "window_to_ms": s.NOW_MS // 900_000 * 900_000,
    }
    plain.update(changes)
    return s.query(**plain)


def decide(
    asked: Query, policy: Policy, approvers: tuple[str, ...] = ("bo", "cy")
) -> AuthorizedQuery:
    signed = asked.sign(s.signing_key("ana"))
    approvals = [s.approval(signed, name, policy_digest=policy.digest) for name in approvers]
    return authorize(signed, approvals, [], directory=s.directory(), policy=policy, now_ms=s.NOW_MS)


def test_a_query_of_either_version_comes_back_as_it_was() -> None:
    everything = query(
        contacts=True,
        live=True,
        confirmers=("bea",),
        asks=Asked(True, True, True, 3, 180),
        subjects=(
            Subject(
                "P-17",
                "form 3",
                (),
                witnessed=b"signed",
                examples=(SightingName("box-1", "cam-1", s.EPOCH, 5, 40, b"12345678"),),
            ),
        ),
    )
    for asked in (s.query(), query(), everything):
        assert Query.parse(asked.sign(s.signing_key("ana")).payload) == asked
    assert everything.options == OPTIONS


def test_a_query_of_the_first_version_is_spelt_as_it_always_was() -> None:
    """Its digest is what approvers signed."""
    vector = Signed.parse(s.query().sign(s.signing_key("ana")).to_bytes(), kind="query")
    assert set(decode(vector.payload, what="query")) == {
        "v", "id", "site", "subjects", "purpose", "legal_basis", "cameras", "window_from_ms",
        "window_to_ms", "modalities", "live", "thresholds", "contacts", "max_candidates",
        "expected_false", "requested_at_ms", "not_after_ms", "policy_digest",
    }  # fmt: skip


def test_a_version_to_come_is_named() -> None:
    payload = decode(query().sign(s.signing_key("ana")).payload, what="query")
    with pytest.raises(UnsupportedVersion, match=r"version 3.*update"):
        Query.parse(encode({**payload, "v": 3}))
    with pytest.raises(UnsupportedVersion, match=r"schema 3.*software first"):
        parse_policy(b"policy_schema = 3\n" + s.POLICY_TEXT)


@pytest.mark.parametrize(
    "asks",
    [
        Asked(linked_contacts=True),
        Asked(continuation=True, evidence_stills=20),
        Asked(same_place_counts=True, afterwards_min=180),
    ],
)
def test_what_the_policy_permits_passes(asks: Asked) -> None:
    followed = ("face", "appearance") if asks.continuation else ("face",)
    asked = query(contacts=True, live=True, modalities=followed, asks=asks)
    assert decide(asked, OPENED, ("bo", "cy", "di"))


@pytest.mark.parametrize("asks", [Asked(linked_contacts=True), Asked(same_place_counts=True)])
def test_linking_and_counting_cost_one_approval_more_whatever_the_policy_states(
    asks: Asked,
) -> None:
    free = policy_with(OPEN, b"[option_approvals]\nlinked = 0\nsame_place_counts = 0\n")
    with pytest.raises(ApprovalsMissing, match="2 of 3"):
        decide(query(free, contacts=True, asks=asks), free)
    assert decide(query(free, contacts=True, asks=asks), free, ("bo", "cy", "di"))


@pytest.mark.parametrize(
    ("minutes", "counts"), [(20, True), (1455, True), (-15, True), (60, False), (1, True)]
)
def test_who_came_afterwards_is_counted_for_whole_quarter_hours_of_at_most_a_day(
    minutes: int, counts: bool
) -> None:
    payload = decode(query().sign(s.signing_key("ana")).payload, what="query")
    changed = {**payload, "same_place_counts": counts, "afterwards_min": minutes}
    with pytest.raises(MalformedMessage):
        Query.parse(encode(changed))


def test_a_query_that_asks_for_nobody_afterwards_reads_as_before_there_was_such_a_question() -> (
    None
):
    assert "afterwards_min" not in decode(query().sign(s.signing_key("ana")).payload, what="query")


@pytest.mark.parametrize(
    "changes",
    [
        {"live": True, "window_to_ms": s.query().window_to_ms},
        {"contacts": True},
        {"contacts": True, "asks": Asked(linked_contacts=True)},
        {"asks": Asked(continuation=True)},
        {"asks": Asked(same_place_counts=True)},
        {"asks": Asked(evidence_stills=1)},
        {"purpose_kind": "curiosity"},
    ],
)
def test_what_a_policy_does_not_state_it_forbids(changes: s.QueryChanges) -> None:
    decide(query(CLOSED), CLOSED)
    with pytest.raises(PolicyViolation):
        decide(query(CLOSED, **changes), CLOSED)


def test_a_policy_of_the_first_schema_permits_nothing_that_came_since() -> None:
    for asks in (
        Asked(continuation=True),
        Asked(same_place_counts=True),
        Asked(evidence_stills=1),
        Asked(linked_contacts=True),
    ):
        with pytest.raises(PolicyViolation):
            decide(query(s.POLICY, contacts=True, asks=asks), s.POLICY)
    decide(query(s.POLICY, contacts=True, live=True), s.POLICY)


def test_a_policy_without_purposes_permits_none() -> None:
    none = policy_with(b"enrolment_without_witness = true\n")
    with pytest.raises(PolicyViolation, match="none"):
        decide(query(none), none)


def test_a_query_of_the_first_version_names_no_purpose_of_a_list() -> None:
    with pytest.raises(PolicyViolation, match="free words"):
        check_policy(replace(s.query(), policy_digest=CLOSED.digest), CLOSED, now_ms=s.NOW_MS)


def test_more_stills_than_permitted_are_refused() -> None:
    with pytest.raises(PolicyViolation, match="stills"):
        decide(query(asks=Asked(evidence_stills=21)), OPENED)


def test_options_cost_the_approvals_that_the_policy_asks_for_them() -> None:
    dear = policy_with(OPEN, b"[option_approvals]\nlinked = 1\nevidence = 1\n")
    plain = query(dear)
    assert decide(plain, dear)
    linked = query(dear, contacts=True, asks=Asked(linked_contacts=True))
    with pytest.raises(ApprovalsMissing, match="2 of 3"):
        decide(linked, dear)
    assert decide(linked, dear, ("bo", "cy", "di"))
    both = query(dear, contacts=True, asks=Asked(linked_contacts=True, evidence_stills=1))
    with pytest.raises(ApprovalsMissing, match="3 of 4"):
        decide(both, dear, ("bo", "cy", "di"))


@pytest.mark.parametrize(
    ("keys", "tables"),
    [
        (b"live = 1\n", b""),
        (b'contacts = "everybody"\n', b""),
        (b"evidence_stills = -1\n", b""),
        (b"evidence_stills = true\n", b""),
        (b'purposes = "exercise"\n', b""),
        (b'purposes = ["a\\u001bb"]\n', b""),
        (b'cover = "steady"\n', b""),
        (b"cover_interval_s = 30\n", b""),
        (b"gait = true\n", b""),
        (b"", b"[option_approvals]\ngait = 1\n"),
        (b"", b"[option_approvals]\nlive = 9\n"),
    ],
)
def test_a_policy_with_a_wrong_key_is_refused(keys: bytes, tables: bytes) -> None:
    with pytest.raises(MalformedMessage):
        policy_with(keys, tables)


def test_a_policy_must_say_how_many_confirm() -> None:
    with pytest.raises(MalformedMessage, match="confirmations"):
        parse_policy(b"policy_schema = 2\n" + s.POLICY_TEXT)


def test_the_first_schema_knows_none_of_the_new_keys() -> None:
    with pytest.raises(MalformedMessage, match="live"):
        parse_policy(b"live = true\n" + s.POLICY_TEXT)


def test_steady_cover_names_its_interval() -> None:
    assert policy_with(b'cover = "steady"\ncover_interval_s = 30\n').cover_interval_s == 30
    assert policy_with(b"").cover == "off"


# --------------------------------------------------------------------------- confirmers


def test_as_many_must_be_named_as_must_confirm() -> None:
    two = parse_policy(b"policy_schema = 2\nconfirmations = 2\n" + OPEN + s.POLICY_TEXT)
    with pytest.raises(PolicyViolation, match="2 officers must confirm"):
        decide(query(two), two)
    directory = s.directory()
    bea = s.principal("bea", "investigator", seal_key=s.sealing_key("bea").public)
    both = replace(directory, principals={**directory.principals, "bea": bea})
    signed = query(two, confirmers=("bea",)).sign(s.signing_key("ana"))
    approvals = [s.approval(signed, name, policy_digest=two.digest) for name in ("bo", "cy")]
    assert authorize(signed, approvals, [], directory=both, policy=two, now_ms=s.NOW_MS)
    for name in ("bea", "bo", "nobody"):  # not listed here, no investigator, not there at all
        asked = query(two, confirmers=(name,))
        with pytest.raises(PolicyViolation, match=name):
            decide(asked, two)


def test_the_requester_under_a_second_name_confirms_nothing() -> None:
    two = parse_policy(b"policy_schema = 2\nconfirmations = 2\n" + OPEN + s.POLICY_TEXT)
    directory = s.directory()
    twin = replace(directory.principals["ana"], name="anna")
    both = replace(directory, principals={**directory.principals, "anna": twin})
    signed = query(two, confirmers=("anna",)).sign(s.signing_key("ana"))
    with pytest.raises(PolicyViolation, match="anna"):
        authorize(signed, [], [], directory=both, policy=two, now_ms=s.NOW_MS)


# --------------------------------------------------------------------------- the witness


WITNESSED = policy_with(OPEN.replace(b"enrolment_without_witness = true\n", b""))


def witnessed(signer: str = "bo", **changes: object) -> Subject:
    subject = s.query().subjects[0]
    said = WitnessedEnrolment(
        subject.pseudonym,
        s.fixed("consent form", 32),
        tuple(template.digest for template in subject.templates),
        s.NOW_MS - 1000,
    )
    statement = replace(said, **changes).sign(s.signing_key(signer))  # type: ignore[arg-type]
    return replace(subject, witnessed=statement.to_bytes())


def test_a_witnessed_enrolment_passes_and_one_without_a_witness_does_not() -> None:
    assert decide(query(WITNESSED, subjects=(witnessed(),)), WITNESSED)
    with pytest.raises(EnrolmentNotWitnessed, match="nobody"):
        decide(query(WITNESSED), WITNESSED)


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (witnessed("ana"), "cannot witness"),
        (witnessed("c1"), "statement"),
        (witnessed("mallory"), "statement"),
        (witnessed(pseudonym="P-18"), "somebody else"),
        (witnessed(templates=(bytes(32),)), "none that the witness"),
        (witnessed(witnessed_at_ms=s.NOW_MS + 600_000), "future"),
        (replace(witnessed(), witnessed=b"garbage"), "statement"),
        (replace(witnessed(), witnessed=witnessed().witnessed[:-1] + b"\0"), "statement"),
    ],
)
def test_a_statement_that_is_not_a_second_officers_is_refused(subject: Subject, words: str) -> None:
    with pytest.raises(EnrolmentNotWitnessed, match=words):
        decide(query(WITNESSED, subjects=(subject,)), WITNESSED)


def test_a_revoked_officer_witnesses_nothing() -> None:
    directory = s.directory()
    gone = replace(directory.principals["bo"], revoked_at_ms=1)
    without = replace(directory, principals={**directory.principals, "bo": gone})
    with pytest.raises(EnrolmentNotWitnessed, match="revoked"):
        check_witnessed(witnessed(), requester="ana", directory=without, now_ms=s.NOW_MS)


def test_a_statement_comes_back_as_it_was_and_names_no_template_twice() -> None:
    said = WitnessedEnrolment("P-17", bytes(32), (b"a" * 32, b"b" * 32), s.NOW_MS)
    payload = said.sign(s.signing_key("bo")).payload
    assert WitnessedEnrolment.parse(payload) == said
    fields = decode(payload, what="statement")
    for templates in ([], [b"a" * 32] * 2, [b"short"], ["text"]):
        with pytest.raises(MalformedMessage):
            WitnessedEnrolment.parse(encode({**fields, "templates": templates}))


# --------------------------------------------------------------------------- the document


DOCUMENTED = policy_with(OPEN + b"consent_documents = true\n")
FORM = s.fixed("consent form", 32)
OF_CLOTHES = TemplateReference("appearance", s.MODEL, s.fixed("clothes", 32))


def documented(digest: bytes = FORM, **changes: object) -> Subject:
    return replace(s.query().subjects[0], consent_document=digest, **changes)  # type: ignore[arg-type]


def test_a_policy_may_ask_that_every_query_on_consent_name_its_document() -> None:
    assert not OPENED.consent_documents, "older policies ask for none"
    assert decide(query(OPENED), OPENED)
    named = decide(query(DOCUMENTED, subjects=(documented(),)), DOCUMENTED)
    assert named.query.subjects[0].consent_document == FORM
    with pytest.raises(PolicyViolation, match="'P-17' is not named: enrol anew with the document"):
        decide(query(DOCUMENTED), DOCUMENTED)
    second = replace(documented(b""), pseudonym="P-18")
    with pytest.raises(PolicyViolation, match="'P-18' is not named"):
        decide(query(DOCUMENTED, subjects=(documented(), second)), DOCUMENTED)


def test_an_order_need_not_be_a_document() -> None:
    ordered = query(
        DOCUMENTED,
        legal_basis="statutory-order",
        modalities=("appearance",),
        thresholds={s.MODEL: 0.9},
        subjects=(replace(s.query().subjects[0], templates=(OF_CLOTHES,)),),
    )
    assert decide(ordered, DOCUMENTED, ("bo", "cy", "di"))


def test_a_witness_who_signed_for_another_document_does_not_count() -> None:
    both = policy_with(
        OPEN.replace(b"enrolment_without_witness = true\n", b"consent_documents = true\n")
    )
    same = replace(witnessed(), consent_document=FORM)
    assert decide(query(both, subjects=(same,)), both)
    other = replace(witnessed(), consent_document=s.fixed("another form", 32))
    with pytest.raises(EnrolmentNotWitnessed, match="over another document"):
        decide(query(both, subjects=(other,)), both)


def test_a_query_that_names_no_document_is_encoded_as_before() -> None:
    assert "consent_document" not in documented(b"").to_value(2)
    assert "consent_document" not in documented().to_value(1)
    for wrong in (b"", b"short", bytes(33), "text", None):
        value = {**documented().to_value(2), "consent_document": wrong}
        with pytest.raises(MalformedMessage):
            Subject.from_value(value, 2)
    with pytest.raises(MalformedMessage):
        Subject.from_value({**documented().to_value(1), "consent_document": FORM}, 1)


# --------------------------------------------------------------------------- labels


def test_metadata_and_evidence_are_never_granted_by_slot_from_version_2_on() -> None:
    counting = query(asks=Asked(same_place_counts=True))
    authorized = decide(counting, OPENED, ("bo", "cy", "di"))
    first = authorized.labels(1)
    second = authorized.labels(2)
    assert {META, LIVE} <= set(first)
    assert not {META, EVIDENCE} & set(second)
    assert {COVER, LIVE, COUNTS} <= set(second)
    plain = decide(query(), OPENED)
    assert COUNTS not in plain.labels(2)
