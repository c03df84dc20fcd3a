"""A full disk stops nothing for good and loses nothing: at headquarters, and on a box."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from puppet_box import PuppetBox, person, seen, slots_ago
from running_site import SERVERS, RunningSite, is_whole, plan_with_dan
from small_disk import CannotMount, fill, mounted
from waiting import wait_for

from demo.scenario import ClipTruth


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small disk at ``folder``; skip where not permitted."""
    with ExitStack() as stack:
        try:
            stack.enter_context(mounted(folder, megabytes))
        except CannotMount as error:
            pytest.skip(str(error))
        yield folder


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, short_clip: ClipTruth, model_bundle_path: Path
) -> Iterator[RunningSite]:
    """A site whose aggregator and whose box have six megabytes of disk each."""
    plan = plan_with_dan(
        {
            "cam-1": {"source": f"file:{short_clip.path.resolve()}", "loop": True},
            "cam-2": {"source": "file:none.mp4"},
        },
        bundle=model_bundle_path,
        policy={"cover": "off"},
        box_settings={
            "sealing": {"batch": 1, "live_after_s": 0.5},
            "outbox": {"resend_after_s": 4},
            "health_s": 1,
        },
    )
    site = RunningSite(plan, tmp_path_factory.mktemp("full"))
    with (
        small_disk(site.folder("aggregator") / "state", 6),
        small_disk(site.folder("box-1") / "state", 6),
    ):
        try:
            site.start(*SERVERS)
            yield site
        finally:
            site.stop()


def test_headquarters_with_a_full_disk_keeps_on_and_stores_everything_later(
    site: RunningSite,
) -> None:
    state = site.folder("aggregator") / "state"
    aggregator = site.local.services["aggregator"]
    slot_ms = slots_ago(2)
    with PuppetBox(site, "box-2") as box:
        announced = box.announce(slot_ms)
        site.wait_stored("cam-2", len(announced))
        filler = fill(state)
        try:
            made = [box.live([seen(person(n), slot_ms + 9000)], slot_ms) for n in range(300)]
            box.publish_all(made)
            wait_for(
                lambda: aggregator.events("storage_full") or aggregator.events("storage_failing"),
                "the aggregator to say that its disk is full",
                explain=aggregator.tail,
            )
            assert aggregator.events("storage_full")
            assert aggregator.running
            assert site.boxes()["box-2"]["revoked"] is False  # it still answers
        finally:
            filler.unlink()
        total = len(announced) + len(made)
        wait_for(
            lambda: len(site.stored("cam-2")) == total,
            f"all {total} messages stored",
            explain=lambda: (len(site.stored("cam-2")), aggregator.tail()),
        )
    assert is_whole(site.stored("cam-2"))
    assert aggregator.events("storage_recovered")


def test_a_box_with_a_full_disk_goes_on_and_delivers_everything_later(site: RunningSite) -> None:
    site.start("box-1")
    site.wait_stored("cam-1", 3)
    box = site.local.services["box-1"]
    with site.without("broker"):
        filler = fill(site.folder("box-1") / "state")
        try:
            wait_for(
                lambda: box.events("disk_full"),
                "the box to find its disk full",
                explain=box.tail,
            )
            assert box.running
            on_disk = {number for _, number in site.kept("box-1")}
        finally:
            filler.unlink()
        kept = wait_for(
            lambda: found if (found := {n for _, n in site.kept("box-1")}) > on_disk else set(),
            "what the box had in memory to be on its disk",
            explain=box.tail,
        )
    wait_for(lambda: kept <= set(site.stored("cam-1")), "all that the box kept")
    wait_for(
        lambda: is_whole(site.stored("cam-1")),
        "no gap",
        timeout_s=30,
        explain=lambda: (on_disk, kept, site.stored("cam-1"), site.outbox("box-1"), box.output()),
    )
    figures = wait_for(
        lambda: f if (f := site.boxes()["box-1"]["figures"]).get("count.disk_full") else {},
        "the box's report of it",
    )
    assert figures.get("count.dropped_segment", 0) == 0
