"""The agent as a process against hostile messages and clocks: it goes on seeing, and says so."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_process import Field, Process
from edge_site import Site, wait_until
from hostile_keys import HOSTILE, hostile_day_keys

from protocol import names
from protocol.names import CameraAddress

pytestmark = [pytest.mark.processes, pytest.mark.models]

Start = Callable[..., Process]
_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
GARBAGE = {
    "nothing": b"",
    "a zero": b"\x00",
    "text": b"hello",
    "an endless array": b"\x9f" * 4000,
    "a deep nest": b"\x81" * 100_000 + b"\x00",
    "a tag of itself": b"\xd8\x1d\x00" * 1000,
    "half a message": b"\x84\x68day-keys\x62c1\x41",
    "four of the wrong kind": b"\x84\xf6\xf6\xf6\xf6",
    "huge numbers": b"\x84\x1b" + b"\xff" * 8 + b"\x5b" + b"\xff" * 8,
    "not UTF-8": b"\x84\x62\xff\xfe\x62\xff\xfe\x40\x40",
}


def everything_that_a_box_hears(site: Site) -> list[str]:
    camera = CameraAddress("demo", "box-1", "cam-1")
    keys = [names.day_keys_topic("demo", name) for name in (*site.custodian_names, "nobody")]
    return [
        names.directory_topic("demo"),
        names.admissions_topic("demo"),
        camera.topic(names.RECEIPT),
        *keys,
    ]


def test_hostile_day_keys_receipts_directories_and_admissions_stop_no_box(
    start: Start, field: Field, site: Site
) -> None:
    headquarters = field.headquarters
    process = start("run", "--config", field.config(field.looping("cam-1")))
    wait_until(lambda: len(headquarters.sequences("cam-1")) >= 2, "a live envelope")
    today = names.epoch_of(time.time_ns() // 1_000_000)
    sent = 0
    for topic in everything_that_a_box_hears(site):
        for garbage in GARBAGE.values():
            headquarters.publish(topic, garbage)
            sent += 1
    for raw in HOSTILE.values():
        sent += 1
        bad = hostile_day_keys(
            site, "c1", raw, epochs=(today, today + 1), issued_at_ms=time.time_ns() // 1_000_000
        )
        headquarters.publish(names.day_keys_topic("demo", "c1"), bad)
    wait_until(
        lambda: headquarters.reports[-1].figures.get("trouble.day_keys.c1") == 1,
        "the health report names the custodian",
    )
    wait_until(
        lambda: headquarters.reports[-1].figures["count.messages_refused"] >= sent,
        "every one of them has been refused",
    )
    told = process.events("day_keys_unusable")
    assert {event["custodian"] for event in told} == {"c1"}
    before = len(headquarters.sequences("cam-1"))
    wait_until(lambda: len(headquarters.sequences("cam-1")) > before, "envelopes go on")
    process.send(signal.SIGTERM)
    assert process.end() == 0, "".join(process.lines)
    assert "count.messages_failed" not in headquarters.reports[-2].figures
    assert not process.events("sightings_lost")

    # What the broker retained meets the next start, which seals to the two that have good keys.
    for path in (field.folder / "state" / "day-keys").glob("c1*"):
        path.unlink()
    seen = headquarters.sequences("cam-1")[-1]
    again = start("run", "--config", field.folder / "box.toml")
    wait_until(lambda: headquarters.sequences("cam-1")[-1] > seen + 1, "envelopes after a restart")
    assert again.wait_event("epoch_announced")["custodians"] == ["c2", "c3"]
    again.send(signal.SIGTERM)
    assert again.end() == 0, "".join(again.lines)
    assert field.site.open(headquarters.payloads("cam-1"), custodians=("c2", "c3"), dimension=128)


class FalseTime:
    """The wall clock of one process alone, by way of libfaketime; its other clocks are right."""

    def __init__(self, folder: Path) -> None:
        assert _FAKETIME is not None, "libfaketime is missing: apt-get install faketime"
        self._file = folder / "offset"
        self.offset_s = 0
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(_FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s: int) -> None:
        self.offset_s = offset_s
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.replace(self._file)

    @property
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_s * 1000


@pytest.mark.parametrize(
    "steps", [(3600, 0), (-3600, 0), (86_400, 0)], ids=["hour ahead", "hour back", "day ahead"]
)
def test_a_box_whose_clock_is_set_and_set_right_goes_on_seeing(
    start: Start, field: Field, tmp_path: Path, steps: tuple[int, ...]
) -> None:
    today = names.epoch_of(time.time_ns() // 1_000_000)
    field.headquarters.publish_day_keys(epochs=range(today - 1, today + 3))
    clock = FalseTime(tmp_path)
    config = field.config(field.looping("cam-1"))
    process = start("run", "--config", config, environment=clock.environment)

    def sighted_since(begin_ms: int) -> int:
        """How many people have been sealed who were seen after ``begin_ms`` by the box's clock."""
        found = {
            sighting.sighting_id
            for one in field.opened("cam-1")
            for sighting in one.sightings
            if begin_ms <= sighting.last_seen_ms <= clock.now_ms
        }
        return len(found)

    begin_ms = clock.now_ms
    wait_until(lambda: sighted_since(begin_ms) >= 2, "people before the step")
    for count, offset_s in enumerate(steps, start=1):
        clock.set(offset_s)
        wait_until(lambda n=count: len(process.events("clock_set")) >= n, "the step is noticed")  # type: ignore[misc]
        begin_ms = clock.now_ms
        wait_until(lambda b=begin_ms: sighted_since(b) >= 4, f"people after {offset_s} s")  # type: ignore[misc]
    process.send(signal.SIGTERM)
    assert process.end() == 0, "".join(process.lines)
    assert not process.events("sightings_lost")
    assert process.events("clock_jump")
    opened = field.opened("cam-1")
    lives = {s.sighting_id for one in opened if one.kind == "live" for s in one.sightings}
    segments = {s.sighting_id for one in opened if one.kind == "segment" for s in one.sightings}
    assert lives <= segments
    numbers = field.headquarters.sequences("cam-1")
    assert numbers == list(range(len(numbers)))
