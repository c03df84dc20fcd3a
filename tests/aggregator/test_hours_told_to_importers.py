"""Boxes that may import films of a camera hear which of its quarter hours are in store already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boxes_v2 import BoxOfVersion2, make_box_v2, strangers
from intake_desk import Desk
from sealed_boxes import NOW_MS, SITE, TestBox

from aggregator.hours import ANEW_S, LOOK_S, HourTeller
from aggregator.relay import Relay
from protocol.epoch import CAMERA_NOW, RECORDING
from protocol.names import EPOCH_MS, HOURS, CameraAddress
from protocol.v2.hours import CameraHours, DayHours, open_hours

RNG = np.random.default_rng(3)
DAY = NOW_MS // EPOCH_MS


class Told:
    """A camera that one box watches, and of which two import films; what these are told."""

    def __init__(self, path: Path) -> None:
        self.watcher, self.one, self.other = (make_box_v2(number) for number in (1, 2, 3))
        for station in (self.one, self.other):
            station.camera, station.origin = self.watcher.camera, RECORDING
        self.stranger = make_box_v2(4)
        self.desk = Desk(path, [self.watcher, self.one, self.other, self.stranger])
        listed = dict(self.desk.directory.principals)
        for station in (self.one, self.other):
            listed[station.name] = replace(
                listed[station.name], cameras=(), recordings=(self.watcher.camera,)
            )
        self.desk.directory = replace(self.desk.directory, form=2, principals=listed)
        self.now_s = 0.0
        self.teller = self.make_teller()

    def make_teller(self) -> HourTeller:
        return HourTeller(
            self.desk.store,
            site=SITE,
            directory=lambda: self.desk.directory,
            key=self.desk.aggregator,
            retention_days=lambda: 14,
            now_ms=lambda: self.desk.now_ms,
            now_s=lambda: self.now_s,
        )

    def take(self, box: BoxOfVersion2, *slots: int, epoch: int = DAY) -> None:
        box.generation += 1
        messages = [box.announcement(epoch)]
        messages += [
            box.segment(strangers(1, RNG), epoch=epoch, slot=slot, sealed_at_ms=NOW_MS)
            for slot in slots
        ]
        assert self.desk.take(*messages).stored == len(messages), self.desk.rejects()

    def to(self, box: TestBox) -> CameraHours:
        self.now_s += LOOK_S
        data = self.teller.messages()[box.address.topic(HOURS)]
        return open_hours(data, self.desk.directory, address=box.address)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path / "a.db")
    yield made
    made.desk.store.close()


def test_each_hears_what_was_watched_and_what_itself_and_others_imported(told: Told) -> None:
    told.take(told.watcher, 40, 41)
    told.take(told.one, 41, 42, epoch=DAY - 1)
    told.take(told.other, 43, epoch=DAY - 1)
    told.take(told.stranger, 30)
    watched, first, second = frozenset({40, 41}), frozenset({41, 42}), frozenset({43})
    assert told.to(told.one).days == {
        DAY: DayHours(live=watched),
        DAY - 1: DayHours(elsewhere=second, own=first),
    }
    assert told.to(told.other).days == {
        DAY: DayHours(live=watched),
        DAY - 1: DayHours(elsewhere=first, own=second),
    }


def test_nobody_else_is_told(told: Told) -> None:
    told.take(told.watcher, 40)
    assert set(told.teller.messages()) == {
        told.one.address.topic(HOURS),
        told.other.address.topic(HOURS),
    }


def test_who_may_both_watch_and_import_hears_what_it_watched_itself(told: Told) -> None:
    listed = dict(told.desk.directory.principals)
    box = told.watcher
    listed[box.name] = replace(listed[box.name], recordings=(box.camera,))
    told.desk.directory = replace(told.desk.directory, principals=listed)
    told.take(box, 40)
    box.origin = RECORDING
    told.take(box, 41, epoch=DAY - 1)
    box.origin = CAMERA_NOW
    assert told.to(box).days == {
        DAY: DayHours(live=frozenset({40})),
        DAY - 1: DayHours(own=frozenset({41})),
    }


def test_what_comes_is_told_within_a_minute_and_signed_anew_only_then(told: Told) -> None:
    told.take(told.watcher, 40)
    before = dict(told.teller.messages())
    told.take(told.watcher, 44)
    assert not told.teller.due
    assert told.teller.messages() == before
    assert told.to(told.one).days[DAY].live == {40, 44}
    before = dict(told.teller.messages())
    told.now_s += LOOK_S
    assert told.teller.due
    assert told.teller.messages() == before


def test_every_hour_it_is_said_anew_that_nothing_has_changed(told: Told) -> None:
    told.take(told.watcher, 40)
    assert told.to(told.one).issued_at_ms == NOW_MS
    told.desk.now_ms += int(ANEW_S * 1000)
    told.now_s += ANEW_S
    assert told.to(told.one).issued_at_ms == told.desk.now_ms


def test_segments_that_came_before_their_announcement_are_told_of_in_the_end(told: Told) -> None:
    late = told.watcher.announcement()
    told.desk.take(told.watcher.segment(strangers(1, RNG), slot=40))
    assert told.to(told.one).days == {}
    told.desk.take(late)
    told.now_s += ANEW_S
    assert told.to(told.one).days == {DAY: DayHours(live=frozenset({40}))}


def test_live_envelopes_and_days_past_retention_are_not_told_of(told: Told) -> None:
    told.take(told.watcher, 40, epoch=DAY - 14)
    told.desk.take(told.watcher.announcement(), told.watcher.live(strangers(1, RNG)))
    assert set(told.to(told.one).days) == {DAY - 14}
    told.desk.now_ms += EPOCH_MS
    assert told.to(told.one).days == {}


def test_a_box_that_is_given_films_to_import_hears_at_once(told: Told) -> None:
    told.take(told.stranger, 30)
    told.teller.messages()
    listed = dict(told.desk.directory.principals)
    listed[told.one.name] = replace(
        listed[told.one.name], recordings=(told.watcher.camera, told.stranger.camera)
    )
    told.desk.directory = replace(told.desk.directory, principals=listed)
    assert told.teller.due
    address = CameraAddress(SITE, told.one.name, told.stranger.camera)
    data = told.teller.messages()[address.topic(HOURS)]
    hours = open_hours(data, told.desk.directory, address=address)
    assert hours.days == {DAY: DayHours(live=frozenset({30}))}


class Broker:
    """Takes what is published."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}

    def publish_and_wait(self, topic: str, payload: bytes, *, retain: bool) -> None:
        assert retain
        self.retained[topic] = payload


class Unsaid:
    """Trust of which nothing is to be relayed."""

    signed_admissions = None

    def __init__(self, directory: object) -> None:
        self.directory = directory

    def signed_in(self, _form: int) -> None:
        return None


def test_the_relay_retains_it_for_each_box_that_imports(told: Told) -> None:
    broker: Any = Broker()
    trust: Any = Unsaid(told.desk.directory)
    relay = Relay(site=SITE, trust=trust, session=broker, tls=None, poll_s=60.0, hours=told.teller)
    told.take(told.watcher, 40)
    assert relay.publish()
    assert set(broker.retained) == set(told.teller.messages())
