"""The embedded broker serves MQTT 5 on loopback, and its known limits are as documented."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.broker import BrokerError, BrokerPlace, EmbeddedBroker
from demo.ports import free_port
from demo.processes import ending_with_us
from runtime.config import MqttConfig
from runtime.mqtt import Delivery, Session

DEADLINE_S = 60.0


def until(condition: Callable[[], object]) -> None:
    pulse = threading.Event()
    for _ in range(int(DEADLINE_S * 100)):
        if condition():
            return
        pulse.wait(0.01)
    raise AssertionError("waited too long")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(BrokerPlace(free_port(), tmp_path / "broker")) as one:
        yield one


def session(broker: EmbeddedBroker, client_id: str) -> Session:
    return Session(
        MqttConfig(port=broker.place.port), client_id=client_id, backoff_s=(0.05, 0.2), window=500
    )


@pytest.mark.parametrize("host", ["192.168.1.5", "::", "example.org", "localhost", ""])
def test_other_addresses_than_loopback_are_refused_with_the_reason(
    tmp_path: Path, host: str
) -> None:
    with pytest.raises(BrokerError, match="accepts clients without certificates"):
        BrokerPlace(1883, tmp_path, host=host)


def _listening(pid: int) -> set[str]:
    """Local addresses on which a process listens (TCP), or is bound at all (UDP), as proc(5)."""
    sockets = {
        str(path.readlink()).removeprefix("socket:[").removesuffix("]")
        for path in Path(f"/proc/{pid}/fd").iterdir()
        if path.is_symlink() and str(path.readlink()).startswith("socket:[")
    }
    found = set()
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            words = line.split()
            if words[9] in sockets and (words[3] == "0A" or kind.startswith("udp")):
                found.add(f"{kind} {words[1]}")
    return found


def test_the_broker_listens_on_its_port_and_nowhere_else(broker: EmbeddedBroker) -> None:
    here = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    [child] = [pid for pid in here if str(broker.place.data) in _command_line(pid)]
    assert _listening(int(child)) == {f"tcp 0100007F:{broker.place.port:04X}"}
    assert "0.0.0.0" not in _command_line(child)  # noqa: S104 - that is what must not be there


def _command_line(pid: str) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_a_port_that_is_no_port_and_one_in_use_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="not a TCP port"):
        BrokerPlace(0, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = BrokerPlace(taken.getsockname()[1], tmp_path)
        with pytest.raises(BrokerError, match="in use"):
            EmbeddedBroker(place).start()


def test_a_restart_forgets_and_can_be_repeated(broker: EmbeddedBroker) -> None:
    births: list[bool] = []
    box = session(broker, "box")
    box.subscribe("x", lambda delivery: delivery.ack())
    box._on_connected = births.append
    with box:
        assert box.wait_connected(DEADLINE_S)
        broker.stop()
        assert not broker.running
        until(lambda: not box.connected)
        broker.start()
        assert broker.running
        assert box.wait_connected(DEADLINE_S)
    assert births == [False, False]


def test_retained_messages_beyond_a_hundred_are_not_sent(broker: EmbeddedBroker) -> None:
    # If this fails because more come, the documented limit can be lifted.
    received: list[Delivery] = []

    def keep(delivery: Delivery) -> None:
        received.append(delivery)
        delivery.ack()

    with session(broker, "boxes") as boxes, session(broker, "hq") as hq:
        assert boxes.wait_connected(DEADLINE_S)
        for number in range(150):
            boxes.publish(f"t/{number}/epoch", b"x", retain=True, timeout_s=DEADLINE_S)
        until(lambda: boxes.inflight == 0)
        hq.subscribe("t/+/epoch", keep)
        until(lambda: len(received) >= 100)
        boxes.publish_and_wait("t/live/epoch", b"end")
        until(lambda: received[-1].payload == b"end")
    assert len(received) == 101


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_ready_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    command = ["broker", "serve", "--port", str(port), "--data", str(tmp_path / "data")]
    process = subprocess.Popen(
        ending_with_us(
            [sys.executable, "-c", "from sealtrace.command import main; main()", *command]
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"ready: MQTT 5 on 127.0.0.1:{port}\n"
    with Session(MqttConfig(port=port), client_id="box") as box:
        assert box.wait_connected(DEADLINE_S)
        box.publish_and_wait("t", b"x")
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    rest, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, rest, errors) == (0, "", "")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.processes
def test_the_command_refuses_other_addresses(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from sealtrace.command import main; main()",
            *["broker", "serve", "--host", "0.0.0.0", "--data", str(tmp_path)],  # noqa: S104
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the embedded broker does not listen on 0.0.0.0")
    assert done.stderr.count("\n") == 1
