"""From the broker into the store and back as receipts; acknowledged only when stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.responses import Response
from sealed_boxes import (
    CUSTODIANS,
    DAY,
    DAY_KEYS,
    NOW_MS,
    SITE,
    TestBox,
    make_box,
    make_directory,
    sighting,
    unit_vector,
)
from store_file import rows

from aggregator.config import IngestSection, LimitsSection
from aggregator.ingest.floods import Floods
from aggregator.ingest.intake import Intake
from aggregator.ingest.receipts import Receipts
from aggregator.ingest.subscriber import Subscriber
from aggregator.relay import Relay
from aggregator.store.sqlite.store import SqliteStore
from aggregator.upkeep import Upkeep
from demo.broker import BrokerPlace, EmbeddedBroker
from demo.ports import free_port
from protocol.daykeys import DAY_KEYS_KIND, DayKeys
from protocol.directory import CUSTODIAN, Principal, authority_resolver
from protocol.names import RECEIPT, day_keys_topic, directory_topic
from protocol.sightings import Sighting
from protocol.signing import Signed, SigningKey
from protocol.telemetry import RECEIPT_KIND, Receipt
from runtime.config import MqttConfig
from runtime.http import CBOR, Ready, serve
from runtime.lifecycle import Stop, Threads
from runtime.mqtt import Delivery, Session
from runtime.trust import Trust

RNG = np.random.default_rng(5)
DEADLINE_S = 60.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MqttConfig]:
    port = free_port()
    with EmbeddedBroker(BrokerPlace(port, tmp_path / "broker")):
        yield MqttConfig(port=port)


class Headquarters:
    """Subscriber, intake, receipts and upkeep, running."""

    def __init__(self, folder: Path, mqtt: MqttConfig, boxes: list[TestBox]) -> None:
        self.stop = Stop()
        self.threads = Threads(self.stop)
        self.key = SigningKey.generate("aggregator")
        directory = make_directory(boxes, self.key)
        self.store = SqliteStore(folder / "a.db")
        self.intake = Intake(
            self.store,
            site=SITE,
            directory=lambda: directory,
            limits=LimitsSection(),
            retention_days=lambda: 14,
            now_ms=lambda: NOW_MS,
            audit=lambda _kind, _body: None,
        )
        receipts = Receipts(self.intake, aggregator=self.key, now_ms=lambda: NOW_MS)
        self.subscriber = Subscriber(
            mqtt,
            site=SITE,
            client_id="aggregator",
            intake=self.intake,
            floods=Floods(1 << 20),
            settings=IngestSection(batch_messages=16),
            on_stored=lambda batch: receipts.note(batch.changed),
            on_connected=receipts.note_all,
            on_crash=lambda error: self.stop.set(f"crash: {error}", exit_code=1),
            now_ms=lambda: NOW_MS,
        )
        upkeep = Upkeep(
            store=self.store,
            intake=self.intake,
            receipts=receipts,
            session=self.subscriber.session,
            retention_days=lambda: 14,
            receipt_interval_s=0.1,
            now_ms=lambda: NOW_MS,
        )
        self.threads.start("ingest", lambda: self.subscriber.run(self.stop))
        self.threads.start("upkeep", lambda: upkeep.run(self.stop))
        assert self.subscriber.session.wait_connected(DEADLINE_S)

    def stored(self) -> int:
        (row,) = rows(self.store, "SELECT count(*) FROM envelopes")
        return int(row[0])

    def floods(self) -> list[tuple[str, int]]:
        counted = rows(self.store, "SELECT box, count FROM rejects WHERE reason = 'box-floods'")
        return [(box, count) for box, count in counted]

    def end(self) -> None:
        self.stop.set("test over")
        self.threads.join(DEADLINE_S)
        self.store.close()
        assert self.stop.exit_code == 0, self.stop.reason


class Listener:
    """A client that notes what it hears."""

    def __init__(self, mqtt: MqttConfig, name: str, *filters: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.session = Session(mqtt, client_id=name, backoff_s=(0.05, 0.2))
        for topic_filter in filters:
            self.session.subscribe(topic_filter, self._hear)
        self.session.start()
        assert self.session.wait_connected(DEADLINE_S)

    def _hear(self, delivery: Delivery) -> None:
        self.heard.append((delivery.topic, delivery.payload))
        delivery.ack()

    def say(self, *messages: tuple[str, bytes], retain: bool = False) -> None:
        for topic, payload in messages:
            self.session.publish_and_wait(topic, payload, retain=retain)


@pytest.fixture
def box() -> TestBox:
    return make_box(1)


@pytest.fixture
def headquarters(tmp_path: Path, broker: MqttConfig, box: TestBox) -> Iterator[Headquarters]:
    running = Headquarters(tmp_path, broker, [box])
    yield running
    running.end()


def some(count: int = 2) -> list[Sighting]:
    return [sighting(unit_vector(RNG)) for _ in range(count)]


def last_receipt(listener: Listener, key: SigningKey) -> Receipt | None:
    if not listener.heard:
        return None
    signed = Signed.parse(listener.heard[-1][1], kind=RECEIPT_KIND)
    return Receipt.parse(signed.verify(lambda _name: key.verify_key))


def test_what_a_box_publishes_is_stored_and_receipted(
    headquarters: Headquarters, broker: MqttConfig, box: TestBox
) -> None:
    board = Listener(broker, "box-1", box.address.topic(RECEIPT))
    lost = box.live(some())
    board.say(box.announcement(), retain=True)
    board.say(*(box.live(some()) for _ in range(40)))
    wait_until(lambda: headquarters.stored() == 40, "40 envelopes stored")

    def receipt_says(through: int, missing: tuple[int, ...]) -> bool:
        receipt = last_receipt(board, headquarters.key)
        return receipt is not None and (receipt.stored_through, receipt.missing) == (
            through,
            missing,
        )

    wait_until(lambda: receipt_says(41, (0,)), "a receipt that names what is missing")
    board.say(lost)
    wait_until(lambda: receipt_says(41, ()), "a receipt for everything")
    late = Listener(broker, "late", box.address.topic(RECEIPT))
    wait_until(lambda: late.heard == board.heard[-1:], "the retained receipt")
    board.session.stop()
    late.session.stop()


def test_garbage_from_the_broker_stops_nobody(
    headquarters: Headquarters, broker: MqttConfig, box: TestBox
) -> None:
    board = Listener(broker, "box-1")
    board.say(
        (box.address.topic("envelope"), b"\xff" * 1000),
        (box.address.topic("epoch"), b""),
        (f"st/v1/{SITE}/UPPER/case/envelope", b"x"),
        (f"st/v1/{SITE}/box-1/health", b"{}"),
        box.live(some()),
    )
    wait_until(lambda: headquarters.stored() == 1, "the good one stored")
    board.session.stop()


def test_a_box_that_floods_is_named_and_everybody_elses_messages_are_taken(
    headquarters: Headquarters, broker: MqttConfig, box: TestBox
) -> None:
    flood = Listener(broker, "box-1")
    flood.say(*((f"st/v1/{SITE}/box-1/health", b"x" * 100_000) for _ in range(30)))
    flood.say(*((f"st/v1/{SITE}/nobody/health", b"x" * 100_000) for _ in range(30)))
    wait_until(lambda: len(headquarters.floods()) == 2, "both floods told")
    assert sorted(headquarters.floods()) == [("box-1", 1), ("unknown", 1)]
    flood.say(box.live(some()))
    wait_until(lambda: headquarters.stored() == 1, "a good one stored")
    flood.session.stop()


def test_with_a_full_disk_nothing_is_acknowledged_and_nothing_lost(
    headquarters: Headquarters, broker: MqttConfig, box: TestBox
) -> None:
    board = Listener(broker, "box-1", box.address.topic(RECEIPT))
    writer = headquarters.store._writer.conn
    with headquarters.store.writing():
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    messages = [box.live(some(60)) for _ in range(30)]
    board.say(*messages)
    wait_until(lambda: headquarters.subscriber.failing, "the full disk noticed")
    assert headquarters.stored() < 30
    with headquarters.store._lock:
        writer.execute("PRAGMA max_page_count = 1000000")
    wait_until(lambda: headquarters.stored() == 30, "everything stored after all")
    assert not headquarters.subscriber.failing
    board.session.stop()


def test_what_was_not_stored_comes_again_after_a_restart(
    tmp_path: Path, broker: MqttConfig, box: TestBox
) -> None:
    first = Headquarters(tmp_path, broker, [box])
    writer = first.store._writer.conn
    with first.store.writing():
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages}")
    board = Listener(broker, "box-1")
    board.say(*(box.live(some(60)) for _ in range(5)))
    wait_until(lambda: first.subscriber.failing, "the full disk noticed")
    first.end()
    second = Headquarters(tmp_path, broker, [box])
    wait_until(lambda: second.stored() == 5, "the broker delivered again")
    second.end()
    board.session.stop()


def test_day_keys_and_directory_are_relayed_retained_and_checked(
    tmp_path: Path, broker: MqttConfig, box: TestBox
) -> None:
    authority = SigningKey.generate("authority")
    keys = {name: SigningKey.generate(name) for name in CUSTODIANS}
    answers: dict[str, bytes] = {}
    app = FastAPI()

    @app.get("/{name}/v1/day-keys")
    def day_keys(name: str) -> Response:
        return Response(answers[name], media_type=CBOR)

    stop, ready = Stop(), Ready()
    server = threading.Thread(
        target=serve, args=(app, "127.0.0.1", 0, None, stop), kwargs={"ready": ready}
    )
    server.start()
    url = f"http://127.0.0.1:{ready.wait(DEADLINE_S)}"
    directory = make_directory([box], SigningKey.generate("aggregator"))
    custodians = {
        name: Principal(name, frozenset({CUSTODIAN}), key.verify_key, url=f"{url}/{name}/")
        for name, key in keys.items()
    }
    directory = replace(directory, principals={**directory.principals, **custodians})
    installed = tmp_path / "directory.cbor"
    installed.write_bytes(directory.sign(authority).to_bytes())
    trust = Trust(
        site=SITE, authority=authority.verify_key, installed=installed, state_dir=tmp_path
    )

    def signed_keys(name: str, signer: SigningKey, issued_at_ms: int = NOW_MS) -> bytes:
        day = DayKeys(SITE, name, issued_at_ms, {DAY: DAY_KEYS[name].public})
        return day.sign(signer).to_bytes()

    answers["c1"] = signed_keys("c1", keys["c1"])
    answers["c2"] = signed_keys("c2", SigningKey.generate("c2"))  # forged
    answers["c3"] = signed_keys("c1", keys["c1"])  # another's
    session = Session(broker, client_id="aggregator")
    session.start()
    assert session.wait_connected(DEADLINE_S)
    relay = Relay(site=SITE, trust=trust, session=session, tls=None, poll_s=60)
    assert not relay.poll()
    assert relay.publish()
    filters = [day_keys_topic(SITE, "+"), directory_topic(SITE)]
    board = Listener(broker, "box-1", *filters)
    wait_until(lambda: len(board.heard) == 2, "the retained messages")
    heard = dict(board.heard)
    assert heard[day_keys_topic(SITE, "c1")] == answers["c1"]
    relayed = Signed.parse(heard[directory_topic(SITE)], kind="directory")
    relayed.verify(authority_resolver(authority.verify_key))

    answers["c1"] = signed_keys("c1", keys["c1"], NOW_MS - 1)  # older: stays as it was
    answers["c2"] = signed_keys("c2", keys["c2"])
    answers["c3"] = signed_keys("c3", keys["c3"])
    newer = directory.next_version(directory.principals, at_ms=NOW_MS).sign(authority).to_bytes()
    assert trust.accept(newer)
    assert relay.poll()
    assert relay.publish()
    wait_until(lambda: len(board.heard) == 5, "what is new")
    assert dict(board.heard[2:]) == {
        day_keys_topic(SITE, "c2"): answers["c2"],
        day_keys_topic(SITE, "c3"): answers["c3"],
        directory_topic(SITE): newer,
    }
    Signed.parse(heard[day_keys_topic(SITE, "c1")], kind=DAY_KEYS_KIND)
    board.session.stop()
    session.stop()
    stop.set("test over")
    server.join(DEADLINE_S)
