"""A change is proposed, made and told without a terminal, as a page would do it."""

from __future__ import annotations

import pytest

from protocol.directory import APPROVER
from provisioning.authority import SiteError, SitePaths, open_site, proposals
from provisioning.authority.consequences import Weight
from provisioning.formats.plan import OfficerPlan
from provisioning.formats.plan_boxes import BoxPlan, CameraPlan
from runtime.errors import OperationError

DOOR = BoxPlan(name="box-3", cameras=(CameraPlan(name="door", source="rtsp://10.0.0.7/s"),))


def test_a_proposal_changes_nothing_until_it_is_made(site: SitePaths, passphrase: bytes) -> None:
    proposal = proposals.add_box(site.root, DOOR)
    assert proposal.needs_passphrase
    assert "box-3" not in open_site(site.root).directory.principals
    change = proposal.make(passphrase)
    assert change.changed
    assert "box-3" in open_site(site.root).directory.principals
    assert not proposals.add_box(site.root, DOOR).needs_passphrase


def test_what_a_revocation_will_mean_is_known_before_it(site: SitePaths, passphrase: bytes) -> None:
    proposal = proposals.revoke(site.root, "c1")
    assert Weight.ASKED in {effect.weight for effect in proposal.effects}
    assert proposal.question
    proposal.make(passphrase)
    again = proposals.revoke(site.root, "c1")
    assert (again.effects, again.needs_passphrase) == ((), False)
    assert not again.make(b"").changed
    with pytest.raises(OperationError, match="not this one"):
        proposals.revoke(site.root, "c2").require_possible("not this one")


def test_only_a_box_is_revoked_as_one(site: SitePaths) -> None:
    with pytest.raises(SiteError, match="no box 'c1'"):
        proposals.revoke_box(site.root, "c1")


def test_an_officers_own_passphrase_is_asked_for_when_their_files_are_made(
    site: SitePaths, passphrase: bytes
) -> None:
    asked = []

    def own() -> bytes:
        asked.append("own")
        return b"their own passphrase"

    officer = OfficerPlan(name="fay", duties=("approver",))
    proposal = proposals.add_officer(site.root, officer, own)
    assert asked == []
    proposal.make(passphrase)
    proposals.add_officer(site.root, officer, own).make(b"")
    assert asked == ["own"]
    assert open_site(site.root).directory.require("fay", APPROVER)


def test_a_broker_that_does_not_run_here_is_not_said_to_have_been_told(
    site: SitePaths, passphrase: bytes
) -> None:
    change = proposals.revoke_box(site.root, "box-1").make(passphrase)
    assert proposals.tell_broker(change) is False
    assert proposals.tell_broker(proposals.update(site.root).make(b"")) is None
