"""Whether the MQTT brokers let us in with our certificate. For roles that have an MQTT client."""

from __future__ import annotations

import secrets
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from runtime.config import MqttConfig
from runtime.doctor.findings import Findings
from runtime.tls import client_context

WITHIN_S = 8.0


def look_at_brokers(found: Findings, mqtt: MqttConfig) -> None:
    """Connect to each broker under a name of our own, with no session, and say goodbye.

    The service's own connection is not touched: a broker tells clients by their id.
    """
    if not found.network:
        return
    good: list[tuple[str, str]] = []
    bad: list[tuple[str, str]] = []
    for one in mqtt.each:
        place = f"{one.host}:{one.port}"
        found.tell(f"broker {place}")
        with found.looking(f"broker {place}"):
            problem = _try(one)
            (bad if problem else good).append((place, problem))
    how = "TLS and our certificate" if mqtt.tls is not None else "nothing: on this machine alone"
    for place, _ in good:
        found.well("broker", f"{place} lets us in, by {how}")
    for place, problem in bad:
        (found.warn if good else found.wrong)(
            "broker",
            f"{place}: {problem}",
            "on the broker's machine: systemctl status sealtrace-mosquitto; else its name,"
            " firewall, certificate and access list",
        )


def _try(config: MqttConfig) -> str:
    """Return why a broker does not let us in; empty when it does.

    Raises:
        TlsError: our certificate cannot be used.
    """
    answered = threading.Event()
    said: list[str] = []

    def connected(_client: object, _data: object, _flags: object, code: object, _p: object) -> None:
        failed = bool(getattr(code, "is_failure", True))
        said.append(f"it refuses us: {code}" if failed else "")
        answered.set()

    def lost(_client: object, _data: object, _flags: object, code: object, _p: object) -> None:
        said.append(f"it hangs up ({code}): it may not accept our certificate")
        answered.set()

    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"doctor-{secrets.token_hex(8)}",
        protocol=paho.MQTTv5,
        reconnect_on_failure=False,
    )
    client.on_connect, client.on_disconnect = connected, lost
    client.connect_timeout = WITHIN_S
    if config.tls is not None:
        client.tls_set_context(client_context(config.tls))
    gone = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    gone.SessionExpiryInterval = 0
    began_s = time.monotonic()
    try:
        client.connect(config.host, config.port, keepalive=30, clean_start=True, properties=gone)
        client.loop_start()
        if not answered.wait(max(1.0, WITHIN_S - (time.monotonic() - began_s))):
            return f"no answer in {WITHIN_S:.0f} s"
        return said[0]
    except (OSError, ValueError) as error:
        return str(getattr(error, "verify_message", "") or error)
    finally:
        client.disconnect()
        client.loop_stop()
