"""Software first, policy second: a policy that is too new is refused and the old one stays."""

from __future__ import annotations

from pathlib import Path

import protocol_samples as s
import pytest
from custodian_site import Asked, Make, make_announcement, opened_log, read_grant

import protocol.policy
from custodian.errors import TrustError
from protocol.about_queries import Approval
from protocol.encoding import encode
from protocol.errors import PolicyViolation
from protocol.policy import POLICY_KIND, Policy, parse_policy, sign_policy
from protocol.signing import sign

SCHEMA_2 = (
    b'policy_schema = 2\nconfirmations = 1\npurposes = ["exercise"]\n'
    b"enrolment_without_witness = true\n"
) + s.POLICY_TEXT.replace(b"version = 1", b"version = 2")


def install(folder: Path, text: bytes) -> None:
    """Put a policy, signed whatever it says, into a custodian's folder."""
    signed = sign(POLICY_KIND, text, s.authority())
    (folder / "policy.toml").write_bytes(text)
    (folder / "policy.toml.sig").write_bytes(encode([signed.signer, signed.signature]))


def test_a_custodian_refuses_a_policy_of_a_schema_to_come_and_keeps_its_own(
    make: Make, tmp_path: Path
) -> None:
    custodian = make("c1")
    install(tmp_path / "c1", SCHEMA_2.replace(b"schema = 2", b"schema = 3"))
    with pytest.raises(TrustError, match=r"schema 3.*reads 2 at most: update its software first"):
        custodian.trust.reload()
    custodian.reload()
    assert custodian.trust.site.policy == s.POLICY
    custodian.close()
    with pytest.raises(TrustError, match="update its software first") as refused:
        make("c1", again=True)
    assert "altered" not in str(refused.value)


def test_a_custodian_whose_software_is_older_refuses_the_second_schema(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol.policy, "SCHEMA", 1)
    custodian = make("c1")
    install(tmp_path / "c1", SCHEMA_2)
    with pytest.raises(TrustError, match=r"schema 2.*reads 1 at most"):
        custodian.trust.reload()
    assert custodian.status()["policy_schema"] == 1


def test_a_custodian_says_which_schemas_it_reads_and_which_it_holds(
    make: Make, tmp_path: Path
) -> None:
    custodian = make("c1")
    status = custodian.status()
    assert (status["policy_schema"], status["reads_policy_schema"]) == (1, 2)
    install(tmp_path / "c1", SCHEMA_2)
    custodian.reload()
    status = custodian.status()
    assert (status["policy_schema"], status["policy_version"]) == (2, 2)
    assert opened_log(custodian)[-1][1]["version"] == 2


def ask(policy: Policy, purpose: str) -> s.Case:
    """A query of the second form with its approvals."""
    query = s.query(
        version=2,
        purpose_kind=purpose,
        policy_digest=policy.digest,
        live=False,
        contacts=False,
        window_to_ms=s.NOW_MS // 900_000 * 900_000,
    )
    signed = query.sign(s.signing_key("ana"))
    approvals = [
        Approval(signed.digest, policy.digest, s.NOW_MS).sign(s.signing_key(name))
        for name in ("bo", "cy")
    ]
    return s.Case(signed, approvals)


def test_a_custodian_grants_what_a_policy_of_the_second_schema_permits_and_nothing_else(
    make: Make, tmp_path: Path
) -> None:
    policy = parse_policy(SCHEMA_2)
    assert sign_policy(SCHEMA_2, s.authority())
    custodians = [make(name, policy=SCHEMA_2) for name in ("c1", "c2")]
    _, announcement = make_announcement(custodians)
    for purpose, permitted in (("exercise", True), ("curiosity", False)):
        asked = Asked(ask(policy, purpose), [announcement], s.NOW_MS)
        for custodian in custodians:
            if permitted:
                answer = custodian.granter.grant(asked.to_bytes())
                assert read_grant(answer, custodian.config.name).scopes
            else:
                with pytest.raises(PolicyViolation, match="curiosity"):
                    custodian.granter.grant(asked.to_bytes())
