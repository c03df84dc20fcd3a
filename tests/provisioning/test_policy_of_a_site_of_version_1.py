"""A site of the first version refuses every query for lack of floors, until its policy is upgraded.

What it used has to be opened by name: an upgrade alone permits nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from running_site import PUPPET_MODEL
from site_v1 import CAMERAS, PURPOSE, SiteV1, opened
from typer.testing import CliRunner, Result

from protocol import hpke
from protocol.about_queries import Approval, MatcherKey
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.epoch_keys import combine
from protocol.errors import PolicyViolation
from protocol.grant import GRANT_KIND, Grant, GrantedKeys, GrantRequest
from protocol.keytree import FACE
from protocol.names import SLOT_MS, CameraAddress
from protocol.policy import Policy
from protocol.query import Query, Subject, TemplateReference
from protocol.signing import Signed
from provisioning.authority import open_site
from provisioning.authority.site_cli import app

Run = Callable[..., Result]


@pytest.fixture
def old(tmp_path: Path) -> SiteV1:
    return SiteV1.unpack(tmp_path)


@pytest.fixture
def run(old: SiteV1, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", old.passphrase.decode())
    monkeypatch.delenv("SEALTRACE_OFFICER", raising=False)
    monkeypatch.chdir(tmp_path)

    def ran(*arguments: object) -> Result:
        done = CliRunner().invoke(app, ["policy", *map(str, arguments)])
        assert done.exit_code == 0, done.output
        return done

    return ran


@dataclass(frozen=True)
class Asking:
    """What the old site's officers and aggregator do under the policy that is in force now."""

    old: SiteV1

    @property
    def policy(self) -> Policy:
        return open_site(self.old.root).policy

    def query(self) -> Query:
        """For one person's face on every camera, about the hour in which they were seen."""
        from_ms = min(int(item["slot_ms"]) for item in self.old.truth["envelopes"])
        to_ms = max(int(item["slot_ms"]) for item in self.old.truth["envelopes"]) + SLOT_MS
        second = self.policy.schema > 1
        return Query(
            query_id=os.urandom(16),
            site=self.policy.site,
            subjects=(
                Subject(
                    "patient-17", "consent 17", (TemplateReference(FACE, PUPPET_MODEL, bytes(32)),)
                ),
            ),
            purpose="contact tracing of a confirmed patient",
            legal_basis="consent",
            cameras=CAMERAS,
            window_from_ms=from_ms,
            window_to_ms=to_ms,
            modalities=(FACE,),
            live=False,
            thresholds={PUPPET_MODEL: 0.6},
            contacts=True,
            max_candidates=50,
            expected_false=0.001,
            requested_at_ms=self.old.now_ms,
            not_after_ms=self.old.now_ms + 86_400_000,
            policy_digest=self.policy.digest,
            version=2 if second else 1,
            purpose_kind=PURPOSE if second else "",
        )

    def grant(self, query: Query, announcements: list[bytes]) -> dict[bytes, list[GrantedKeys]]:
        """Have two custodians, started with what lies in their folders, grant an approved query.

        Returns:
            what they released, by the announcement that it is for.
        """
        signed, matcher = query.sign(self.old.signing("ana")), hpke.PrivateKey.generate()
        now_ms = self.old.now_ms
        approvals = tuple(
            Approval(signed.digest, self.policy.digest, now_ms)
            .sign(self.old.signing(name))
            .to_bytes()
            for name in ("bo", "cy")
        )
        aggregator = self.old.signing("aggregator")
        key = MatcherKey(signed.digest, matcher.public, now_ms).sign(aggregator).to_bytes()
        asked = GrantRequest(
            signed.to_bytes(), approvals, (), key, tuple(announcements), now_ms
        ).sign(aggregator)
        released: dict[bytes, list[GrantedKeys]] = {data: [] for data in announcements}
        for name in ("c1", "c2"):
            with closing(self.old.custodian(name)) as custodian:
                answer = custodian.granter.grant(asked.to_bytes())
            grant = Grant.parse(Signed.parse(answer, kind=GRANT_KIND).payload)
            assert not grant.refused
            for keys in grant.open(matcher):
                scope = keys.scope
                granted = (scope.address, scope.epoch, scope.generation)
                (data,) = [one for one in announcements if generation_of(one) == granted]
                released[data].append(keys)
        return released


def announcement_of(data: bytes) -> Announcement:
    signed = Signed.parse(data, kind=EPOCH_KIND)
    return Announcement.parse(signed.payload, box=signed.signer)


def generation_of(data: bytes) -> tuple[CameraAddress, int, int]:
    said = announcement_of(data)
    return said.address, said.epoch, said.generation


@pytest.mark.slow
def test_a_site_of_version_1_works_again_once_its_policy_is_upgraded_and_opened(
    old: SiteV1, run: Run, tmp_path: Path
) -> None:
    asking = Asking(old)
    with closing(old.store()) as store:
        window = old.whole_window
        stored = [
            item.signed
            for item in store.ledger.announcements(CAMERAS[1:], from_ms=window[0], to_ms=window[1])
        ]
        envelopes = list(old.envelopes(store))
    assert stored

    with pytest.raises(PolicyViolation, match="no threshold_floor"):
        asking.grant(asking.query(), stored)

    run("upgrade", old.root, "--yes")
    assert (asking.policy.schema, asking.policy.purposes) == (2, frozenset())
    with pytest.raises(PolicyViolation):
        asking.grant(asking.query(), stored)

    (tmp_path / "opened.toml").write_text(old.upgraded_policy_opened())
    run("sign", old.root, "opened.toml")

    query = asking.query()
    found = set()
    released = asking.grant(query, stored)
    for data, grants in released.items():
        keys = combine(announcement_of(data), grants)
        for envelope in envelopes:
            header = envelope.header
            where = (header.address, header.epoch, header.generation)
            if where == generation_of(data) and header.slot in keys.slots():
                found |= {bytes(row).hex() for row in opened(envelope, keys).ids}
    expected = {sighting for item in old.truth["envelopes"] for sighting in item["ids"]}
    assert found >= expected

    with pytest.raises(PolicyViolation, match="live"):
        asking.grant(replace(query, live=True), stored)


@pytest.mark.slow
def test_an_upgraded_site_of_version_1_is_whole_for_all_its_roles(old: SiteV1, run: Run) -> None:
    run("upgrade", old.root, "--yes")
    assert "nothing is to do" in run("upgrade", old.root).stdout
    for name in ("c1", "c2", "c3"):
        with closing(old.custodian(name)) as custodian:
            assert custodian.status()["policy_schema"] == 2
            assert custodian.status()["policy_version"] == 2
