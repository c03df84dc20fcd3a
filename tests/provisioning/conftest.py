"""Sites made once and copied for each test, free ports, and an MQTT client with a certificate."""

from __future__ import annotations

import queue
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from demo import ports
from provisioning.authority import SitePaths, SitePlan, create_site
from runtime import keyfiles
from runtime.config import TlsConfig
from runtime.keyfiles import Cost
from runtime.tls import client_context

PASSPHRASE = b"correct horse battery"


def plan_values(**changed: Any) -> dict[str, Any]:
    """A small site's values, as they would stand in site.toml."""
    values: dict[str, Any] = {
        "site": "demo",
        "threshold": 2,
        "custodians": [{"name": f"c{n}", "port": 8440 + n} for n in (1, 2, 3)],
        "officers": [
            {"name": "ana", "duties": ["investigator"]},
            {"name": "bo", "duties": ["approver"]},
            {"name": "cy", "duties": ["approver"]},
            {"name": "eve", "duties": ["auditor"]},
        ],
        "boxes": [
            {"name": f"box-{n}", "cameras": [{"name": f"cam-{n}", "source": f"/clips/{n}.mp4"}]}
            for n in (1, 2)
        ],
        "security": {"argon2_memory_kib": 64},
    }
    # One investigator: two who confirm are asked for where it matters.
    policy = {"confirmations": 1, **changed.pop("policy", {})}
    return values | changed | {"policy": policy}


@pytest.fixture(scope="session")
def passphrase() -> bytes:
    """What the secret files of the tests' sites open with."""
    return PASSPHRASE


@pytest.fixture
def cheap_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seal secret files at the least cost where nobody has set another."""
    monkeypatch.setattr(keyfiles, "DEFAULT_COST", Cost(memory_kib=64))


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., SitePlan]:
    """Makes a plan of a small site, with other values where they are given."""
    return lambda **changed: SitePlan.model_validate(plan_values(**changed))


@pytest.fixture(scope="session")
def values() -> Callable[..., dict[str, Any]]:
    """Makes the values that a plan is read from."""
    return plan_values


@pytest.fixture(scope="session")
def made_site(tmp_path_factory: pytest.TempPathFactory) -> SitePaths:
    """A site that tests only look at."""
    plan = SitePlan.model_validate(plan_values())
    return create_site(plan, tmp_path_factory.mktemp("made") / "site", PASSPHRASE)


@pytest.fixture
def site(made_site: SitePaths, tmp_path: Path) -> SitePaths:
    """A site that the test may change."""
    return SitePaths(Path(shutil.copytree(made_site.root, tmp_path / "site", symlinks=True)))


@pytest.fixture(scope="session")
def made_registrar_site(
    tmp_path_factory: pytest.TempPathFactory, make_plan: Callable[..., SitePlan]
) -> SitePaths:
    """A site with a registrar at a port of its own, that tests only copy."""
    plan = make_plan(registrar={"port": ports.free_port()})
    return create_site(plan, tmp_path_factory.mktemp("registrar") / "site", PASSPHRASE)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives TCP ports that nobody listens on."""
    return ports.free_port


def role_tls(folder: Path) -> TlsConfig:
    """The certificates in a role's folder."""
    tls = folder / "tls"
    return TlsConfig(
        ca=tls / "ca.pem", certificate=tls / "certificate.pem", private_key=tls / "private-key.pem"
    )


class MqttClient:
    """A paho client that waits for answers; `refused` says why it was not let in."""

    def __init__(self, port: int, context: ssl.SSLContext, client_id: str = "") -> None:
        self.port = port
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
        )
        client.tls_set_context(context)
        client.on_connect = lambda _c, _u, _f, reason, _p: self._note("connected", reason)
        client.on_disconnect = lambda _c, _u, _f, reason, _p: self._note("lost", reason)
        client.on_publish = lambda _c, _u, mid, reason, _p: self._note(f"puback {mid}", reason)
        client.on_subscribe = lambda _c, _u, mid, reasons, _p: self._note(f"suback {mid}", reasons)
        client.on_message = lambda _c, _u, message: self._note("message", message)
        self.client = client

    def _note(self, kind: str, value: Any) -> None:
        self.events.put((kind, value))

    def wait_for(self, kind: str, timeout_s: float = 10.0) -> Any:
        """The next event of ``kind``; others before it are dropped, a lost connection raises."""
        deadline = time.monotonic() + timeout_s
        while True:
            found, value = self.events.get(timeout=max(0.01, deadline - time.monotonic()))
            if found == kind:
                return value
            if found == "lost":
                raise ConnectionError(str(value))

    def connect(self) -> None:
        """Connect, or raise OSError (ssl.SSLError, ConnectionError) when refused."""
        self.client.connect("localhost", self.port)
        self.client.loop_start()
        reason = self.wait_for("connected")
        if reason.is_failure:
            raise ConnectionError(str(reason))

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> str:
        """Publish with QoS 1; the broker's reason, "Success" if all is well."""
        mid = self.client.publish(topic, payload, 1, retain).mid
        return str(self.wait_for(f"puback {mid}"))

    def subscribe(self, topic: str) -> None:
        """Subscribe with QoS 1."""
        _, mid = self.client.subscribe(topic, qos=1)
        self.wait_for(f"suback {mid}")

    def close(self) -> None:
        """Leave."""
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def mqtt_client() -> Callable[..., AbstractContextManager[MqttClient]]:
    """Connects a client with the certificate in a role's folder, or with the context given."""

    @contextmanager
    def connected(
        port: int, who: Path | ssl.SSLContext, client_id: str = ""
    ) -> Iterator[MqttClient]:
        context = client_context(role_tls(who)) if isinstance(who, Path) else who
        client = MqttClient(port, context, client_id)
        try:
            client.connect()
            yield client
        finally:
            client.close()

    return connected
