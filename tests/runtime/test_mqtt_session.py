"""A session delivers at least once in both directions, and outlives its broker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from runtime.config import MqttConfig
from runtime.mqtt import (
    Delivery,
    MqttError,
    NotConnected,
    Outcome,
    PayloadTooLarge,
    PublishFailed,
    Session,
    Will,
    WindowFull,
)


class BrokerLike(Protocol):
    port: int
    keeps_sessions_over_a_restart: bool

    def start(self) -> None: ...
    def stop(self) -> None: ...


DEADLINE_S = 60.0
MakeSession = Callable[..., Session]


def until(condition: Callable[[], object]) -> None:
    pulse = threading.Event()
    for _ in range(int(DEADLINE_S * 100)):
        if condition():
            return
        pulse.wait(0.01)
    raise AssertionError("waited too long")


@pytest.fixture
def make(broker: BrokerLike) -> Iterator[MakeSession]:
    sessions: list[Session] = []

    def build(client_id: str, **options: Any) -> Session:
        config = options.pop("config", None) or MqttConfig(port=broker.port)
        options.setdefault("backoff_s", (0.05, 0.2))
        session = Session(config, client_id=client_id, **options)
        sessions.append(session)
        return session

    yield build
    for session in sessions:
        session.stop(1)


def started(session: Session) -> Session:
    session.start()
    assert session.wait_connected(DEADLINE_S)
    return session


class Inbox:
    """A handler that keeps what it gets and acknowledges it, unless told not to."""

    def __init__(self, *, acknowledge: bool = True) -> None:
        self.deliveries: list[Delivery] = []
        self.acknowledge = acknowledge

    def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        if self.acknowledge:
            delivery.ack()

    def payloads(self) -> list[bytes]:
        return [delivery.payload for delivery in self.deliveries]


def test_messages_of_any_allowed_size_arrive_and_are_acknowledged(make: MakeSession) -> None:
    inbox = Inbox()
    receiver = make("receiver")
    receiver.subscribe("t/#", inbox)
    started(receiver)
    sender = started(make("sender"))
    for size in (0, 1, 1000, 1_000_000, 8 << 20):
        sender.publish_and_wait("t/x", b"x" * size, timeout_s=DEADLINE_S)
    until(lambda: len(inbox.deliveries) == 5)
    assert [len(payload) for payload in inbox.payloads()] == [0, 1, 1000, 1_000_000, 8 << 20]
    assert not any(delivery.retain for delivery in inbox.deliveries)


def test_outcomes_carry_the_publishers_token(make: MakeSession) -> None:
    sender = started(make("sender"))
    outcomes: list[Outcome] = []
    for number in range(200):
        sender.publish("t/x", b"m", token=number, on_done=outcomes.append, timeout_s=DEADLINE_S)
    sender.publish("t/x", b"m", qos=0, token="zero", on_done=outcomes.append, timeout_s=DEADLINE_S)
    until(lambda: len(outcomes) == 201)
    assert {outcome.token for outcome in outcomes} == {*range(200), "zero"}
    assert {outcome.result for outcome in outcomes} == {"acknowledged"}
    assert sender.inflight == 0


def test_what_is_too_large_is_refused_before_it_is_sent(
    make: MakeSession, broker: BrokerLike
) -> None:
    config = MqttConfig(port=broker.port, max_payload_bytes=2000)
    sender = started(make("sender", config=config))
    with pytest.raises(PayloadTooLarge, match="max_payload_bytes"):
        sender.publish("t/x", b"x" * 2001)
    assert sender.connected


def test_a_message_over_the_receivers_limit_is_never_handled(
    make: MakeSession, broker: BrokerLike
) -> None:
    inbox = Inbox()
    receiver = make("receiver", config=MqttConfig(port=broker.port, max_payload_bytes=2000))
    receiver.subscribe("t/#", inbox)
    started(receiver)
    sender = started(make("sender"))
    for payload in (b"x" * 2001, b"x" * 200_000, b"small"):
        sender.publish_and_wait("t/x", payload)
    until(lambda: inbox.deliveries)
    assert inbox.payloads() == [b"small"]


def test_retained_messages_are_told_from_live_ones(make: MakeSession) -> None:
    sender = started(make("sender"))
    sender.publish_and_wait("t/epoch", b"old", retain=True)
    sender.publish_and_wait("t/epoch", b"stored", retain=True)
    inbox = Inbox()
    receiver = make("receiver")
    receiver.subscribe("t/+", inbox)
    started(receiver)
    until(lambda: inbox.deliveries)
    sender.publish_and_wait("t/epoch", b"live", retain=True)
    until(lambda: len(inbox.deliveries) == 2)
    assert [(d.payload, d.retain) for d in inbox.deliveries] == [
        (b"stored", True),
        (b"live", False),
    ]


def test_a_handler_added_while_connected_gets_messages(make: MakeSession) -> None:
    receiver = started(make("receiver"))
    first, second = Inbox(), Inbox()
    receiver.subscribe("a/#", first)
    receiver.subscribe("b/#", second)
    assert receiver.wait_connected(DEADLINE_S)
    sender = started(make("sender"))
    sender.publish_and_wait("b/x", b"2")
    sender.publish_and_wait("a/x", b"1")
    until(lambda: first.deliveries and second.deliveries)
    assert (first.payloads(), second.payloads()) == ([b"1"], [b"2"])


def test_the_will_speaks_for_one_who_vanishes(make: MakeSession) -> None:
    inbox = Inbox()
    watcher = make("watcher")
    watcher.subscribe("t/health", inbox)
    started(watcher)
    fragile = started(make("fragile", will=Will("t/health", b"gone"), backoff_s=(30, 30)))
    break_connection(fragile)
    until(lambda: inbox.deliveries)
    assert inbox.payloads() == [b"gone"]


def test_a_clean_stop_publishes_the_will_once(make: MakeSession) -> None:
    inbox = Inbox()
    watcher = make("watcher")
    watcher.subscribe("t/#", inbox)
    started(watcher)
    leaving = started(make("leaving", will=Will("t/health", b"gone")))
    leaving.stop(DEADLINE_S)
    started(make("marker")).publish_and_wait("t/marker", b"end")
    until(lambda: b"end" in inbox.payloads())
    assert inbox.payloads() == [b"gone", b"end"]
    with pytest.raises(NotConnected, match="stopping"):
        leaving.publish("t/x", b"")


def test_unacknowledged_messages_come_again_in_order(make: MakeSession) -> None:
    holding = Inbox(acknowledge=False)
    receiver = make("receiver")
    receiver.subscribe("t/#", holding)
    started(receiver)
    sender = started(make("sender"))
    for number in range(5):
        sender.publish_and_wait("t/x", b"%d" % number)
    until(lambda: len(holding.deliveries) == 5)
    holding.deliveries[0].ack()
    holding.deliveries[1].ack()
    holding.deliveries[3].ack()  # held back until 2 is acknowledged, so it comes again
    # The broker answers the publication after it has seen the acknowledgements before it.
    receiver.publish_and_wait("other", b"")
    receiver.stop(DEADLINE_S)
    sender.publish_and_wait("t/x", b"5")
    inbox = Inbox()
    again = make("receiver")
    again.subscribe("t/#", inbox)
    started(again)
    until(lambda: len(inbox.deliveries) == 4)
    assert inbox.payloads() == [b"2", b"3", b"4", b"5"]
    holding.deliveries[2].ack()  # too late, and harmless
    sender.publish_and_wait("t/x", b"6")
    until(lambda: inbox.payloads()[-1] == b"6")


def test_acknowledgements_out_of_order_from_other_threads_are_sent_in_order(
    make: MakeSession,
) -> None:
    inbox = Inbox(acknowledge=False)
    receiver = make("receiver", receive_maximum=1000)
    receiver.subscribe("t/#", inbox)
    started(receiver)
    sender = started(make("sender"))
    for number in range(50):
        sender.publish("t/x", b"%d" % number, timeout_s=DEADLINE_S)
    until(lambda: len(inbox.deliveries) == 50)
    threads = [threading.Thread(target=delivery.ack) for delivery in reversed(inbox.deliveries)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sender.publish_and_wait("t/x", b"last")
    until(lambda: inbox.payloads()[-1] == b"last")
    assert receiver.connections == 1


def test_the_session_survives_a_broker_that_vanishes_and_comes_back(
    make: MakeSession, broker: BrokerLike
) -> None:
    inbox = Inbox()
    births: list[bool] = []
    losses: list[str] = []
    receiver = make("receiver", on_connected=births.append, on_disconnected=losses.append)
    receiver.subscribe("t/#", inbox)
    started(receiver)
    sender = started(make("sender"))
    sender.publish_and_wait("t/x", b"before")
    until(lambda: inbox.deliveries)
    broker.stop()
    until(lambda: not sender.connected and losses)
    with pytest.raises(NotConnected):
        sender.publish("t/x", b"meanwhile")
    until(lambda: "refused" in sender.down_reason)
    broker.start()
    assert sender.wait_connected(DEADLINE_S)
    assert receiver.wait_connected(DEADLINE_S)
    sender.publish_and_wait("t/x", b"after")
    until(lambda: b"after" in inbox.payloads())
    assert births == [False, broker.keeps_sessions_over_a_restart]
    assert sender.down_reason == ""


def test_messages_published_while_the_receiver_is_away_wait_for_it(make: MakeSession) -> None:
    first = make("receiver")
    first.subscribe("t/#", Inbox())
    started(first).stop(DEADLINE_S)
    sender = started(make("sender"))
    for number in range(500):
        sender.publish("t/x", b"%d" % number, timeout_s=DEADLINE_S)
    until(lambda: sender.inflight == 0)
    inbox = Inbox()
    second = make("receiver")
    second.subscribe("t/#", inbox)
    started(second)
    until(lambda: len(inbox.deliveries) == 500)
    assert inbox.payloads() == [b"%d" % number for number in range(500)]


def test_a_birth_may_be_published_at_each_connection(make: MakeSession) -> None:
    inbox = Inbox()
    watcher = make("watcher")
    watcher.subscribe("t/#", inbox)
    started(watcher)

    def born(_resumed: bool) -> None:
        box.publish("t/health", b"born", retain=True)

    box = make("box", on_connected=born)
    started(box)
    until(lambda: inbox.payloads() == [b"born"])
    break_connection(box)
    until(lambda: inbox.payloads() == [b"born", b"born"])


def test_a_failing_handler_reports_the_crash_and_acknowledges_nothing(make: MakeSession) -> None:
    crashes: list[BaseException] = []

    def handler(_delivery: Delivery) -> None:
        raise ZeroDivisionError

    receiver = make("receiver", on_crash=crashes.append)
    receiver.subscribe("t/#", handler)
    started(receiver)
    started(make("sender")).publish_and_wait("t/x", b"kept")
    until(lambda: crashes)
    assert isinstance(crashes[0], ZeroDivisionError)
    receiver.stop(DEADLINE_S)
    inbox = Inbox()
    again = make("receiver")
    again.subscribe("t/#", inbox)
    started(again)
    until(lambda: inbox.deliveries)
    assert inbox.payloads() == [b"kept"]


def break_connection(session: Session) -> None:
    """Cut the TCP connection under a session, as a failing network would."""
    link = session._link
    assert link is not None
    sock = link._client.socket()
    assert isinstance(sock, socket.socket)
    sock.shutdown(socket.SHUT_RDWR)


class SilentBroker:
    """Lets clients in, takes everything, and answers nothing more; vanishes when told."""

    def __init__(self, *, answer_connect: bool = True) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._answer_connect = answer_connect
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
                connection.recv(4096)
            except OSError:
                return
            if self._answer_connect:
                connection.sendall(b"\x20\x03\x00\x00\x00")
            self.connections.append(connection)

    def vanish(self) -> None:
        for connection in self.connections:
            connection.close()

    def close(self) -> None:
        self._server.close()
        self.vanish()


@pytest.fixture
def silent() -> Iterator[SilentBroker]:
    broker = SilentBroker()
    yield broker
    broker.close()


def test_the_window_is_bounded_and_a_lost_connection_reports_every_message_once(
    silent: SilentBroker,
) -> None:
    outcomes: list[Outcome] = []
    order: list[str] = []

    def on_done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        order.append("outcome")

    session = Session(
        MqttConfig(port=silent.port),
        client_id="s",
        window=3,
        on_disconnected=lambda _: order.append("lost"),
        backoff_s=(0.01, 0.01),
    )
    started(session)
    for number in range(3):
        session.publish("t", b"", token=number, on_done=on_done)
    with pytest.raises(WindowFull):
        session.publish("t", b"", token="too many", on_done=on_done, timeout_s=0.05)
    assert session.inflight == 3
    silent.vanish()
    until(lambda: "lost" in order)
    assert sorted(str(outcome.token) for outcome in outcomes) == ["0", "1", "2"]
    assert {outcome.result for outcome in outcomes} == {"unknown"}
    assert order[:4] == ["outcome"] * 3 + ["lost"]
    assert session.wait_connected(DEADLINE_S)
    assert session.inflight == 0
    with pytest.raises(PublishFailed, match="did not answer"):
        session.publish_and_wait("t", b"", timeout_s=0.05)
    session.stop(0.1)
    assert outcomes[-1].result == "unknown"


def test_a_broker_that_never_answers_is_given_up_on_and_tried_again() -> None:
    mute = SilentBroker(answer_connect=False)
    session = Session(
        MqttConfig(port=mute.port), client_id="s", backoff_s=(0.01, 0.01), connect_timeout_s=0.1
    )
    session.start()
    until(lambda: len(mute.connections) >= 3)
    assert not session.connected
    assert session.down_reason == "no answer in time"
    session.stop(1)
    mute.close()


def test_there_may_be_no_broker_at_all_yet(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with Session(MqttConfig(port=port), client_id="s", backoff_s=(0.01, 0.01)) as session:
            until(lambda: "refused" in session.down_reason)
            with pytest.raises(MqttError, match=f"127.0.0.1:{port}: .*refused"):
                session.publish("t", b"")
            assert not session.wait_connected(0)


def test_a_session_needs_a_client_id() -> None:
    with pytest.raises(ValueError, match="client id"):
        Session(MqttConfig())
