"""The publisher brings the outbox to headquarters in order, whatever broker and network do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import protocol_samples as s
import pytest
from brokers import AnyBroker, Embedded, Mosquitto, mosquitto
from edge_brokers import Headquarters
from edge_site import Box, Site, make_sighting, seed_of, wait_until

from edge_agent import publisher
from edge_agent.config import BoxConfig, SealingConfig
from edge_agent.epochs import BoardEpochs
from edge_agent.notices import Notices
from edge_agent.publisher import Publisher
from edge_agent.seal import CameraSealer
from protocol import names
from protocol.admissions import Admissions
from protocol.directory import REGISTRAR, Principal
from protocol.keytree import FACE
from protocol.names import CameraAddress
from protocol.policy import sign_policy
from protocol.signing import SigningKey
from protocol.v2.hours import CameraHours, DayHours
from protocol.v2.notices import Notice
from runtime.config import MqttConfig
from runtime.mqtt import Session

NewRunner = Callable[..., "Runner"]


class Runner:
    """A publisher in its thread over a box's outbox, with sealing on the true wall clock."""

    def __init__(self, box: Box, config: BoxConfig) -> None:
        self.box = box
        self.revoked: list[str] = []
        self.crashes: list[BaseException] = []
        self.publisher = Publisher(
            config,
            board=box.site.board,
            outbox=box.outbox,
            trust=box.trust,
            keyring=box.keyring,
            notices=Notices(box.trust, file=box.folder / "notice.cbor"),
            figures=lambda: {"camera.cam-1.fps": 4.5},
            on_revoked=self.revoked.append,
            on_crash=self.crashes.append,
            backoff_s=(0.05, 0.2),
            settle_s=0.1,
        )
        self._sealers: dict[str, CameraSealer] = {}
        self._thread = threading.Thread(target=self.publisher.run, name="publisher", daemon=True)
        self._thread.start()

    def sealer(self, camera: str = "cam-1") -> CameraSealer:
        if camera not in self._sealers:
            self._sealers[camera] = CameraSealer(
                BoardEpochs(
                    CameraAddress("demo", "box-1", camera),
                    trust=self.box.trust,
                    keyring=self.box.keyring,
                    board=self.box.site.board,
                    models={FACE: "test-32@00000000"},
                    outbox=self.box.outbox,
                    may_begin=lambda: self.publisher.heard,
                ),
                outbox=self.box.outbox,
                board=self.box.site.board,
                config=SealingConfig(batch=1, day_keys_wait_s=0),
            )
        return self._sealers[camera]

    def see(self, *seeds: int, camera: str = "cam-1") -> None:
        """One live envelope a sighting."""
        for seed in seeds:
            now_ms = time.time_ns() // 1_000_000
            self.sealer(camera).add([make_sighting(now_ms - 1000, seed=seed)], now_ms)

    def ready(self) -> None:
        wait_until(lambda: len(self.box.keyring.for_epoch(today())) == 3, "day keys")
        wait_until(lambda: self.publisher.heard, "settling")

    def stop(self) -> None:
        self.publisher.stop(1)
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self.crashes == []


def today() -> int:
    return names.epoch_of(time.time_ns() // 1_000_000)


@pytest.fixture
def run(
    new_box: Callable[..., Box], box_config: Callable[..., BoxConfig], broker: AnyBroker
) -> Iterator[NewRunner]:
    runners: list[Runner] = []

    def start(box: Box | None = None, **changes: Any) -> Runner:
        runners.append(Runner(box or new_box(custodians=()), box_config(broker.port, **changes)))
        return runners[-1]

    yield start
    for runner in runners:
        runner.stop()


def test_announcements_envelopes_and_receipts_make_the_round(
    run: NewRunner, headquarters: Headquarters, site: Site
) -> None:
    headquarters.publish_day_keys()
    runner = run()
    runner.ready()
    runner.see(1, 2, 3)
    runner.see(4, camera="cam-2")
    wait_until(lambda: headquarters.sequences("cam-1") == [0, 1, 2, 3])
    runner.sealer().finish()
    wait_until(lambda: runner.box.outbox.idle(receipted=True), "receipts")
    opened = site.open(headquarters.payloads("cam-1"))
    assert [seed_of(s) for one in opened if one.kind == "live" for s in one.sightings] == [1, 2, 3]
    assert [one.ids for one in opened if one.kind == "segment"] == [[1, 2, 3]]
    assert headquarters.sequences("cam-1") == list(range(5))
    assert headquarters.sequences("cam-2") == [0, 1]
    assert headquarters.copies == 0
    assert runner.box.outbox.stats().bytes_kept == 0


def test_the_announcement_is_retained_and_envelopes_are_not(
    run: NewRunner, headquarters: Headquarters, site: Site, broker: AnyBroker
) -> None:
    headquarters.publish_day_keys()
    runner = run()
    runner.ready()
    runner.see(1)
    wait_until(lambda: runner.box.outbox.idle(receipted=True))
    late = Headquarters(site, broker.port, client_id="latecomer")
    late.receipts = False
    wait_until(lambda: late.stored.get("cam-1"))
    assert list(late.stored["cam-1"]) == [0]
    late.stop()


def test_health_says_online_with_figures_then_offline(
    run: NewRunner, headquarters: Headquarters
) -> None:
    runner = run()
    wait_until(lambda: headquarters.reports)
    first = headquarters.reports[0]
    assert (first.state, first.site, first.box) == ("online", "demo", "box-1")
    assert first.figures["camera.cam-1.fps"] == 4.5
    wait_until(lambda: len(headquarters.reports) >= 3, "one a second")
    runner.stop()
    wait_until(lambda: headquarters.reports[-1].state == "offline")


def test_the_broker_keeps_a_session_for_minutes_whatever_the_box_is_told(
    run: NewRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def session(config: MqttConfig, **more: Any) -> Session:
        asked.append(config.session_expiry_s)
        return Session(config, **more)

    monkeypatch.setattr(publisher, "Session", session)
    run()
    assert asked == [300]


def test_a_broker_that_vanishes_for_a_while_loses_nothing(
    run: NewRunner, headquarters: Headquarters, site: Site, broker: AnyBroker
) -> None:
    headquarters.publish_day_keys()
    # A broker that forgets may take messages before headquarters has subscribed again.
    runner = run(outbox={"resend_after_s": 1})
    runner.ready()
    runner.see(*range(20))
    broker.stop()
    runner.see(*range(20, 60))
    assert runner.box.outbox.stats().queued > 0
    broker.start()
    runner.see(*range(60, 80))
    runner.sealer().finish()

    def everything() -> bool:
        if headquarters.connected and headquarters.stored.get("cam-1"):
            with suppress(Exception):
                headquarters.send_receipt("cam-1")
        return runner.box.outbox.idle(receipted=True)

    wait_until(everything, "receipts for everything")
    held = headquarters.sequences("cam-1")
    assert held == list(range(held[-1] + 1))
    segments = [one for one in site.open(headquarters.payloads("cam-1")) if one.kind == "segment"]
    assert [one.ids for one in segments] == [list(range(80))]


def test_reconnecting_again_and_again_does_not_multiply_messages(
    run: NewRunner, headquarters: Headquarters, broker: AnyBroker
) -> None:
    headquarters.publish_day_keys()
    runner = run()
    runner.ready()
    runner.see(*range(10))
    wait_until(lambda: runner.box.outbox.idle(receipted=True))
    published = runner.box.outbox.stats().counters["published_messages"]
    assert published == 11
    for times in range(2, 4):
        broker.stop()
        wait_until(lambda: not runner.publisher.connected)
        broker.start()
        wait_until(lambda times=times: runner.publisher.connections >= times)  # type: ignore[misc]
        wait_until(lambda times=times: headquarters.connections >= times)  # type: ignore[misc]
    runner.see(10)
    wait_until(lambda: runner.box.outbox.idle(receipted=True))
    assert runner.box.outbox.stats().counters["published_messages"] == published + 1


def test_what_a_receipt_misses_is_sent_again(run: NewRunner, headquarters: Headquarters) -> None:
    headquarters.publish_day_keys()
    headquarters.receipts = False
    runner = run()
    runner.ready()
    runner.see(1, 2, 3)
    wait_until(lambda: len(headquarters.sequences("cam-1")) == 4)
    wait_until(lambda: runner.box.outbox.stats().acknowledged == 4)
    del headquarters.stored["cam-1"][2]
    headquarters.send_receipt("cam-1")
    wait_until(lambda: headquarters.sequences("cam-1") == [0, 1, 2, 3])
    headquarters.send_receipt("cam-1")
    wait_until(lambda: runner.box.outbox.idle(receipted=True))


def test_what_no_receipt_covers_is_sent_again_after_a_while(
    run: NewRunner, headquarters: Headquarters
) -> None:
    headquarters.publish_day_keys()
    headquarters.receipts = False
    runner = run(outbox={"resend_after_s": 1})
    runner.ready()
    runner.see(1)
    wait_until(lambda: headquarters.copies >= 2)
    assert headquarters.sequences("cam-1") == [0, 1]


def test_a_receipt_dated_ahead_shuts_out_none_that_follows(
    run: NewRunner, headquarters: Headquarters
) -> None:
    headquarters.publish_day_keys()
    headquarters.receipts = False
    runner = run()
    runner.ready()
    runner.see(1, 2)
    wait_until(lambda: runner.box.outbox.stats().acknowledged == 3)
    a_year_ahead_ms = time.time_ns() // 1_000_000 + 365 * 24 * 3_600_000
    headquarters.send_receipt("cam-1", stored_through=0, issued_at_ms=a_year_ahead_ms)
    wait_until(lambda: runner.box.outbox.stats().acknowledged == 2)
    headquarters.send_receipt("cam-1")
    wait_until(lambda: runner.box.outbox.idle(receipted=True))


def test_hours_dated_ahead_count_for_no_longer_and_shut_out_none_that_follow(
    run: NewRunner, headquarters: Headquarters, site: Site
) -> None:
    runner, address = run(), CameraAddress("demo", "box-1", "cam-1")
    now_ms = time.time_ns() // 1_000_000

    def told(slot: int, issued_at_ms: int) -> None:
        day = DayHours(live=frozenset({slot}))
        hours = CameraHours(address, issued_at_ms, {20_000: day}).sign(site.aggregator)
        headquarters.publish(address.topic(names.HOURS), hours.to_bytes())

    def heard(slot: int) -> bool:
        hours = runner.publisher.hours("cam-1")
        return hours is not None and slot in hours.days[20_000].live

    told(1, now_ms + 365 * 24 * 3_600_000)
    wait_until(lambda: heard(1))
    first = runner.publisher.hours("cam-1")
    assert first is not None
    assert first.issued_at_ms <= time.time_ns() // 1_000_000
    told(2, time.time_ns() // 1_000_000)
    wait_until(lambda: heard(2))


@pytest.mark.parametrize("forgery", ["signer", "address"])
def test_forged_receipts_delete_nothing(
    run: NewRunner, headquarters: Headquarters, site: Site, forgery: str
) -> None:
    headquarters.publish_day_keys()
    headquarters.receipts = False
    runner = run()
    runner.ready()
    runner.see(1, 2)
    wait_until(lambda: runner.box.outbox.stats().acknowledged == 3)
    if forgery == "signer":
        by = SigningKey("aggregator", SigningKey.generate("x").seed)
        headquarters.send_receipt("cam-1", by=by)
    else:
        other = CameraAddress("demo", "box-1", "cam-2")
        headquarters.send_receipt("cam-1", address=other)
    wait_until(lambda: runner.box.outbox.stats().counters.get("messages_refused"))
    assert runner.box.outbox.stats().acknowledged == 3


def test_day_keys_by_nobody_we_know_are_refused(
    run: NewRunner, headquarters: Headquarters, site: Site
) -> None:
    runner = run()
    stranger = Site.__new__(Site)
    stranger.__dict__.update(site.__dict__)
    stranger.custodians = {"c1": SigningKey.generate("c1")}
    headquarters.publish(names.day_keys_topic("demo", "c1"), stranger.day_keys("c1", [today()]))
    headquarters.publish(names.day_keys_topic("demo", "c2"), site.day_keys("c2", [today()]))
    wait_until(lambda: "c2" in runner.box.keyring.for_epoch(today()))
    assert sorted(runner.box.keyring.for_epoch(today())) == ["c2"]
    assert runner.box.outbox.stats().counters["messages_refused"] == 1


def test_a_newer_directory_is_taken_and_kept_and_an_older_one_refused(
    run: NewRunner, headquarters: Headquarters, site: Site
) -> None:
    runner = run()
    newer = site.directory.next_version(site.directory.principals, at_ms=2)
    topic = names.directory_topic("demo")
    headquarters.publish(topic, site.signed_directory(newer))
    wait_until(lambda: runner.box.trust.directory.version == 2)
    headquarters.publish(topic, site.signed_directory())
    wait_until(lambda: runner.box.outbox.stats().counters.get("messages_refused"))
    assert runner.box.trust.directory.version == 2
    assert site.trust(runner.box.folder).directory.version == 2, "also after a restart"


def test_a_notice_is_taken_from_the_aggregator_alone_and_kept(
    run: NewRunner, headquarters: Headquarters, site: Site
) -> None:
    runner = run()
    text = s.POLICY_TEXT.replace(s.SITE.encode(), b"demo")
    notice = Notice("demo", 4, 2, text, sign_policy(text, site.authority), ())
    topic = names.notice_topic("demo")
    headquarters.publish(topic, notice.sign(site.board).to_bytes())
    wait_until(lambda: runner.box.outbox.stats().counters.get("messages_refused"))
    headquarters.publish(topic, notice.sign(site.aggregator).to_bytes())
    kept = runner.box.folder / "notice.cbor"
    wait_until(lambda: kept.exists() and Notices(runner.box.trust, file=kept).number == 4)


def test_a_revoked_box_stops_publishing_at_once(
    run: NewRunner, headquarters: Headquarters, site: Site
) -> None:
    headquarters.publish_day_keys()
    runner = run()
    runner.ready()
    runner.see(1)
    wait_until(lambda: headquarters.sequences("cam-1") == [0, 1])
    revoked = site.directory.revoke("box-1", at_ms=5)
    headquarters.publish(names.directory_topic("demo"), site.signed_directory(revoked))
    wait_until(lambda: runner.revoked)
    assert "revoked" in runner.revoked[0]
    runner.see(2)
    reports = len(headquarters.reports)
    # A round trip through broker and box that shows that the publisher still runs its loop.
    headquarters.publish_day_keys(epochs=[today() + 3])
    again = replace(revoked, version=revoked.version + 1)
    headquarters.publish(names.directory_topic("demo"), site.signed_directory(again))
    wait_until(lambda: runner.box.trust.directory.version == again.version)
    assert headquarters.sequences("cam-1") == [0, 1]
    assert len(headquarters.reports) <= reports + 1
    assert runner.box.outbox.stats().queued == 1


def test_a_box_that_lost_its_disk_goes_on_where_headquarters_is(
    run: NewRunner, headquarters: Headquarters, site: Site, new_box: Callable[..., Box]
) -> None:
    headquarters.publish_day_keys()
    first = run()
    first.ready()
    first.see(1, 2)
    wait_until(lambda: first.box.outbox.idle(receipted=True))
    generation = first.sealer().stats().generation
    first.stop()
    wait_until(lambda: time.time() > generation + 1, "another second")
    second = run(new_box(custodians=()))
    second.ready()
    second.see(3)
    wait_until(lambda: headquarters.sequences("cam-1") == [0, 1, 2, 3, 4])
    opened = site.open(headquarters.payloads("cam-1"))
    assert [one.ids for one in opened] == [[1], [2], [3]]
    assert opened[2].generation > generation


def test_the_network_carries_no_plain_template(
    run: NewRunner, headquarters: Headquarters, site: Site
) -> None:
    headquarters.publish_day_keys()
    runner = run()
    runner.ready()
    runner.see(*range(30))
    runner.sealer().finish()
    wait_until(lambda: runner.box.outbox.idle(receipted=True))
    traffic = b"".join(payload for _, payload in headquarters.raw)
    opened = site.open(headquarters.payloads("cam-1"))
    assert {seed for one in opened for seed in one.ids} == set(range(30))
    for seed in range(30):
        sighting = make_sighting(0, seed=seed)
        assert sighting.templates[FACE].row.tobytes()[:8] not in traffic
        assert sighting.sighting_id not in traffic


def test_a_message_over_the_brokers_limit_does_not_hold_up_the_others(
    new_box: Callable[..., Box],
    box_config: Callable[..., BoxConfig],
    embedded: Embedded,
    site: Site,
) -> None:
    headquarters = Headquarters(site, embedded.port)
    headquarters.publish_day_keys()
    config = box_config(embedded.port, mqtt={"port": embedded.port, "max_payload_bytes": 10_000})
    runner = Runner(new_box(custodians=()), config)
    runner.ready()
    runner.see(*range(300))
    runner.sealer().finish()  # a segment of some 20 kB
    runner.see(300)
    wait_until(lambda: len(headquarters.sequences("cam-1")) >= 3)
    wait_until(lambda: runner.box.outbox.stats().counters.get("too_large_for_broker"))
    wait_until(
        lambda: any(300 in o.ids for o in site.open(headquarters.payloads("cam-1"))), "the last one"
    )
    runner.stop()
    headquarters.stop()


@pytest.mark.mosquitto
def test_what_the_broker_refuses_is_kept_and_tried_again(
    new_box: Callable[..., Box],
    box_config: Callable[..., BoxConfig],
    site: Site,
    tmp_path: Path,
) -> None:
    if mosquitto() is None:
        pytest.skip("Mosquitto is not installed")
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite #\ntopic deny st/v1/demo/box-1/cam-1/envelope\n")
    broker = Mosquitto(tmp_path, f"allow_anonymous true\nacl_file {rules}")
    broker.start()
    headquarters = Headquarters(site, broker.port)
    headquarters.publish_day_keys()
    runner = Runner(new_box(custodians=()), box_config(broker.port))
    runner.ready()
    runner.see(1)
    wait_until(lambda: runner.box.outbox.stats().counters.get("publish_refused"))
    assert headquarters.sequences("cam-1") == [0]
    assert not runner.box.outbox.idle(receipted=False)
    rules.write_text("topic readwrite #\n")
    broker.reload()
    wait_until(lambda: headquarters.sequences("cam-1") == [0, 1])
    runner.stop()
    headquarters.stop()
    broker.stop()


def test_a_box_that_the_registrar_revokes_hears_of_it_from_the_broker(
    run: NewRunner, headquarters: Headquarters, site: Site
) -> None:
    runner = run()
    registrar = SigningKey.generate("registrar")
    listed = Principal("registrar", frozenset({REGISTRAR}), registrar.verify_key)
    principals = {**site.directory.principals, "registrar": listed}
    newer = site.directory.next_version(principals, at_ms=2)
    headquarters.publish(names.directory_topic("demo"), site.signed_directory(newer))
    topic = names.admissions_topic("demo")

    def has(version: int) -> bool:
        return runner.box.trust.admissions_version == version

    for version, gone in ((1, {}), (2, {"box-1": 5})):
        assert not runner.revoked
        admissions = Admissions("demo", version, 5, {}, gone).sign(registrar)
        headquarters.publish(topic, admissions.to_bytes())
        wait_until(partial(has, version))
    wait_until(lambda: runner.revoked)
    assert "revoked" in runner.revoked[0]
