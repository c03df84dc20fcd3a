"""A site has several brokers: a box goes on to the next, headquarters is with all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import BOTH, AnyBroker, running
from pydantic import ValidationError

from runtime.config import BrokerAddress, MqttConfig
from runtime.mqtt import Delivery, NotConnected, Outcome, PublishFailed, Session
from runtime.mqtt_brokers import Brokers

Until = Callable[..., None]
QUICK = (0.02, 0.1)


@pytest.fixture(params=BOTH)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[AnyBroker, AnyBroker]]:
    """Two brokers that know nothing of one another."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    with running(request.param, folders[0]) as first, running(request.param, folders[1]) as second:
        yield first, second


def knows(first: AnyBroker, second: AnyBroker) -> MqttConfig:
    further = (BrokerAddress(host="127.0.0.1", port=second.port),)
    return MqttConfig(port=first.port, further=further)


class Inbox:
    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def __call__(self, delivery: Delivery) -> None:
        self.payloads.append(delivery.payload)
        delivery.ack()


def test_a_broker_is_named_once() -> None:
    one = BrokerAddress(host="127.0.0.1", port=8883)
    with pytest.raises(ValidationError, match="named twice"):
        MqttConfig(further=(one,))
    other = BrokerAddress(host="b.example")
    assert [(c.host, c.further) for c in MqttConfig(further=(other,)).each] == [
        ("127.0.0.1", ()),
        ("b.example", ()),
    ]


@pytest.mark.processes
def test_a_box_goes_on_to_the_next_broker_and_is_told_that_it_is_a_new_one(
    both: tuple[AnyBroker, AnyBroker], until: Until
) -> None:
    present: list[bool] = []
    box = Session(
        knows(*both), client_id="box-1", on_connected=present.append, backoff_s=QUICK, fresh=True
    )
    with box, Brokers(knows(*both), client_id="hq", backoff_s=QUICK) as headquarters:
        inbox = Inbox()
        headquarters.subscribe("a/+", inbox)
        assert headquarters.wait_connected(30)
        assert box.wait_connected(30)
        box.publish_and_wait("a/1", b"over the first")
        until(lambda: inbox.payloads)  # a broker may die between answering and passing on
        both[0].stop()
        until(lambda: box.connections == 2)
        box.publish_and_wait("a/1", b"over the second")
        until(lambda: len(inbox.payloads) == 2)
        assert inbox.payloads == [b"over the first", b"over the second"]
        assert present == [False, False]
        both[0].start()
        until(lambda: headquarters.connections == 3)
        assert box.connections == 2  # it stays where it is well


@pytest.mark.processes
def test_headquarters_says_what_it_says_at_every_broker(
    both: tuple[AnyBroker, AnyBroker], until: Until
) -> None:
    with Brokers(knows(*both), client_id="hq", backoff_s=QUICK) as headquarters:
        assert headquarters.wait_connected(30)
        done: list[Outcome] = []
        headquarters.publish("r/1", b"stored", retain=True, token="it", on_done=done.append)
        until(lambda: done)
        assert [(one.token, one.result) for one in done] == [("it", "acknowledged")]
        for broker in both:
            inbox = Inbox()
            reader = Session(MqttConfig(port=broker.port), client_id="box-1", backoff_s=QUICK)
            reader.subscribe("r/+", inbox)
            with reader:
                until(lambda kept=inbox: kept.payloads == [b"stored"])


@pytest.mark.processes
def test_a_broker_that_is_away_holds_up_nothing(
    both: tuple[AnyBroker, AnyBroker], until: Until
) -> None:
    with Brokers(knows(*both), client_id="hq", backoff_s=QUICK) as headquarters:
        assert headquarters.wait_connected(30)
        both[1].stop()
        until(lambda: not headquarters.wait_connected(0.0))
        headquarters.publish_and_wait("r/1", b"over one", retain=True)
        both[0].stop()
        until(lambda: not headquarters.connected)
        with pytest.raises((NotConnected, PublishFailed)):
            headquarters.publish_and_wait("r/1", b"over none", timeout_s=1)


@pytest.mark.processes
def test_what_is_unsubscribed_comes_no_more(
    both: tuple[AnyBroker, AnyBroker], until: Until
) -> None:
    kept, dropped = Inbox(), Inbox()
    with (
        Brokers(knows(*both), client_id="hq", backoff_s=QUICK) as headquarters,
        Session(MqttConfig(port=both[0].port), client_id="box-1") as box,
    ):
        headquarters.subscribe("a/+", dropped)
        headquarters.subscribe("b/+", kept)
        assert headquarters.wait_connected(30)
        assert box.wait_connected(30)
        headquarters.unsubscribe("a/+")
        headquarters.unsubscribe("never/there")
        box.publish_and_wait("a/1", b"unwanted")
        box.publish_and_wait("b/1", b"wanted")
        until(lambda: kept.payloads == [b"wanted"])
        assert dropped.payloads == []
