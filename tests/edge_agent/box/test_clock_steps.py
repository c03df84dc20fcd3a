"""A box whose clock is set, back or ahead, loses nobody, and seals nothing that cannot be opened.

Each step is tried between people who are seen every few seconds; what was sealed is then judged as
the aggregator judges it: whatever is dated ahead waits in quarantine and counts as lost here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from edge_site import EPOCH, NOON_MS, Box, Clock, Site, is_announcement, make_sighting
from examples import step

from aggregator.ingest.checks import check_announcement, check_clock, check_envelope, check_times
from edge_agent.config import SealingConfig
from edge_agent.coverage import View
from protocol.errors import ClockSkew
from protocol.names import EPOCH_MS, SLOT_MS
from runtime.clocksteps import StepWatch, read_moment

NewBox = Callable[..., Box]


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def site(tmp_path: Path, version: int) -> Site:
    """As few custodians as there can be: a box that begins again seals to each of them anew."""
    return Site(tmp_path, custodian_names=("c1", "c3"), version=version)


SECONDS, HOUR, DAY = 1, 3600, 86_400
SKEW_MS = 120_000
LONG_S = 60
"""So long a while is many of the same case (`examples.step`)."""
STEP_NAMES = ["back", "ahead", "days", "bit"]
STEPS = {
    "an hour ahead for 20 s": [(HOUR, 20), (-HOUR, 600)],
    "an hour back": [(-HOUR, 600)],
    "an hour back and ahead again": [(-HOUR, 120), (HOUR, 600)],
    "ten minutes back and ahead again": [(-600, 60), (600, 600)],
    "five minutes back within a slot": [(-300, 600)],
    "a day ahead and back": [(DAY, 60), (-DAY, 600)],
    "a day back and ahead": [(-DAY, 60), (DAY, 600)],
    "a second and a half back": [(-1.5, 100)],
    "to and fro": [(HOUR, 5), (-2 * HOUR, 5), (HOUR, 5), (901, 5), (-901, 600)],
}


@dataclass
class SetMeanwhile(Clock):
    """A clock that is set between two readings, as it is while somebody works by it."""

    readings: int = 0
    by_s: float = 0

    def __call__(self) -> int:
        self.readings -= 1
        if self.readings == 0:
            self.set_s(self.by_s)
        return self.now_ms


class Watched:
    """A box that somebody passes every three seconds of real time."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.right = box.clock.origin_ms
        self.seen = 0
        self.arrived: list[tuple[int, bytes]] = []  # the true time, and what came then

    @property
    def true_ms(self) -> int:
        """What a right clock says."""
        return self.box.clock.boot_ms + self.right

    def live(self, seconds: float) -> None:
        """Let people pass: each is handed over a second after they have left."""
        box = self.box
        every_s = 3 * step() if seconds >= LONG_S else 3
        for _ in range(round(seconds / every_s)):
            box.clock.pass_s(every_s - 1)
            left_ms, origin_ms = box.clock.now_ms, box.clock.origin_ms
            came_ms = left_ms - (every_s - 1) * 1000
            box.sealer.tick(box.clock.now_ms)
            box.sealer.cover(View.WATCHED, came_ms, box.clock.now_ms, origin_ms=origin_ms)
            box.clock.pass_s(1)
            sighting = make_sighting(left_ms, seed=self.seen)
            box.sealer.add([sighting], box.clock.now_ms, origin_ms=origin_ms)
            self.seen += 1
            self.deliver()

    def step(self, by_s: float) -> None:
        """Set the clock while one person has left and is not handed over yet."""
        box = self.box
        left_ms, origin_ms = box.clock.now_ms, box.clock.origin_ms
        box.clock.set_s(by_s)
        sighting = make_sighting(left_ms, seed=self.seen)
        box.sealer.add([sighting], box.clock.now_ms, origin_ms=origin_ms)
        self.seen += 1
        self.deliver()

    def deliver(self) -> None:
        self.arrived += [(self.true_ms, payload) for payload in self.box.payloads()]

    def stored(self) -> list[bytes]:
        """What an aggregator whose clock is right stores at once, judged by its own checks."""
        site, kept = self.box.site, []
        for true_ms, payload in self.arrived:
            if not is_announcement(payload):
                checked = check_envelope(
                    payload,
                    box="box-1",
                    camera="cam-1",
                    site="demo",
                    directory=site.directory,
                    max_bytes=1 << 24,
                )
            else:
                checked = check_announcement(
                    payload, box="box-1", camera="cam-1", site="demo", directory=site.directory
                )
            try:
                check_clock(checked, now_ms=true_ms, skew_ms=SKEW_MS)
            except ClockSkew:
                continue
            check_times(checked, now_ms=true_ms, retention_days=14)
            kept.append(payload)
        return kept


@pytest.fixture
def watched(new_box: NewBox, site: Site) -> Watched:
    box = new_box(sealing=SealingConfig(live_after_s=0.1, grace_s=5, day_keys_wait_s=0))
    for name in site.custodian_names:
        keys = site.day_keys(name, tuple(range(EPOCH - 1, EPOCH + 3)), issued_at_ms=NOON_MS + 1)
        box.keyring.accept(keys)
    return Watched(box)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("from_midnight_s", [None, 30], ids=["by day", "at midnight"])
def test_nobody_is_lost_when_the_clock_is_set(
    watched: Watched, steps: list[tuple[float, float]], from_midnight_s: float | None
) -> None:
    box = watched.box
    if from_midnight_s is not None:
        box.clock.now_ms = (EPOCH + 1) * EPOCH_MS - round(from_midnight_s * 1000)
        watched.right = box.clock.origin_ms
    watched.live(90)
    for by_s, then_s in steps:
        watched.step(by_s)
        watched.live(then_s)
    assert box.sealer.finish()
    watched.deliver()
    opened = box.site.open(watched.stored())
    found = {seed for one in opened for seed in one.ids}
    assert found == set(range(watched.seen))
    for one in opened:
        begin_ms = (one.epoch * 96 + one.slot) * SLOT_MS
        for sighting in one.sightings:
            assert begin_ms - 60_000 <= sighting.last_seen_ms < begin_ms + SLOT_MS
    assert box.outbox.stats().counters["clock_steps"] >= 1


@pytest.mark.parametrize(
    "by_s", [-HOUR, HOUR, -2 * DAY, -0.9], ids=["back", "ahead", "days", "bit"]
)
@pytest.mark.parametrize("work", ["live envelopes", "segments", "the last segments"])
@pytest.mark.parametrize("readings", [2, 3, 5, 9, 15, 21][:: step()])
def test_nobody_is_lost_when_the_clock_is_set_while_envelopes_are_sealed(
    new_box: NewBox, site: Site, by_s: float, work: str, readings: int
) -> None:
    clock = SetMeanwhile()
    sealing = SealingConfig(live_after_s=0.1, grace_s=0, day_keys_wait_s=0, batch=1)
    box = new_box(clock=clock, sealing=sealing, max_segment_bytes=1000)
    for name in site.custodian_names:
        keys = site.day_keys(name, tuple(range(EPOCH - 3, EPOCH + 3)), issued_at_ms=NOON_MS + 1)
        box.keyring.accept(keys)
    watched = Watched(box)
    clock.now_ms = (EPOCH * 96 + 49) * SLOT_MS + 500  # a slot has just begun, 0.5 s ago
    watched.right = clock.origin_ms
    before = clock.origin_ms
    people = [make_sighting(clock.now_ms, seed=seed) for seed in range(8)]
    if work != "live envelopes":
        box.sealer.add(people, clock.now_ms, origin_ms=before)
    if work == "segments":
        clock.pass_s(SLOT_MS / 1000)
    clock.readings, clock.by_s = readings, by_s
    if work == "live envelopes":
        box.sealer.add(people, clock.now_ms, origin_ms=before)
    elif work == "segments":
        box.sealer.tick(clock.now_ms)
    else:
        assert box.sealer.finish()
    clock.readings = 0
    watched.right = max(before, clock.origin_ms)  # or what is dated ahead waits in quarantine
    watched.deliver()
    assert box.sealer.finish()
    watched.deliver()
    opened = site.open(watched.stored())
    assert {seed for one in opened for seed in one.ids} == set(range(8))


def test_a_board_that_starts_in_1970_loses_nobody_whom_it_sees_before_the_time_comes(
    watched: Watched,
) -> None:
    box = watched.box
    box.clock.now_ms = 5_000
    watched.live(60)
    assert box.sealer.stats().held == watched.seen, "nobody has keys for 1970"
    watched.step((NOON_MS - box.clock.now_ms) / 1000)
    watched.right = box.clock.origin_ms
    watched.live(30)
    assert box.sealer.finish()
    watched.deliver()
    opened = box.site.open(watched.stored())
    assert {seed for one in opened for seed in one.ids} == set(range(watched.seen))
    times = {s.last_seen_ms for one in opened for s in one.sightings}
    assert min(times) >= NOON_MS - 70_000, "their times are corrected"


def test_what_is_held_is_corrected_to_the_very_time_at_which_it_was_seen(watched: Watched) -> None:
    box = watched.box
    sighting = make_sighting(box.clock.now_ms, seed=1)
    box.sealer.add([sighting], box.clock.now_ms, origin_ms=box.clock.origin_ms)
    for by_s in (HOUR, -DAY, DAY, 7, -HOUR, -7):
        box.clock.set_s(by_s)
        box.sealer.tick(box.clock.now_ms)
    assert box.sealer.finish()
    watched.deliver()
    (segment,) = (one for one in box.site.open(watched.stored()) if one.kind == "segment")
    assert segment.sightings[0].last_seen_ms == sighting.row.last_ms
    assert segment.sightings[0].first_seen_ms == sighting.row.first_ms


def test_steering_and_passing_time_are_no_steps() -> None:
    wall_ms, boot_ms = [1_000_000], [50_000]
    watch = StepWatch()

    def look() -> int:
        return watch.step_ms(read_moment(lambda: wall_ms[0], lambda: boot_ms[0]))

    assert look() == 0
    for _ in range(200):  # NTP makes the clock run fast, by two minutes in all
        wall_ms[0] += 60_600
        boot_ms[0] += 60_000
        assert look() == 0
    wall_ms[0] -= 3_600_000
    assert look() == -3_600_000
    wall_ms[0] += 7_200_000
    assert look() == 7_200_000
    assert (watch.steps, watch.last_step_ms) == (2, 7_200_000)


def test_a_thread_held_up_between_the_clocks_sees_no_step() -> None:
    boot = iter([0, 9_000, 9_000, 9_001])  # the first pair of readings is nine seconds apart
    assert read_moment(lambda: 100, lambda: next(boot)).since_boot_ms == 9_000
