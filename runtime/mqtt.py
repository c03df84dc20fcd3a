"""Keep one MQTT 5 session with a broker while the process lives, whatever the network does.

Delivery is at least once in both directions. Outwards nothing is queued here: a message is either
in the window of those sent and not yet answered, or its owner still has it (an outbox). When a
connection breaks, each unanswered message is reported with the outcome ``unknown``; its owner sends
it again, and receivers drop duplicates. Inwards the handler acknowledges each message itself, after
it has stored it; what it had not acknowledged comes again after a reconnect.

Threads: ``mqtt`` (connects, and runs every callback but the message handlers) and paho's network
thread (runs the message handlers: they should hand over and return).
"""

from __future__ import annotations

import queue
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import paho.mqtt.client as paho
import structlog

from runtime._mqtt_link import (
    Accepted,
    Acknowledged,
    Event,
    Link,
    LinkFailed,
    Lost,
    Refused,
    Subscribed,
    Will,
)
from runtime._mqtt_subscriptions import Subscriptions
from runtime.config import MqttConfig
from runtime.mqtt_messages import (
    Delivery,
    Handler,
    MqttError,
    NotConnected,
    Outcome,
    PayloadTooLarge,
    PublishFailed,
    WindowFull,
)
from runtime.tls import TlsError, client_context

__all__ = [
    "Delivery",
    "Handler",
    "MqttError",
    "NotConnected",
    "Outcome",
    "PayloadTooLarge",
    "PublishFailed",
    "Session",
    "Will",
    "WindowFull",
]

_log = structlog.get_logger()
_STABLE_S = 5.0


_Argument = TypeVar("_Argument")


@dataclass(frozen=True, slots=True)
class _Pending:
    token: object
    on_done: Callable[[Outcome], None] | None


class Session:
    """A session with the broker; make one, subscribe, `start`, publish, `stop`.

    Args:
        config: where the broker is; ``session_expiry_s`` is how long it keeps our subscriptions.
            Of several brokers it is the first that lets us in, until that is gone; then the next.
            A session at another broker counts as one that was forgotten.
        client_id: used when the configuration names none; must be the same at every start.
        will: what the broker publishes when we vanish; `stop` publishes it as well.
        on_connected: called at each connection with whether the broker still had our session;
            publish births and retained state here.
        on_disconnected: called with the reason, after every outcome ``unknown``.
        on_crash: called when a handler or callback raises (a bug): stop the process, since the
            message stays unacknowledged and holds up those behind it.
        window: how many messages may be unanswered at once.
        receive_maximum: how many unacknowledged messages the broker may send us.
        backoff_s: first and largest pause between attempts to connect; each is shortened at
            random by up to a half, so that a thousand boxes do not return in the same second.
        connect_timeout_s: how long a broker may take to let us in.
        fresh: forget the session of an earlier process; for those to whom everything is retained,
            and who may have lost what that process had acknowledged.

    Raises:
        TlsError: the certificates in ``config`` cannot be used.
    """

    def __init__(
        self,
        config: MqttConfig,
        *,
        client_id: str = "",
        will: Will | None = None,
        on_connected: Callable[[bool], None] | None = None,
        on_disconnected: Callable[[str], None] | None = None,
        on_crash: Callable[[BaseException], None] | None = None,
        window: int = 64,
        receive_maximum: int = 256,
        backoff_s: tuple[float, float] = (0.5, 15.0),
        connect_timeout_s: float = 10.0,
        fresh: bool = False,
    ) -> None:
        self._config = config
        self._brokers = config.each
        self._turn = 0
        self._last_broker: int | None = None
        self.client_id = config.client_id or client_id
        if not self.client_id:
            raise ValueError("an MQTT session needs a client id")
        self._tls = client_context(config.tls) if config.tls else None
        self._will = will
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._on_crash = on_crash
        self._own_window = window
        self._receive_maximum = receive_maximum
        self._backoff_s = backoff_s
        self._connect_timeout_s = connect_timeout_s
        self._fresh = fresh

        self._events: queue.SimpleQueue[tuple[Link | None, Event | None]] = queue.SimpleQueue()
        self._changed = threading.Condition()  # guards everything below
        self._link: Link | None = None  # set while the broker has let us in
        self._window = window
        self._max_packet_bytes = 0
        self._pending: dict[int, _Pending] = {}
        self._subscriptions = Subscriptions()
        self._connections = 0
        self._down_reason = ""
        self._closing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._in_network_thread = threading.local()

    # ------------------------------------------------------------------ state

    @property
    def connected(self) -> bool:
        """Whether the broker has let us in and the connection stands, as far as is known."""
        return self._link is not None

    @property
    def inflight(self) -> int:
        """How many published messages are unanswered."""
        return len(self._pending)

    @property
    def connections(self) -> int:
        """How many times a connection has been made."""
        return self._connections

    @property
    def down_reason(self) -> str:
        """Why there is no connection; empty while there is one."""
        return self._down_reason

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until connected and every subscription has been answered; tell whether it is so."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._link is not None and self._subscriptions.all_answered, timeout_s
            )

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to connect, in the background, and never give up until `stop`."""
        self._thread.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Publish the will (so that a stop shows as one), wait for answers, say goodbye.

        Takes at most about ``deadline_s``; what is unanswered then has the outcome ``unknown``.
        """
        deadline = time.monotonic() + deadline_s
        if self._will is not None and self.connected:
            try:
                self.publish(
                    self._will.topic, self._will.payload, retain=self._will.retain, timeout_s=1.0
                )
            except MqttError as error:
                _log.warning("mqtt_goodbye_not_published", reason=str(error))
        with self._changed:
            self._closing = True
            self._changed.wait_for(
                lambda: not self._pending or self._link is None,
                max(0.0, deadline - time.monotonic()),
            )
        self._stopping.set()
        self._events.put((None, None))
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(max(1.0, deadline - time.monotonic()) + 2.0)

    def __enter__(self) -> Session:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------------ out

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: Literal[0, 1] = 1,
        retain: bool = False,
        token: object = None,
        on_done: Callable[[Outcome], None] | None = None,
        properties: Mapping[str, object] | None = None,
        timeout_s: float = 0.0,
    ) -> None:
        """Send a message now; its `Outcome` goes to ``on_done`` later (for QoS 0: once written).

        Args:
            topic: where to.
            payload: at most ``max_payload_bytes``.
            qos: 0 or 1.
            retain: ask the broker to keep it as the topic's last word.
            token: returned in the outcome.
            on_done: called exactly once, in the thread ``mqtt``, if this method returns.
            properties: MQTT 5 properties by paho's names, such as ``MessageExpiryInterval``.
            timeout_s: how long to wait for room in the window; never waits inside a callback.

        Raises:
            NotConnected: nothing was sent; try again when connected.
            WindowFull: nothing was sent; try again after some outcomes.
            PayloadTooLarge: nothing was sent, and never will be.
        """
        if len(payload) > self._config.max_payload_bytes:
            raise PayloadTooLarge(
                f"a message of {len(payload)} bytes for {topic} is over the limit of "
                f"{self._config.max_payload_bytes} (mqtt.max_payload_bytes)"
            )
        with self._changed:
            self._changed.wait_for(
                lambda: self._link is None or len(self._pending) < self._window,
                0.0 if self._in_callback() else timeout_s,
            )
            link = self._link
            if link is None or self._closing:
                why = "stopping" if self._closing else self._down_reason or "not yet"
                raise NotConnected(f"not connected to the MQTT broker {self._where()}: {why}")
            if len(payload) + len(topic) * 3 + 64 > self._max_packet_bytes:
                raise PayloadTooLarge(
                    f"a message of {len(payload)} bytes for {topic} is over the broker's own limit "
                    f"of {self._max_packet_bytes} bytes a packet; raise it there or send less"
                )
            if len(self._pending) >= self._window:
                raise WindowFull(f"{len(self._pending)} messages are unanswered")
            mid = link.publish(topic, payload, qos=qos, retain=retain, properties=properties)
            self._pending[mid] = _Pending(token, on_done)

    def publish_and_wait(
        self, topic: str, payload: bytes, *, retain: bool = False, timeout_s: float = 10.0
    ) -> None:
        """Publish at QoS 1 and return once the broker has it; not for use inside a callback.

        Raises:
            PublishFailed: refused, unanswered in ``timeout_s``, or the connection broke.
            MqttError: see `publish`.
        """
        outcome: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self.publish(topic, payload, retain=retain, on_done=outcome.put, timeout_s=timeout_s)
        try:
            result = outcome.get(timeout=timeout_s)
        except queue.Empty:
            raise PublishFailed(f"{topic}: the broker did not answer in {timeout_s} s") from None
        if result.result != "acknowledged":
            raise PublishFailed(f"{topic}: {result.result}, {result.reason}")

    # ------------------------------------------------------------------ in

    def subscribe(self, topic_filter: str, handler: Handler, *, qos: Literal[0, 1] = 1) -> None:
        """Have ``handler`` get what matches ``topic_filter``, now and after every reconnect.

        A message goes to the first handler, in the order of subscription, whose filter matches.
        Handlers must acknowledge what they will never be able to use, too.
        """
        with self._changed:
            self._subscriptions.add(topic_filter, handler, qos)
            if self._link is not None:
                self._subscriptions.send(self._link, topic_filter, resumed=False)

    def unsubscribe(self, topic_filter: str) -> None:
        """Want no more of what matches ``topic_filter``; what still comes of it is dropped."""
        with self._changed:
            if self._subscriptions.remove(topic_filter) and self._link is not None:
                self._link.unsubscribe(topic_filter)

    def _deliver(self, message: paho.MQTTMessage, done: Callable[[], None]) -> None:
        """Give a message to its handler; runs in paho's network thread."""
        self._in_network_thread.value = True
        try:
            topic = message.topic
        except UnicodeDecodeError:
            done()
            return
        if len(message.payload) > self._config.max_payload_bytes:
            _log.warning("mqtt_message_too_large", topic=topic, size_bytes=len(message.payload))
            done()
            return
        handler = self._subscriptions.handler_for(topic)
        if handler is None:  # left over from a subscription of an earlier run
            done()
            return
        try:
            handler(Delivery(topic, bytes(message.payload), message.retain, done))
        except BaseException as error:
            _log.exception("mqtt_handler_failed", topic=topic)
            if self._on_crash is not None:
                self._on_crash(error)

    # ------------------------------------------------------------------ the thread

    def _renewed_tls(self) -> ssl.SSLContext | None:
        """Read the certificates anew: they are renewed on the disk while the session lasts."""
        if self._config.tls is not None:
            try:
                self._tls = client_context(self._config.tls)
            except TlsError as error:
                _log.warning("certificates_unusable", reason=str(error), using="those read before")
        return self._tls

    def _run(self) -> None:
        pause_s = self._backoff_s[0]
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                reason, was_up = self._connect_once()
            except Exception as error:  # no thread left, a library's bug: a new link is a new start
                _log.exception("mqtt_link_failed", broker=self._where())
                reason, was_up = f"{type(error).__name__}: {error}", self._link is not None
            self._gone(reason, was_up=was_up)
            self._turn = (self._turn + 1) % len(self._brokers)
            if was_up and time.monotonic() - began > _STABLE_S:
                pause_s = self._backoff_s[0]
            self._stopping.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            pause_s = min(pause_s * 2, self._backoff_s[1])

    def _connect_once(self) -> tuple[str, bool]:
        """Connect and serve the link until it is lost; return why, and whether it was ever up."""
        link = Link(
            self._broker,
            client_id=self.client_id,
            tls=self._renewed_tls(),
            will=self._will,
            receive_maximum=self._receive_maximum,
            connect_timeout_s=self._connect_timeout_s,
            clean_start=self._is_fresh(),
            on_message=self._deliver,
            events=self._events,
        )
        try:
            link.open()
            return self._serve(link)
        except LinkFailed as error:
            return str(error), False
        finally:
            link.close()

    def _serve(self, link: Link) -> tuple[str, bool]:
        """Handle the link's events until it is lost; return why, and whether it was ever up."""
        deadline: float | None = time.monotonic() + self._connect_timeout_s
        refusal = ""
        said_goodbye = False
        while True:
            if self._stopping.is_set() and not said_goodbye:
                if self._link is None:
                    return "stopped", False
                said_goodbye = True
                deadline = time.monotonic() + 1.0
                link.disconnect()
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                source, event = self._events.get(timeout=timeout)
            except queue.Empty:
                return refusal or "no answer in time", self._link is not None
            if source is not link:
                continue
            if isinstance(event, Accepted):
                deadline = None
                self._up(link, event)
            elif isinstance(event, Refused):
                refusal = event.reason
            elif isinstance(event, Acknowledged):
                self._answered(event)
            elif isinstance(event, Subscribed):
                with self._changed:
                    self._subscriptions.answered(event)
                    self._changed.notify_all()
            elif isinstance(event, Lost):
                return refusal or event.reason, self._link is not None

    def _up(self, link: Link, event: Accepted) -> None:
        with self._changed:
            self._window = max(1, min(self._own_window, event.receive_maximum))
            self._max_packet_bytes = event.max_packet_bytes
            self._subscriptions.send_all(link, resumed=event.session_present)
            self._link = link
            self._last_broker = self._turn
            self._connections += 1
            self._down_reason = ""
            self._changed.notify_all()
        _log.info(
            "mqtt_connected",
            broker=self._where(),
            client_id=self.client_id,
            session_present=event.session_present,
        )
        if self._on_connected is not None:
            self._call(self._on_connected, event.session_present)

    def _gone(self, reason: str, *, was_up: bool) -> None:
        with self._changed:
            pending = list(self._pending.values())
            self._pending.clear()
            self._subscriptions.forget_waiting()
            self._link = None
            changed = reason != self._down_reason
            self._down_reason = reason
            self._changed.notify_all()
        if self._stopping.is_set():
            _log.info("mqtt_stopped", broker=self._where(), unanswered=len(pending))
        elif changed:
            event = "mqtt_disconnected" if was_up else "mqtt_unreachable"
            _log.warning(event, broker=self._where(), reason=reason, unanswered=len(pending))
        for item in pending:
            if item.on_done is not None:
                self._call(item.on_done, Outcome(item.token, "unknown", reason))
        if was_up and self._on_disconnected is not None:
            self._call(self._on_disconnected, reason)

    def _answered(self, event: Acknowledged) -> None:
        with self._changed:
            item = self._pending.pop(event.mid, None)
            self._changed.notify_all()
        if item is None or item.on_done is None:
            if event.failed:
                _log.warning("mqtt_publish_refused", reason=event.reason)
            return
        result: Literal["acknowledged", "refused"] = "refused" if event.failed else "acknowledged"
        self._call(item.on_done, Outcome(item.token, result, event.reason))

    def _call(self, callback: Callable[[_Argument], None], argument: _Argument) -> None:
        try:
            callback(argument)
        except Exception as error:
            _log.exception("mqtt_callback_failed")
            if self._on_crash is not None:
                self._on_crash(error)

    def _in_callback(self) -> bool:
        in_network_thread: bool = getattr(self._in_network_thread, "value", False)
        return in_network_thread or threading.current_thread() is self._thread

    @property
    def _broker(self) -> MqttConfig:
        return self._brokers[self._turn]

    def _is_fresh(self) -> bool:
        """Tell whether the broker is to forget an earlier session: what waits there is old."""
        if self._last_broker not in {None, self._turn}:
            return True
        return self._fresh and not self._connections

    def _where(self) -> str:
        return f"{self._broker.host}:{self._broker.port}"
