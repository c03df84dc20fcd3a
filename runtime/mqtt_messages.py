"""What goes in and out of an MQTT session: deliveries, outcomes, why a message was not taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from runtime.errors import OperationError


class MqttError(OperationError):
    """A message could not be published."""


class NotConnected(MqttError):
    """There is no connection now; the session goes on trying to make one."""


class WindowFull(MqttError):
    """Too many messages are unanswered; wait for outcomes before publishing more."""


class PayloadTooLarge(MqttError):
    """The message is over the size that this side or the broker takes."""


class PublishFailed(MqttError):
    """The broker refused the message, or the connection broke before it answered."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a published message."""

    token: object
    """What the publisher gave to recognise it by."""
    result: Literal["acknowledged", "refused", "unknown"]
    """``unknown``: the connection broke first; the broker may or may not have it."""
    reason: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as received; it counts as received only once ``ack`` has been called."""

    topic: str
    payload: bytes
    retain: bool
    """True when the broker had it in store, False when it was published just now."""
    ack: Callable[[], None]
    """Call once it is dealt with, from any thread; late calls after a reconnect do nothing."""


Handler = Callable[[Delivery], None]
"""Takes a message in; runs in the network thread, so it should hand over and return."""
