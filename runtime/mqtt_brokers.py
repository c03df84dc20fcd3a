"""Keep a session with each of a site's brokers, as if they were one: for headquarters.

Boxes publish to whichever broker they reach, so headquarters listens at all and says whatever it
says at each. One that is away holds up nothing: when it comes back, ``on_connected`` tells, and
what is retained is to be published again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from runtime.config import MqttConfig
from runtime.mqtt import Handler, MqttError, NotConnected, Outcome, PublishFailed, Session


class Brokers:
    """Sessions with all brokers of a configuration; takes what `runtime.mqtt.Session` takes."""

    def __init__(self, config: MqttConfig, **session: Any) -> None:
        self._sessions = tuple(Session(one, **session) for one in config.each)

    @property
    def connected(self) -> bool:
        """Whether there is a connection with any."""
        return any(session.connected for session in self._sessions)

    @property
    def connections(self) -> int:
        """How many connections have been made, with all of them together."""
        return sum(session.connections for session in self._sessions)

    @property
    def client_id(self) -> str:
        """Ours, the same at each."""
        return self._sessions[0].client_id

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until connected with all and every subscription is answered; tell whether so."""
        deadline = time.monotonic() + timeout_s
        return all(
            session.wait_connected(max(0.0, deadline - time.monotonic()))
            for session in self._sessions
        )

    def start(self) -> None:
        """Begin to connect with all."""
        for session in self._sessions:
            session.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Say goodbye to all; takes at most about ``deadline_s``."""
        deadline = time.monotonic() + deadline_s
        for session in self._sessions:
            session.stop(max(0.5, deadline - time.monotonic()))

    def __enter__(self) -> Brokers:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def reached(self) -> int:
        """With how many brokers there is a connection at the moment."""
        return sum(session.connected for session in self._sessions)

    @property
    def brokers(self) -> int:
        """How many brokers there are."""
        return len(self._sessions)

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        """Have ``handler`` get what matches, from any broker."""
        for session in self._sessions:
            session.subscribe(topic_filter, handler)

    def unsubscribe(self, topic_filter: str) -> None:
        """Want no more of what matches."""
        for session in self._sessions:
            session.unsubscribe(topic_filter)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        token: object = None,
        on_done: Callable[[Outcome], None] | None = None,
        timeout_s: float = 0.0,
    ) -> None:
        """Send a message to every broker that we are connected with.

        ``on_done`` is called once, when all of those have answered, with the worst outcome.

        Raises:
            MqttError: as `runtime.mqtt.Session.publish`: no broker was sent anything.
        """
        reached = [session for session in self._sessions if session.connected]
        if not reached:
            reached = [self._sessions[0]]  # it says why there is no connection
        answers = _Answers(len(reached), on_done)
        trouble: MqttError | None = None
        for session in reached:
            try:
                session.publish(
                    topic,
                    payload,
                    retain=retain,
                    token=token,
                    on_done=answers.take,
                    timeout_s=timeout_s,
                )
            except NotConnected as error:
                trouble = error
                answers.drop()
            except MqttError as error:
                trouble = error
                answers.drop(Outcome(token, "unknown", str(error)))
        if answers.none_sent and trouble is not None:
            raise trouble

    def publish_and_wait(
        self, topic: str, payload: bytes, *, retain: bool = False, timeout_s: float = 10.0
    ) -> None:
        """Publish, and return once every broker that we are connected with has it.

        Raises:
            PublishFailed: one refused it, or did not answer in ``timeout_s``.
            MqttError: see `publish`.
        """
        done = threading.Event()
        outcomes: list[Outcome] = []

        def take(outcome: Outcome) -> None:
            outcomes.append(outcome)
            done.set()

        self.publish(topic, payload, retain=retain, on_done=take, timeout_s=timeout_s)
        if not done.wait(timeout_s):
            raise PublishFailed(f"{topic}: a broker did not answer in {timeout_s} s")
        if outcomes[0].result != "acknowledged":
            raise PublishFailed(f"{topic}: {outcomes[0].result}, {outcomes[0].reason}")


_WORST = ("refused", "unknown", "acknowledged")


class _Answers:
    """Gathers what the brokers answered to one message."""

    def __init__(self, count: int, on_done: Callable[[Outcome], None] | None) -> None:
        self._lock = threading.Lock()
        self._left = count
        self._sent = count
        self._on_done = on_done
        self._outcomes: list[Outcome] = []

    @property
    def none_sent(self) -> bool:
        """Whether no broker was sent the message."""
        return self._sent == 0

    def take(self, outcome: Outcome) -> None:
        """Note an answer; with the last one all is told."""
        self._note(outcome)

    def drop(self, outcome: Outcome | None = None) -> None:
        """Note that one was not sent the message; with an outcome, that this is to be told."""
        self._sent -= 1
        self._note(outcome)

    def _note(self, outcome: Outcome | None) -> None:
        with self._lock:
            self._left -= 1
            if outcome is not None:
                self._outcomes.append(outcome)
            complete = self._left == 0 and self._sent > 0 and self._outcomes
        if complete and self._on_done is not None:
            self._on_done(min(self._outcomes, key=lambda one: _WORST.index(one.result)))
