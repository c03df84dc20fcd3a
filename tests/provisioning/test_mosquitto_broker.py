"""A real Mosquitto with a site's configuration: who gets in, who may say what, until revoked."""

from __future__ import annotations

import queue
import shutil
import socket
import ssl
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from demo.processes import ending_with_us
from provisioning.authority import SiteError, SitePaths, SitePlan, changes, create_site, open_site
from provisioning.authority.brokerfiles import before_of, broker_change, change_broker
from provisioning.authority.inspect import inspect_site
from provisioning.formats import pki
from provisioning.formats.secretfiles import CA_KEY
from provisioning.registrar import mosquitto
from runtime.keyfiles import read_secret

pytestmark = pytest.mark.mosquitto
Connect = Callable[..., AbstractContextManager[Any]]


@dataclass
class Running:
    paths: SitePaths
    port: int
    headquarters: int
    process: subprocess.Popen[bytes]

    def box(self, name: str) -> Path:
        return self.paths.box(name).parent

    @property
    def aggregator(self) -> Path:
        return self.paths.aggregator.parent

    def restart(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.process = _start(self.paths, self.port, self.headquarters)


def _start(paths: SitePaths, *ports: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        ending_with_us(mosquitto.mosquitto_command()), cwd=paths.broker, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        try:
            for port in ports:
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
    port, headquarters = free_port(), free_port()
    plan = make_plan(broker={"port": port, "headquarters_port": headquarters})
    paths = create_site(plan, tmp_path / "site", passphrase)
    running = Running(paths, port, headquarters, _start(paths, port, headquarters))
    yield running
    running.process.terminate()
    running.process.wait(60)


def test_a_box_reaches_the_aggregator_and_gets_its_receipts(
    broker: Running, mqtt_client: Connect
) -> None:
    with (
        mqtt_client(broker.headquarters, broker.aggregator) as aggregator,
        mqtt_client(broker.port, broker.box("box-1")) as box,
    ):
        aggregator.subscribe("st/v1/demo/#")
        box.subscribe("st/v1/demo/box-1/+/receipt")
        box.subscribe("st/v1/demo/box-1/+/hours")
        box.subscribe("st/v1/demo/custodians/+/day-keys")
        box.subscribe("st/v1/demo/directory")
        for topic in ("box-1/cam-1/envelope", "box-1/cam-1/epoch", "box-1/health"):
            assert box.publish(f"st/v1/demo/{topic}") == "Success"
            assert aggregator.wait_for("message").topic == f"st/v1/demo/{topic}"
        headquarters = ("box-1/cam-1/receipt", "box-1/cam-1/hours", "custodians/c1/day-keys")
        for topic in (*headquarters, "directory"):
            assert aggregator.publish(f"st/v1/demo/{topic}") == "Success"
            assert box.wait_for("message").topic == f"st/v1/demo/{topic}"


def test_a_box_may_not_speak_for_others(broker: Running, mqtt_client: Connect) -> None:
    forbidden = (
        "st/v1/demo/box-2/cam-2/envelope",
        "st/v1/demo/box-2/health",
        "st/v1/demo/box-1/cam-1/receipt",
        "st/v1/demo/box-1/cam-1/hours",
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
        mqtt_client(broker.headquarters, broker.aggregator) as aggregator,
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
    with mqtt_client(broker.headquarters, broker.aggregator) as aggregator:
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


# ------------------------------------------------------------------ one box against the broker


def kilobytes(broker: Running, what: str) -> int:
    """A figure of the broker's process, such as VmRSS or VmHWM."""
    status = Path(f"/proc/{broker.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{what}:"))


def test_a_box_cannot_fill_the_broker_with_what_is_retained(
    broker: Running, mqtt_client: Connect
) -> None:
    # What it did: 400 MiB in 2.6 s, one topic after another under the names of cameras it invents.
    before = kilobytes(broker, "VmRSS")
    large = b"x" * (8 << 20)
    with mqtt_client(broker.port, broker.box("box-1")) as box:
        answers = [
            box.publish(f"st/v1/demo/box-1/cam-{n}/{leaf}", large, retain=True)
            for n in range(2, 27)
            for leaf in ("envelope", "epoch")
        ]
        assert set(answers) == {"Not authorized"}
        own = [f"st/v1/demo/box-1/{leaf}" for leaf in ("cam-1/envelope", "cam-1/epoch", "health")]
        for n in range(12):
            assert box.publish(own[n % 3], large, retain=True) in {"Success", _NOBODY}
        refused = [box.publish(f"st/v1/demo/box-1/{n}/health", retain=True) for n in range(3)]
        assert set(refused) == {"Not authorized"}
    bound = len(own) * len(large)
    grown = 1024 * (kilobytes(broker, "VmRSS") - before)
    assert grown < 2 * bound, f"{grown >> 20} MiB"  # the buffers of its connection besides
    broker.process.terminate()  # writes its store
    broker.process.wait(60)
    stored = sum(p.stat().st_size for p in (broker.paths.broker / mosquitto.DATA).iterdir())
    assert stored < bound + (1 << 20)


def test_a_box_cannot_have_the_broker_hold_messages_half_handed_over(
    broker: Running, mqtt_client: Connect
) -> None:
    before = kilobytes(broker, "VmRSS")
    with mqtt_client(broker.port, broker.box("box-1")) as box:
        # QoS 2: the broker keeps each until the sender says that it may go, which it never does.
        box.client._handle_pubrec = lambda: paho.MQTT_ERR_SUCCESS
        for _ in range(20):
            box.client.publish("st/v1/demo/box-1/health", b"x" * (8 << 20), 2)
        with pytest.raises((ConnectionError, queue.Empty)):
            box.wait_for("never", 5.0)
    assert 1024 * (kilobytes(broker, "VmRSS") - before) < 32 << 20


def test_a_message_over_the_limit_ends_the_connection_and_costs_nothing(
    broker: Running, mqtt_client: Connect
) -> None:
    before = kilobytes(broker, "VmRSS")
    with mqtt_client(broker.port, broker.box("box-1")) as box:
        box.client.publish("st/v1/demo/box-1/health", b"x" * (200 << 20), 1, True)
        with pytest.raises(ConnectionError):
            box.wait_for("never", 20.0)
    assert 1024 * (kilobytes(broker, "VmRSS") - before) < 32 << 20


def test_a_box_that_fills_the_brokers_memory_is_put_out_and_the_others_go_on(
    broker: Running, mqtt_client: Connect
) -> None:
    config = broker.paths.broker_config
    text, limit = config.read_text(), 24 << 20
    assert f"memory_limit {1 << 30}\n" in text
    config.write_text(text.replace(f"memory_limit {1 << 30}", f"memory_limit {limit}"))
    broker.restart()
    with mqtt_client(broker.headquarters, broker.aggregator) as aggregator:
        aggregator.subscribe("st/v1/demo/#")
        with (
            pytest.raises(ConnectionError),
            mqtt_client(broker.port, broker.box("box-1")) as box,
        ):
            for n in range(2000):  # nothing but memory bounds how many filters one may name
                box.subscribe("/".join([f"{n}" + "a" * 5000] + ["b" * 5000] * 10))
        assert kilobytes(broker, "VmRSS") << 10 < 2 * limit
        with mqtt_client(broker.port, broker.box("box-2")) as other:
            assert other.publish("st/v1/demo/box-2/health", b"x" * 100_000) == "Success"
        assert aggregator.wait_for("message").topic == "st/v1/demo/box-2/health"


# ------------------------------------------------------------------ what the boxes' CA can certify


def forged(broker: Running, name: str, passphrase: bytes, folder: Path) -> Path:
    """What whoever has the boxes' CA's key can make: a role's folder with any name."""
    files = broker.paths.boxes_ca
    secret = read_secret(files.key, passphrase, CA_KEY)
    ca = pki.Authority(
        pki.load_certificates(files.certificate.read_bytes(), what="CA")[0],
        pki.load_key(secret, what="key"),
        (pki.load_certificates(broker.paths.root_certificate.read_bytes(), what="root")[0],),
    )
    leaf = pki.issue(
        ca,
        name,
        usages=(pki.CLIENT, pki.SERVER),
        hosts=("localhost", "127.0.0.1"),
        now=datetime.now(UTC),
        days=1,
    )
    tls = folder / name / "tls"
    tls.mkdir(parents=True)
    (tls / "certificate.pem").write_bytes(leaf.chain_pem)
    (tls / "private-key.pem").write_bytes(leaf.key_pem)
    (tls / "ca.pem").write_bytes((broker.aggregator / "tls" / "ca.pem").read_bytes())
    return tls.parent


def test_the_boxes_ca_makes_nobody_the_aggregator(
    broker: Running, mqtt_client: Connect, passphrase: bytes, tmp_path: Path
) -> None:
    false = forged(broker, "aggregator", passphrase, tmp_path)
    with (
        pytest.raises((ConnectionError, ssl.SSLError)),
        mqtt_client(broker.headquarters, false),
    ):
        pass
    with (
        mqtt_client(broker.port, false) as intruder,
        mqtt_client(broker.port, broker.box("box-1")) as box,
    ):
        intruder.subscribe("#")
        box.publish("st/v1/demo/box-1/cam-1/envelope")
        for topic in ("directory", "admissions", "custodians/c1/day-keys", "box-1/cam-1/receipt"):
            assert intruder.publish(f"st/v1/demo/{topic}") == "Not authorized"
        box.publish("st/v1/demo/box-1/cam-1/envelope")
        assert intruder.publish("st/v1/demo/aggregator/health") == "Not authorized"
        assert "message" not in {kind for kind, _ in intruder.events.queue}
    with mqtt_client(broker.headquarters, broker.aggregator) as aggregator:  # revoked by no means
        assert aggregator.publish("st/v1/demo/directory") in {"Success", _NOBODY}


def test_the_revocation_of_a_box_leaves_the_other_ca_shut_out(
    broker: Running, mqtt_client: Connect, passphrase: bytes, tmp_path: Path
) -> None:
    false = forged(broker, "aggregator", passphrase, tmp_path)
    changes.revoke(broker.paths.root, "box-2", passphrase)
    assert mosquitto.signal_mosquitto(broker.paths.broker)
    with mqtt_client(broker.headquarters, broker.aggregator) as aggregator:
        assert aggregator.publish("st/v1/demo/directory") in {"Success", _NOBODY}
    with (
        pytest.raises((ConnectionError, ssl.SSLError)),
        mqtt_client(broker.headquarters, false),
    ):
        pass


# ------------------------------------------------------------------ sites of earlier versions

_OLD_CONFIG = """\
listener {port} 127.0.0.1
cafile certs/ca.pem
certfile certs/certificate.pem
keyfile certs/private-key.pem
crlfile certs/crl.pem
tls_version tlsv1.3
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file acl
persistence true
persistence_location data/
pid_file mosquitto.pid
"""


def test_a_broker_with_one_listener_serves_everybody_until_it_is_brought_up_to_date(
    broker: Running, mqtt_client: Connect, passphrase: bytes
) -> None:
    paths = broker.paths
    paths.broker_config.write_text(_OLD_CONFIG.format(port=broker.port))
    text = paths.aggregator.read_text()
    paths.aggregator.write_text(text.replace(str(broker.headquarters), str(broker.port)))
    new, broker.headquarters = broker.headquarters, broker.port
    broker.restart()
    changes.revoke(paths.root, "box-2", passphrase)
    assert mosquitto.signal_mosquitto(paths.broker)
    with (
        mqtt_client(broker.port, broker.aggregator) as aggregator,
        mqtt_client(broker.port, broker.box("box-1")) as box,
    ):
        aggregator.subscribe("st/v1/demo/#")
        assert box.publish("st/v1/demo/box-1/cam-1/envelope") == "Success"
        assert box.publish("st/v1/demo/box-1/cam-9/envelope") == "Not authorized"

    site = open_site(paths.root)
    assert "sealtrace site broker" in " ".join(inspect_site(site).problems)
    change = broker_change(site)
    change_broker(site, change)
    assert "sealtrace site broker" not in " ".join(inspect_site(site).problems)
    assert not broker_change(site).any
    assert before_of(paths.broker_config).read_text() == _OLD_CONFIG.format(port=broker.port)
    mqtt = tomllib.loads(paths.aggregator.read_text())["mqtt"]
    assert mqtt["port"] == new
    broker.headquarters = new
    broker.restart()
    with (
        mqtt_client(new, broker.aggregator) as aggregator,
        mqtt_client(broker.port, broker.box("box-1")) as box,
    ):
        aggregator.subscribe("st/v1/demo/#")
        assert box.publish("st/v1/demo/box-1/cam-1/envelope") == "Success"
    with (
        pytest.raises((ConnectionError, ssl.SSLError)),
        mqtt_client(broker.port, broker.box("box-2")),
    ):
        pass


def test_the_embedded_broker_has_nothing_to_bring_up_to_date(
    make_plan: Callable[..., SitePlan], tmp_path: Path, passphrase: bytes
) -> None:
    paths = create_site(make_plan(broker={"kind": "embedded"}), tmp_path / "site", passphrase)
    with pytest.raises(SiteError, match="embedded"):
        broker_change(open_site(paths.root))


def test_a_broker_elsewhere_is_not_signalled(tmp_path: Path) -> None:
    assert not mosquitto.signal_mosquitto(tmp_path)
    (tmp_path / mosquitto.PID_FILE).write_text("1\n")
    assert not mosquitto.signal_mosquitto(tmp_path)


_NOBODY = "No matching subscribers"
