"""Which handler gets which MQTT message, and what the broker said to each subscription."""

from __future__ import annotations

import paho.mqtt.client as paho
import structlog

from runtime._mqtt_link import Link, Subscribed
from runtime.mqtt_messages import Handler

_log = structlog.get_logger()


class Subscriptions:
    """The filters of a session; its owner guards it with a lock, save for `handler_for`."""

    def __init__(self) -> None:
        self._handlers: dict[str, tuple[Handler, int]] = {}
        self._waiting: dict[int, str] = {}

    @property
    def all_answered(self) -> bool:
        """Whether the broker has answered every subscription sent to it."""
        return not self._waiting

    def add(self, topic_filter: str, handler: Handler, qos: int) -> None:
        """Note a filter, replacing an earlier handler of the same."""
        self._handlers = {**self._handlers, topic_filter: (handler, qos)}

    def send(self, link: Link, topic_filter: str, *, resumed: bool) -> None:
        """Subscribe to one filter; ``resumed`` asks for no retained messages seen before."""
        mid = link.subscribe(topic_filter, qos=self._handlers[topic_filter][1], resumed=resumed)
        if mid is not None:
            self._waiting[mid] = topic_filter

    def send_all(self, link: Link, *, resumed: bool) -> None:
        """Subscribe to every filter on a new connection."""
        self.forget_waiting()
        for topic_filter in self._handlers:
            self.send(link, topic_filter, resumed=resumed)

    def answered(self, event: Subscribed) -> None:
        """Note the broker's answer."""
        topic_filter = self._waiting.pop(event.mid, None)
        if topic_filter is not None and event.failed:
            _log.error("mqtt_subscription_refused", filter=topic_filter, reason=event.reason)

    def forget_waiting(self) -> None:
        """Expect no answers any more: the connection is gone."""
        self._waiting.clear()

    def handler_for(self, topic: str) -> Handler | None:
        """Return the first handler whose filter matches; safe without the lock."""
        for topic_filter, (handler, _) in self._handlers.items():
            if paho.topic_matches_sub(topic_filter, topic):
                return handler
        return None
