"""A real Mosquitto with a site's configuration: who gets in, who may say what, until revoked."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioning import mosquitto
from provisioning.site import SitePaths, SitePlan, changes, create_site

pytestmark = pytest.mark.mosquitto
Connect = Callable[..., AbstractContextManager[Any]]


@dataclass
class Running:
    paths: SitePaths
    port: int
    process: subprocess.Popen[bytes]

    def box(self, name: str) -> Path:
        return self.paths.box(name).parent

    @property
    def aggregator(self) -> Path:
        return self.paths.aggregator.parent

    def restart(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.process = _start(self.paths, self.port)


def _start(paths: SitePaths, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        mosquitto.mosquitto_command(), cwd=paths.broker, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process
    process.kill()
    pytest.fail("Mosquitto did not come up with the configuration that was written")


@pytest.fixture
def broker(
    tmp_path: Path,
    make_plan: Callable[..., SitePlan],
    free_port: Callable[[], int],
    passphrase: bytes,
) -> Iterator[Running]:
    if shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None:
        pytest.skip("Mosquitto is not installed (Debian: apt install mosquitto)")
    port = free_port()
    paths = create_site(make_plan(broker={"port": port}), tmp_path / "site", passphrase)
    running = Running(paths, port, _start(paths, port))
    yield running
    running.process.terminate()
    running.process.wait(10)


def test_a_box_reaches_the_aggregator_and_gets_its_receipts(
    broker: Running, mqtt_client: Connect
) -> None:
    with (
        mqtt_client(broker.port, broker.aggregator) as aggregator,
        mqtt_client(broker.port, broker.box("box-1")) as box,
    ):
        aggregator.subscribe("st/v1/demo/#")
        box.subscribe("st/v1/demo/box-1/+/receipt")
        box.subscribe("st/v1/demo/custodians/+/day-keys")
        box.subscribe("st/v1/demo/directory")
        for topic in ("box-1/cam-1/envelope", "box-1/cam-1/epoch", "box-1/health"):
            assert box.publish(f"st/v1/demo/{topic}") == "Success"
            assert aggregator.wait_for("message").topic == f"st/v1/demo/{topic}"
        for topic in ("box-1/cam-1/receipt", "custodians/c1/day-keys", "directory"):
            assert aggregator.publish(f"st/v1/demo/{topic}") == "Success"
            assert box.wait_for("message").topic == f"st/v1/demo/{topic}"


def test_a_box_may_not_speak_for_others(broker: Running, mqtt_client: Connect) -> None:
    forbidden = (
        "st/v1/demo/box-2/cam-2/envelope",
        "st/v1/demo/box-2/health",
        "st/v1/demo/box-1/cam-1/receipt",
        "st/v1/demo/directory",
        "st/v1/demo/custodians/c1/day-keys",
        "st/v1/other/box-1/cam-1/envelope",
        "anything",
    )
    with mqtt_client(broker.port, broker.box("box-1")) as box:
        answers = {topic: box.publish(topic) for topic in forbidden}
        assert set(answers.values()) == {"Not authorized"}, answers
        assert box.publish("st/v1/demo/box-1/cam-1/envelope") in {"Success", _NOBODY}


def test_a_box_does_not_hear_other_boxes(broker: Running, mqtt_client: Connect) -> None:
    with (
        mqtt_client(broker.port, broker.box("box-1")) as box,
        mqtt_client(broker.port, broker.box("box-2")) as other,
        mqtt_client(broker.port, broker.aggregator) as aggregator,
    ):
        box.subscribe("#")
        other.publish("st/v1/demo/box-2/cam-2/envelope")
        aggregator.publish("st/v1/demo/box-2/cam-2/receipt")
        aggregator.publish("st/v1/demo/box-1/cam-1/receipt")
        assert box.wait_for("message").topic == "st/v1/demo/box-1/cam-1/receipt"


def test_a_box_cannot_take_over_the_session_of_another(
    broker: Running, mqtt_client: Connect
) -> None:
    with (
        mqtt_client(broker.port, broker.box("box-2")) as victim,
        mqtt_client(broker.port, broker.box("box-1"), client_id="box-2"),
    ):
        assert victim.publish("st/v1/demo/box-2/health") in {"Success", _NOBODY}


def test_nobody_gets_in_without_a_certificate_of_the_site(
    broker: Running,
    mqtt_client: Connect,
    make_plan: Callable[..., SitePlan],
    passphrase: bytes,
    tmp_path: Path,
) -> None:
    ca = broker.box("box-1") / "tls" / "ca.pem"
    with (
        pytest.raises((ConnectionError, ssl.SSLError)),
        mqtt_client(broker.port, ssl.create_default_context(cafile=str(ca))),
    ):
        pass
    stranger = create_site(make_plan(), tmp_path / "stranger", passphrase)
    context = ssl.create_default_context(cafile=str(ca))
    tls = stranger.box("box-1").parent / "tls"
    context.load_cert_chain(tls / "certificate.pem", tls / "private-key.pem")
    with pytest.raises((ConnectionError, ssl.SSLError)), mqtt_client(broker.port, context):
        pass


def test_revocation_reaches_a_running_broker(
    broker: Running, mqtt_client: Connect, passphrase: bytes
) -> None:
    with mqtt_client(broker.port, broker.box("box-1")) as box:
        assert box.publish("st/v1/demo/box-1/health") in {"Success", _NOBODY}
        changes.revoke(broker.paths.root, "box-1", passphrase)
        assert mosquitto.signal_mosquitto(broker.paths.broker)
        deadline = time.monotonic() + 10
        while box.publish("st/v1/demo/box-1/health") != "Not authorized":
            assert time.monotonic() < deadline, "the connected box may still publish"
    with (
        pytest.raises((ConnectionError, ssl.SSLError)),
        mqtt_client(broker.port, broker.box("box-1")),
    ):
        pass
    broker.restart()
    with (
        pytest.raises((ConnectionError, ssl.SSLError)),
        mqtt_client(broker.port, broker.box("box-1")),
    ):
        pass
    with mqtt_client(broker.port, broker.box("box-2")) as other:
        assert other.publish("st/v1/demo/box-2/health") in {"Success", _NOBODY}


def test_retained_state_outlives_a_restart(broker: Running, mqtt_client: Connect) -> None:
    with mqtt_client(broker.port, broker.box("box-1")) as box:
        box.publish("st/v1/demo/box-1/cam-1/epoch", b"keys", retain=True)
    broker.restart()
    with mqtt_client(broker.port, broker.aggregator) as aggregator:
        aggregator.subscribe("st/v1/demo/+/+/epoch")
        message = aggregator.wait_for("message")
        assert (message.payload, message.retain) == (b"keys", True)


def test_renewed_certificates_take_effect_without_a_restart(
    broker: Running, mqtt_client: Connect, passphrase: bytes
) -> None:
    before = _served_certificate(broker)
    changes.renew(broker.paths.root, ["box-1", "broker"], passphrase)
    assert mosquitto.signal_mosquitto(broker.paths.broker)
    deadline = time.monotonic() + 10
    while _served_certificate(broker) == before:
        assert time.monotonic() < deadline, "the broker still shows its old certificate"
    with mqtt_client(broker.port, broker.box("box-1")) as box:
        assert box.publish("st/v1/demo/box-1/health") in {"Success", _NOBODY}


def _served_certificate(broker: Running) -> bytes | None:
    tls = broker.box("box-2") / "tls"
    context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
    context.load_cert_chain(tls / "certificate.pem", tls / "private-key.pem")
    with (
        socket.create_connection(("127.0.0.1", broker.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        return sock.getpeercert(binary_form=True)


def test_a_broker_elsewhere_is_not_signalled(tmp_path: Path) -> None:
    assert not mosquitto.signal_mosquitto(tmp_path)
    (tmp_path / mosquitto.PID_FILE).write_text("1\n")
    assert not mosquitto.signal_mosquitto(tmp_path)


_NOBODY = "No matching subscribers"
