"""One MQTT 5 connection, from TCP connect to loss; `runtime.mqtt` strings them into a session.

A link is used once. Its own network thread belongs to paho; what happens on it is put on a queue as
the events below, because paho holds locks of its own while it calls back.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from runtime.config import MqttConfig

_log = structlog.get_logger()

PACKET_OVERHEAD_BYTES = 64 << 10
_PROTOCOL_MAX_PACKET = 268_435_455


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for us (QoS 1) when we vanish without saying goodbye."""

    topic: str
    payload: bytes
    retain: bool = True
    delay_s: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker took us in."""

    session_present: bool
    receive_maximum: int
    max_packet_bytes: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker answered, and said no."""

    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker answered a publication."""

    mid: int
    reason: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker answered a subscription."""

    mid: int
    reason: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone; the link's last event."""

    reason: str


Event = Accepted | Refused | Acknowledged | Subscribed | Lost


class LinkFailed(Exception):
    """No connection could be made; the message says why."""


class _Client(paho.Client):
    """A client whose network thread tells when it dies: paho's own dies without a word.

    A broker can bring that about with one packet that paho stumbles over, and the session would
    wait for ever on a connection that nobody reads.
    """

    on_death: Callable[[Exception], None] | None = None

    def loop_forever(
        self, timeout: float = 1.0, retry_first_connection: bool = False
    ) -> MQTTErrorCode:
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as error:
            _log.exception("mqtt_network_failed")
            if self.on_death is not None:
                self.on_death(error)
            return MQTTErrorCode.MQTT_ERR_UNKNOWN


class InOrder:
    """Sends acknowledgements in the order in which the messages came (MQTT 5, 4.6)."""

    def __init__(self, send: Callable[[int], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._waiting: deque[list[int]] = deque()  # [mid, 0 or 1 when done]

    def arrived(self, mid: int) -> Callable[[], None]:
        """Note a message and return what to call, from any thread, when it has been dealt with."""
        entry = [mid, 0]
        with self._lock:
            self._waiting.append(entry)

        def done() -> None:
            with self._lock:
                entry[1] = 1
                while self._waiting and self._waiting[0][1]:
                    self._send(self._waiting.popleft()[0])

        return done


class Link:
    """A single use paho client: open it, read its events, close it."""

    def __init__(
        self,
        config: MqttConfig,
        *,
        client_id: str,
        tls: ssl.SSLContext | None,
        will: Will | None,
        receive_maximum: int,
        connect_timeout_s: float,
        clean_start: bool,
        on_message: Callable[[paho.MQTTMessage, Callable[[], None]], None],
        events: queue.SimpleQueue[tuple[Link | None, Event | None]],
    ) -> None:
        self._config = config
        self._receive_maximum = receive_maximum
        self._clean_start = clean_start
        self._events = events
        self._on_message = on_message
        self._order = InOrder(self._send_ack)
        self._answered = False
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = connect_timeout_s
        client.max_inflight_messages_set(0)  # the session keeps its own window
        if tls is not None:
            client.tls_set_context(tls)
        if will is not None:
            properties = _properties(PacketTypes.WILLMESSAGE)
            if will.delay_s:
                properties.WillDelayInterval = will.delay_s
            client.will_set(will.topic, will.payload, 1, will.retain, properties)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.on_subscribe = self._subscribed
        client.on_message = self._message
        client.on_death = self._died
        self._client = client

    def open(self) -> None:
        """Connect TCP and TLS and send CONNECT; the answer comes as an event.

        Raises:
            LinkFailed: nobody there, TLS failed, or the name is unknown.
        """
        config = self._config
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = config.session_expiry_s
        properties.ReceiveMaximum = self._receive_maximum
        properties.MaximumPacketSize = min(
            config.max_payload_bytes + PACKET_OVERHEAD_BYTES, _PROTOCOL_MAX_PACKET
        )
        try:
            self._client.connect(
                config.host,
                config.port,
                config.keepalive_s,
                clean_start=self._clean_start,
                properties=properties,
            )
        except (OSError, ValueError) as error:
            raise LinkFailed(_describe(error, config)) from error
        self._client.loop_start()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        properties: Mapping[str, object] | None,
    ) -> int:
        """Hand a message to the network thread; return its mid (see `Acknowledged`)."""
        packed = None
        if properties:
            packed = _properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(packed, name, value)
        return self._client.publish(topic, payload, qos, retain, packed).mid

    def subscribe(self, topic_filter: str, *, qos: int, resumed: bool) -> int | None:
        """Subscribe; return the mid (see `Subscribed`), None when the connection is gone."""
        retained = (
            SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            if resumed
            else SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
        )
        options = SubscribeOptions(qos=qos, retainHandling=retained)
        return self._client.subscribe(topic_filter, options=options)[1]

    def unsubscribe(self, topic_filter: str) -> None:
        """Unsubscribe; nobody waits for the answer."""
        self._client.unsubscribe(topic_filter)

    def disconnect(self) -> None:
        """Say goodbye; `Lost` follows."""
        self._client.disconnect()

    def close(self) -> None:
        """Cut the connection, whatever its state, and end the network thread."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._client.drop_out_messages()
        self._client.loop_stop()

    def _put(self, event: Event) -> None:
        self._events.put((self, event))

    def _send_ack(self, mid: int) -> None:
        self._client.ack(mid, 1)

    def _connected(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._answered = True
        if reason.is_failure:
            self._put(Refused(f"the broker refused the connection: {reason}"))
            return
        self._put(
            Accepted(
                session_present=flags.session_present,
                receive_maximum=getattr(properties, "ReceiveMaximum", 65_535),
                max_packet_bytes=getattr(properties, "MaximumPacketSize", _PROTOCOL_MAX_PACKET),
            )
        )

    def _disconnected(
        self,
        _client: paho.Client,
        _userdata: object,
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if str(reason) != "Unspecified error":
            why = f"disconnected: {reason}"
        elif self._answered:
            why = "the connection broke (broker stopped, network down, or a message it refuses)"
        else:
            why = "the broker hung up before it let us in (is our certificate from its CA?)"
        self._put(Lost(why))

    def _died(self, error: Exception) -> None:
        self._put(Lost(f"the connection failed: {type(error).__name__}: {error}"))

    def _published(
        self,
        _client: paho.Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._put(Acknowledged(mid, str(reason), reason.is_failure))

    def _subscribed(
        self,
        _client: paho.Client,
        _userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        reason = reasons[0]
        self._put(Subscribed(mid, str(reason), reason.is_failure))

    def _message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        done = self._order.arrived(message.mid) if message.qos else _nothing
        self._on_message(message, done)


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves it bare


def _nothing() -> None:
    """Acknowledge a QoS 0 message: nothing to do."""


def _describe(error: Exception, config: MqttConfig) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not acceptable: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return f"the host name {config.host!r} cannot be resolved"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error)
