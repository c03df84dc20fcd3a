"""Which handler gets which MQTT message, and what the broker said to each subscription."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import structlog
from paho.mqtt.matcher import MQTTMatcher

from runtime._mqtt_link import Link, Subscribed
from runtime.mqtt_messages import Handler

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Subscription:
    place: int
    """In the order of subscription."""
    handler: Handler
    qos: int


class Subscriptions:
    """The filters of a session; its owner guards it with a lock, save for `handler_for`."""

    def __init__(self) -> None:
        self._handlers: dict[str, _Subscription] = {}
        self._waiting: dict[int, str] = {}
        self._matching = threading.Lock()  # guards the two below
        self._matcher = MQTTMatcher()  # type: ignore[no-untyped-call]  # paho leaves it bare
        self._places = 0

    @property
    def all_answered(self) -> bool:
        """Whether the broker has answered every subscription sent to it."""
        return not self._waiting

    def add(self, topic_filter: str, handler: Handler, qos: int) -> None:
        """Note a filter, replacing an earlier handler of the same."""
        with self._matching:
            known = self._handlers.get(topic_filter)
            self._places += known is None
            place = self._places if known is None else known.place
            self._handlers[topic_filter] = _Subscription(place, handler, qos)
            self._matcher[topic_filter] = self._handlers[topic_filter]

    def remove(self, topic_filter: str) -> bool:
        """Forget a filter; tell whether it was there."""
        with self._matching:
            if self._handlers.pop(topic_filter, None) is None:
                return False
            del self._matcher[topic_filter]  # type: ignore[no-untyped-call]
            return True

    def send(self, link: Link, topic_filter: str, *, resumed: bool) -> None:
        """Subscribe to one filter; ``resumed`` asks for no retained messages seen before."""
        mid = link.subscribe(topic_filter, qos=self._handlers[topic_filter].qos, resumed=resumed)
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
        """Return the first handler whose filter matches; safe without the owner's lock."""
        with self._matching:
            matches = list(self._matcher.iter_match(topic))  # type: ignore[no-untyped-call]
        return min(matches, key=lambda one: one.place).handler if matches else None
