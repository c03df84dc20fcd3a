"""Boxes whose clock is an hour off: what they send is kept aside or flagged, never lost."""

from __future__ import annotations

from puppet_box import PuppetBox, person
from running_site import RunningSite, is_whole
from waiting import wait_for

from protocol.names import SLOT_MS

HOUR_MS = 3_600_000


def test_an_hour_ahead_is_quarantined_until_the_operator_admits_it(
    quiet_site: RunningSite,
) -> None:
    with PuppetBox(quiet_site, "box-7", clock_ahead_ms=HOUR_MS) as box:
        slot_ms = box.now_ms // SLOT_MS * SLOT_MS
        box.show(slot_ms, person(1))
        state = wait_for(
            lambda: s if (s := quiet_site.boxes()["box-7"])["quarantined"] >= 2 else None,
            "the announcement and the envelope in quarantine",
        )
        assert state["clock_wrong"] is True
        assert quiet_site.stored("cam-7") == []
        assert "3600 s ahead" in " ".join(
            item["detail"]
            for item in quiet_site.call("ana", "aggregator", "GET", "/v1/quarantine").json()
            if "/cam-7/" in item["topic"]
        ).replace("3599", "3600")

        # Only the aggregator's own operator may admit.
        assert (
            quiet_site.problem("ana", "aggregator", "/v1/quarantine/1/admit", b"")
            == "not-the-operator"
        )

        waiting = quiet_site.call("ana", "aggregator", "GET", "/v1/quarantine").json()
        numbers = [str(i["number"]) for i in waiting if "/cam-7/" in i["topic"]]
        config = str(quiet_site.folder("aggregator") / "aggregator.toml")
        said = quiet_site.command(
            "aggregator", "quarantine", "--config", config,
            *(part for number in numbers for part in ("--admit", number)),
        )  # fmt: skip
        assert said.count("admitted") == len(numbers)
        stored = quiet_site.wait_stored("cam-7", 2)
        assert stored == [0, 1]
        assert quiet_site.boxes()["box-7"]["quarantined"] == 0


def test_an_hour_behind_is_flagged_and_stored(quiet_site: RunningSite) -> None:
    with PuppetBox(quiet_site, "box-8", clock_ahead_ms=-HOUR_MS) as box:
        box.report()
        box.show(box.now_ms // SLOT_MS * SLOT_MS, person(2))
        quiet_site.wait_stored("cam-8", 2)
        state = wait_for(
            lambda: s if (s := quiet_site.boxes()["box-8"])["clock_wrong"] else None,
            "the flag on the box's clock",
        )
        assert abs(state["clock_offset_ms"] + HOUR_MS) < 60_000
        assert is_whole(quiet_site.stored("cam-8"))
        listed = quiet_site.command(
            "box", "list", str(quiet_site.local.paths.root), "--live",
            "--officer", str(quiet_site.local.officer("ana")),
        )  # fmt: skip
        assert "clock" in listed
