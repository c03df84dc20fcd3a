"""Checks that stand beside others, each tested where it alone decides."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest

from protocol.about_queries import APPROVAL_KIND, Withdrawal
from protocol.authorization import AuthorizedQuery, authorize, check_withdrawal
from protocol.directory import BOX, Directory
from protocol.epoch import Announcement, SealedShare, announce, share_context
from protocol.errors import (
    MalformedMessage,
    NotAuthorized,
    PolicyViolation,
    QueryExpired,
    ScopeExceeded,
    ShareInvalid,
    UnknownSigner,
)
from protocol.grant import Grant, Scope, release, seal_grant
from protocol.names import SLOT_MS, slot_start_ms
from protocol.policy import BasisRule, Policy
from protocol.query import QUERY_KIND, Query
from protocol.signing import Signed, sign

FACE, APPEARANCE = "face", "appearance"


def decide(case: s.Case, policy: Policy) -> AuthorizedQuery:
    return authorize(
        case.query, case.approvals, [], directory=s.directory(), policy=policy, now_ms=s.NOW_MS
    )


def permitting(basis: str, *modalities: str) -> Policy:
    rule = BasisRule(frozenset(modalities), 0)
    return replace(s.POLICY, bases={**s.POLICY.bases, basis: rule})


def test_a_modality_that_the_legal_basis_does_not_permit() -> None:
    subject = s.query().subjects[0]
    by_looks = replace(subject.templates[0], modality=APPEARANCE)
    subject = replace(subject, templates=(by_looks,))
    case = s.case(modalities=(APPEARANCE,), subjects=(subject,))
    assert decide(case, permitting("consent", APPEARANCE))
    with pytest.raises(PolicyViolation, match="does not permit appearance"):
        decide(case, permitting("consent", FACE))


def test_a_face_without_consent_although_a_policy_would_permit_it() -> None:
    case = s.case(legal_basis="statutory-order", approvers=("bo", "cy", "di"))
    with pytest.raises(PolicyViolation, match="recorded consent"):
        decide(case, permitting("statutory-order", FACE))


@pytest.mark.parametrize("member", ["window_from_ms", "window_to_ms"])
@pytest.mark.parametrize("off_ms", [1, -1, SLOT_MS // 2])
def test_a_window_that_begins_or_ends_within_a_slot(member: str, off_ms: int) -> None:
    asked = s.query()
    moved = replace(asked, **{member: getattr(asked, member) + off_ms})
    with pytest.raises(MalformedMessage):
        Query.parse(moved.sign(s.signing_key("ana")).payload)


def signed_payload(*boxes: tuple[str, int | None]) -> bytes:
    """A directory in which every box of ``boxes`` speaks for cam-1."""
    principals = dict(s.directory().principals)
    for name, revoked_at_ms in boxes:
        principals[name] = s.principal(name, BOX, cameras=("cam-1",), revoked_at_ms=revoked_at_ms)
    return replace(s.directory(), principals=principals).sign(s.authority()).payload


def test_a_camera_that_two_boxes_speak_for() -> None:
    with pytest.raises(MalformedMessage, match="camera twice"):
        Directory.parse(signed_payload(("box-1", None), ("box-7", None)))


def test_a_camera_that_a_revoked_box_spoke_for_before() -> None:
    directory = Directory.parse(signed_payload(("box-1", s.NOW_MS), ("box-7", None)))
    assert directory.box_of_camera("cam-1").name == "box-7"


def made_grant(stated: tuple[str, ...], released: tuple[str, ...]) -> Grant:
    scope = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 38, 40)
    keys = release(dict(enumerate(s.roots())), scope, released)
    grant_id, digest = s.fixed("grant", 16), s.case().query.digest
    sealed = seal_grant(
        [keys], s.sealing_key("matcher").public, grant_id=grant_id, query_digest=digest
    )
    return Grant(grant_id, digest, stated, (scope,), (), 0, s.NOW_MS, sealed)


@pytest.mark.parametrize(
    ("stated", "released"),
    [
        (("face",), ("face", "meta")),
        (("face", "meta"), ("face",)),
        (("face",), ("appearance",)),
    ],
)
def test_a_grant_that_releases_other_labels_than_it_states(
    stated: tuple[str, ...], released: tuple[str, ...]
) -> None:
    with pytest.raises(ScopeExceeded, match="other labels"):
        made_grant(stated, released).open(s.sealing_key("matcher"))
    assert made_grant(released, released).open(s.sealing_key("matcher"))


def test_a_query_dated_five_minutes_ahead_passes_and_no_more() -> None:
    minutes_ms = 60_000
    for ahead_ms in (0, 5 * minutes_ms):
        assert decide(s.case(requested_at_ms=s.NOW_MS + ahead_ms), s.POLICY)
    with pytest.raises(QueryExpired, match="future"):
        decide(s.case(requested_at_ms=s.NOW_MS + 5 * minutes_ms + 1), s.POLICY)


def test_a_legal_basis_that_the_policy_does_not_know() -> None:
    without = replace(s.POLICY, bases={"statutory-order": s.POLICY.bases["statutory-order"]})
    with pytest.raises(PolicyViolation, match="no legal basis 'consent'"):
        decide(s.case(), without)


def test_a_threshold_at_the_policys_floor_passes_and_one_below_does_not() -> None:
    floor = s.POLICY.threshold_floor[s.MODEL]
    assert decide(s.case(thresholds={s.MODEL: floor}), s.POLICY)
    with pytest.raises(PolicyViolation, match="below the policy"):
        decide(s.case(thresholds={s.MODEL: floor - 1e-6}), s.POLICY)


def test_as_many_subjects_as_the_policy_permits_and_no_more() -> None:
    one = s.query().subjects[0]
    two = (one, replace(one, pseudonym="P-18"))
    assert decide(s.case(subjects=two), replace(s.POLICY, max_subjects=2))
    with pytest.raises(PolicyViolation, match="asks for 2 subjects"):
        decide(s.case(subjects=two), replace(s.POLICY, max_subjects=1))


def test_a_live_query_that_looks_further_ahead_than_the_policy_permits() -> None:
    start_ms = s.query().requested_at_ms
    from_ms = start_ms - start_ms % SLOT_MS
    case = s.case(window_from_ms=from_ms, window_to_ms=from_ms + 40 * SLOT_MS, live=True)
    assert decide(case, replace(s.POLICY, max_live_hours=10))
    with pytest.raises(PolicyViolation, match="hours ahead of its asking; the policy permits 9"):
        decide(case, replace(s.POLICY, max_live_hours=9))


def test_a_live_query_gets_no_slot_a_millisecond_before_it_begins() -> None:
    authorized = decide(s.case(), s.POLICY)
    begins_ms = slot_start_ms(s.EPOCH, s.SLOT + 1)
    for now_ms, last in ((begins_ms - 1, s.SLOT), (begins_ms, s.SLOT + 1)):
        assert authorized.grantable_slots(s.EPOCH, now_ms=now_ms)[-1] == last


def announced_with(roots: list[bytes]) -> Announcement:
    return announce(
        roots,
        address=s.ADDRESS,
        epoch=s.EPOCH,
        generation=s.GENERATION,
        sequence=0,
        threshold=2,
        custodians=s.CUSTODIANS,
        day_keys={name: s.day_key(name).public for name in s.CUSTODIANS},
        models={},
        announced_at_ms=s.NOW_MS,
    )


@pytest.mark.parametrize(
    "roots", [s.roots()[:2], [*s.roots(), bytes(32)], [*s.roots()[:2], bytes(31)]]
)
def test_roots_of_another_number_or_size_are_not_shared(roots: list[bytes]) -> None:
    with pytest.raises(MalformedMessage, match="3 roots of 32 bytes"):
        announced_with(roots)


@pytest.mark.parametrize("size", [0, 32, 63, 65, 96])
def test_a_share_that_holds_another_number_of_roots(size: int) -> None:
    announced = s.announcement()
    key = s.day_key("c1")
    context = share_context(s.ADDRESS, s.EPOCH, s.GENERATION, "c1")
    plain = b"".join(s.roots()[1:] + s.roots())[:size]
    share = SealedShare(
        key.public.key_id, key.public.seal(plain, purpose="epoch-share", context=context)
    )
    with pytest.raises(ShareInvalid, match="has not 2 roots"):
        replace(announced, shares={"c1": share}).open_share("c1", key)


def test_a_share_of_somebody_whom_the_announcement_does_not_name() -> None:
    announced = s.announcement()
    more = {**announced.shares, "mallory": announced.shares["c1"]}
    payload = replace(announced, shares=more).sign(s.signing_key("box-1")).payload
    with pytest.raises(MalformedMessage, match="named custodian"):
        Announcement.parse(payload, box="box-1")


def test_a_share_under_the_id_of_another_key_is_not_opened_though_it_would_open() -> None:
    announced = s.announcement()
    key = s.day_key("c1")
    assert announced.open_share("c1", key)
    mislabelled = replace(announced.shares["c1"], key_id=announced.shares["c2"].key_id)
    with pytest.raises(ShareInvalid, match="no share for this day key"):
        replace(announced, shares={"c1": mislabelled}).open_share("c1", key)


def withdrawal_by(name: str) -> Signed:
    content = Withdrawal(s.case().query.digest, "asked for by mistake", s.NOW_MS)
    return content.sign(s.signing_key(name))


@pytest.mark.parametrize("kind", [APPROVAL_KIND, QUERY_KIND])
def test_what_was_signed_as_something_else_withdraws_nothing(kind: str) -> None:
    genuine = withdrawal_by("bo")
    assert check_withdrawal(genuine, s.directory())
    other = sign(kind, genuine.payload, s.signing_key("bo"))
    with pytest.raises(NotAuthorized, match="not a withdrawal"):
        check_withdrawal(other, s.directory())


def test_a_withdrawal_by_somebody_whom_the_directory_does_not_list() -> None:
    with pytest.raises(UnknownSigner, match="mallory"):
        check_withdrawal(withdrawal_by("mallory"), s.directory())
