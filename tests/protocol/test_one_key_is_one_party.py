"""Two names with one key are one party: they count once, and no directory or list adds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import protocol_samples as s
import pytest

from protocol.about_queries import Approval, Withdrawal
from protocol.admissions import Admissions
from protocol.audit import audit
from protocol.authorization import AuthorizedQuery, authorize
from protocol.directory import Directory, Principal, authority_resolver, open_directory
from protocol.encoding import encode
from protocol.errors import (
    ApprovalInvalid,
    ApprovalsMissing,
    MalformedMessage,
    QueryWithdrawn,
)
from protocol.findings import FindingKind, Severity
from protocol.signing import Signed, SigningKey, sign


def alias(of: str, name: str) -> SigningKey:
    """Return the key of ``of`` under another name."""
    return SigningKey(name, s.signing_key(of).seed)


def doubled(of: str, name: str, duty: str, **more: object) -> Directory:
    """Return the sample directory with ``name``, new or not, under the key of ``of``."""
    directory = s.directory()
    twin = Principal(
        name,
        frozenset({duty}),
        s.signing_key(of).verify_key,
        **more,  # type: ignore[arg-type]
    )
    return replace(directory, principals={**directory.principals, name: twin})


@pytest.mark.parametrize(
    ("of", "name", "duty"),
    [
        ("bo", "bob", "approver"),
        ("c1", "c4", "custodian"),
        ("ana", "anna", "approver"),
        ("box-1", "box-9", "box"),
        ("aggregator", "c4", "custodian"),
    ],
)
def test_a_directory_with_two_names_for_one_key_is_not_signed(
    of: str, name: str, duty: str
) -> None:
    directory = doubled(of, name, duty)
    with pytest.raises(MalformedMessage, match=f"'{of}' and '{name}' have one and the same key"):
        directory.sign(s.authority())
    revoked = directory.revoke(name, at_ms=s.NOW_MS)
    assert revoked.sign(s.authority()).kind == "directory"


def test_a_sealing_key_is_nobody_elses_either() -> None:
    directory = doubled("fay", "fay", "auditor", seal_key=s.sealing_key("eve").public)
    with pytest.raises(MalformedMessage, match="'eve' and 'fay'"):
        directory.sign(s.authority())


def signed_before(directory: Directory) -> bytes:
    """Return a directory as the former version signed it, which did not look at the keys."""
    monkey = replace(directory, principals={})
    template = monkey.sign(s.authority())
    payload = encode(
        {
            "v": 1,
            "site": directory.site,
            "version": directory.version,
            "issued_at_ms": directory.issued_at_ms,
            "threshold": directory.threshold,
            "principals": [p.to_value() for _, p in sorted(directory.principals.items())],
        }
    )
    return sign(template.kind, payload, s.authority()).to_bytes()


def test_a_site_that_has_such_a_pair_still_opens_and_can_put_one_out() -> None:
    data = signed_before(doubled("bo", "bob", "approver"))
    opened = open_directory(data, s.authority().verify_key, site=s.SITE)
    assert opened.shared_keys() == [("bo", "bob")]
    mended = opened.revoke("bob", at_ms=s.NOW_MS).sign(s.authority())
    assert Directory.parse(mended.verify(authority_resolver(s.authority().verify_key)))


def approved(*keys: SigningKey) -> s.Case:
    signed = s.query().sign(s.signing_key("ana"))
    return s.Case(
        signed, [Approval(signed.digest, s.POLICY.digest, s.NOW_MS).sign(key) for key in keys]
    )


def decide(
    case: s.Case, directory: Directory, withdrawals: list[Signed] | None = None
) -> AuthorizedQuery:
    return authorize(
        case.query,
        case.approvals,
        withdrawals or [],
        directory=directory,
        policy=s.POLICY,
        now_ms=s.NOW_MS,
    )


def test_two_approver_names_with_one_key_are_one_approval() -> None:
    directory = doubled("bo", "bob", "approver")
    both = approved(s.signing_key("bo"), alias("bo", "bob"))
    with pytest.raises(ApprovalsMissing, match="1 of 2"):
        decide(both, directory)
    third = approved(s.signing_key("bo"), alias("bo", "bob"), s.signing_key("cy"))
    assert len(decide(third, directory).approvers) == 2


def test_a_requester_does_not_approve_under_another_name() -> None:
    directory = doubled("ana", "anna", "approver")
    case = approved(s.signing_key("bo"), alias("ana", "anna"))
    with pytest.raises(ApprovalInvalid, match="cannot approve a query of their own"):
        decide(case, directory)


@pytest.mark.parametrize(
    ("of", "name"), [("bo", "bob"), ("ana", "anna")], ids=["an approver", "the requester"]
)
def test_who_withdraws_under_one_name_has_withdrawn_under_all(of: str, name: str) -> None:
    directory = doubled(of, name, "approver")
    case = approved(s.signing_key("bo"), s.signing_key("cy"))
    withdrawal = Withdrawal(case.query.digest, "no", s.NOW_MS).sign(alias(of, name))
    if of == "ana":
        with pytest.raises(QueryWithdrawn):
            decide(case, directory, [withdrawal])
    else:
        with pytest.raises((QueryWithdrawn, ApprovalsMissing)):
            decide(case, directory, [withdrawal])


def taking_an_officers_key(_: Directory) -> tuple[Principal, dict[str, int]]:
    return replace(NEW, verify_key=s.signing_key("bo").verify_key), {}


def taking_a_revoked_boxes_key(_: Directory) -> tuple[Principal, dict[str, int]]:
    return replace(NEW, verify_key=s.signing_key("box-1").verify_key), {"box-1": 5}


NEW = s.principal("box-9", "box", cameras=("cam-9",))


@pytest.mark.parametrize("take", [taking_an_officers_key, taking_a_revoked_boxes_key])
def test_a_registrar_does_not_admit_a_key_that_is_somebody_elses(
    take: Callable[[Directory], tuple[Principal, dict[str, int]]],
) -> None:
    box, revoked = take(s.directory())
    listed = Admissions(s.SITE, 1, s.NOW_MS, {box.name: box}, revoked)
    assert "box-9" not in listed.apply(s.directory()).principals


def test_of_two_admitted_boxes_with_one_key_one_comes_in_and_none_after_its_revocation() -> None:
    twin = replace(NEW, name="box-10", cameras=("cam-10",))
    both = {box.name: box for box in (NEW, twin)}
    listed = Admissions(s.SITE, 1, s.NOW_MS, both, {})
    added = set(listed.apply(s.directory()).principals) - set(s.directory().principals)
    assert len(added) == 1
    for name in both:
        effective = replace(listed, revoked_at_ms={name: 5}).apply(s.directory())
        in_force = {p.name for p in effective.with_duty("box")}
        assert not in_force & set(both)


@pytest.mark.parametrize(
    ("of", "name", "duty", "severity"),
    [
        ("bo", "bob", "approver", Severity.WRONG),
        ("c1", "c4", "custodian", Severity.WRONG),
        ("box-1", "box-9", "box", Severity.WARNING),
    ],
)
def test_the_audit_names_who_shares_a_key(
    of: str, name: str, duty: str, severity: Severity
) -> None:
    directory = doubled(of, name, duty)
    report = audit([], directory=directory, policies={}, now_ms=s.NOW_MS)
    (finding,) = (f for f in report.findings if f.kind is FindingKind.KEY_SHARED)
    assert finding.severity is severity
    assert f"'{of}', '{name}'" in finding.message
