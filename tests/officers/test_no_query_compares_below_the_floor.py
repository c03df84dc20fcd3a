"""A threshold below the policy's floor, -1 above all, is refused by each who could stop it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import protocol_samples as s
import pytest
from officer_site import PASSPHRASE, OfficerSite

from officers import desk
from officers.desk.case import objection, open_case
from protocol.about_queries import Approval
from protocol.authorization import authorize
from protocol.errors import PolicyViolation
from protocol.policy import parse_policy
from protocol.query import Query
from protocol.signing import Signed
from runtime.clock import system_ms
from runtime.http import ProblemError

BELOW = (-1.0, -0.5, 0.0, 0.3999)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


def drafted(site: OfficerSite, threshold: float | None) -> Query:
    """The query that ana would sign."""
    officer = desk.Officer.load(site.officer("ana"))
    keys = desk.unlock(officer, PASSPHRASE.encode())
    now = datetime.now(UTC)
    with desk.connect(officer) as session:
        scope = desk.scope(session, ["cam-1"], now - timedelta(hours=2), now)
        asked = desk.Request(
            scope, (site.subject_file("P-17"),), purpose="contact tracing", threshold=threshold
        )
        with closing(desk.draft(session, asked, keys.sealing)) as draft:
            return draft.query


@pytest.mark.parametrize("threshold", BELOW)
def test_it_is_not_drafted(site: OfficerSite, threshold: float) -> None:
    with pytest.raises(PolicyViolation, match=r"is below the policy's 0\.400"):
        drafted(site, threshold)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", BELOW)
def test_the_aggregator_takes_none_that_another_program_signed(
    site: OfficerSite, threshold: float
) -> None:
    query = replace(drafted(site, None), thresholds={s.MODEL: threshold})
    officer = desk.Officer.load(site.officer("ana"))
    with (
        desk.connect(officer) as session,
        pytest.raises(ProblemError, match=r"is below the policy's 0\.400"),
    ):
        session.client.file(query.sign(s.signing_key("ana")).to_bytes())


@pytest.mark.slow
def test_an_approver_is_told_and_custodians_refuse_it_whoever_approved(site: OfficerSite) -> None:
    query = replace(drafted(site, None), thresholds={s.MODEL: -1.0})
    signed = query.sign(s.signing_key("ana"))
    policy, now_ms = parse_policy(site.policy), system_ms()
    case = open_case(signed.to_bytes(), query.query_id.hex(), site.directory)
    told = objection(case, site.directory, policy, now_ms=now_ms)
    assert "the threshold -1.000" in told
    approvals = [
        Approval(signed.digest, policy.digest, now_ms).sign(s.signing_key(name))
        for name in ("bo", "cy")
    ]
    with pytest.raises(PolicyViolation, match="the threshold -1"):
        authorize(
            Signed.parse(signed.to_bytes(), kind="query"), approvals, [],
            directory=site.directory, policy=policy, now_ms=now_ms,
        )  # fmt: skip
