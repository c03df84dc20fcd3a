"""A stolen box is revoked with one command; from then on nobody takes anything from its key."""

from __future__ import annotations

from puppet_box import PuppetBox, announced, now_ms, person, slots_ago
from query_desk import QueryDesk, template_of
from running_site import RunningSite
from waiting import wait_for

from demo.intruder import Intruder
from protocol.names import EPOCH, SLOT_MS, epoch_of
from protocol.sightings import quantise_template


def test_a_revoked_box_is_refused_by_the_aggregator_and_by_every_custodian(
    quiet_site: RunningSite, desk: QueryDesk
) -> None:
    thief = person(66)
    slot_ms = slots_ago(3)
    with PuppetBox(quiet_site, "box-6", clock_ahead_ms=-60_000) as box:  # a minute before
        box.show(slot_ms, thief)
        before = quiet_site.wait_stored("cam-6", 2)

        said = quiet_site.command(
            "box", "revoke", str(quiet_site.local.paths.root), "box-6", "--push",
            "--officer", str(quiet_site.local.officer("eve")),
        )  # fmt: skip
        assert "box-6 is revoked" in said
        assert quiet_site.boxes()["box-6"]["revoked"] is True

        # The thief goes on with the box's key: envelopes, and keys of its own making.
        box.clock_ahead_ms = 0
        box.restart()
        announcement = box.announcement(epoch_of(slot_ms))
        box.publish(announcement, EPOCH)
        box.show(slot_ms, thief)
        wait_for(
            lambda: quiet_site.rejects("box-6").get("revoked-box", 0) >= 2,
            "the refusals of the stolen box",
        )
        assert quiet_site.stored("cam-6") == before

    assert announced(announcement).announced_at_ms <= now_ms()
    templates = [template_of(*quantise_template(thief))]
    case = desk.draft(templates, ["cam-6"], slot_ms, slot_ms + SLOT_MS)
    approvals = [desk.approval(case, name) for name in ("bo", "cy")]
    answers = Intruder(quiet_site.local).ask(case.signed, approvals, [announcement])
    assert {a.problem for a in answers} == {"principal-revoked"}

    # What it saw while it was ours is no less true: that can still be traced, by the rules.
    found = desk.run(desk.draft(templates, ["cam-6"], slot_ms, slot_ms + SLOT_MS))
    assert [c.address.box for c in found] == ["box-6"]
