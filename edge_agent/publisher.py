"""Bring the outbox to the broker, in order, and take in what the site tells this box.

Publishes announcements (retained) and envelopes at QoS 1, a bounded number at a time, and signed
health reports (retained; the will says offline). Takes receipts, day keys, newer directories,
admissions and notices, and requests for stills, which it has answered. Nothing that comes from the
broker is believed before its signature has been checked.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from edge_agent.config import BoxConfig
from edge_agent.epochs import DayKeyring
from edge_agent.health import software_version
from edge_agent.identity import BoxRevoked, NotOurBox, require_box
from edge_agent.notices import Notices
from edge_agent.outbox import EPOCH, Message, Outbox
from edge_agent.stills.answering import StillAnswers
from protocol import names
from protocol.directory import AGGREGATOR, FORMS
from protocol.errors import EnvelopeRejected, ProtocolError
from protocol.signing import Signed, SigningKey
from protocol.telemetry import OFFLINE, ONLINE, RECEIPT_KIND, Health, Receipt
from protocol.v2.hours import CameraHours, open_hours
from runtime.clock import system_ms
from runtime.database import StorageError
from runtime.fsio import FileProblem
from runtime.mqtt import Delivery, MqttError, Outcome, PayloadTooLarge, Session, Will
from runtime.trust import Trust

_log = structlog.get_logger()

MAX_INFLIGHT_BYTES = 8 << 20
SESSION_EXPIRY_S = 300
"""No longer does the broker keep a box's session, whatever `[mqtt]` says. A short absence costs no
retained message a second time; after a longer one all comes anew. Mosquitto 2.0.11 dies of sessions
that it keeps past a SIGHUP (docs/operations.md)."""
_REFUSED_PAUSE_S = (1.0, 60.0)
_HEALTH_SLOTS = 4
_STILL_SLOTS = 4
_MOST_ANSWERS = 128
"""Answers about stills that wait for the broker; who gets none asks again."""


class Publisher:
    """The box's side of the broker.

    Args:
        config: of the box.
        board: signs health reports.
        outbox: what to publish; receipts delete from it.
        trust: verifies; newer directories go there.
        keyring: day keys go there.
        notices: notices go there.
        figures: the figures of a health report.
        stills: answers who asks for stills; None: there are none.
        on_revoked: called once with the reason when the directory no longer speaks for this box.
        on_crash: called when a callback raised: stop the process.
        backoff_s: pauses between attempts to connect, see `runtime.mqtt.Session`.
        settle_s: how long after subscribing what is retained may take to come.

    Raises:
        TlsError: the certificates in the configuration cannot be used.
    """

    def __init__(
        self,
        config: BoxConfig,
        *,
        board: SigningKey,
        outbox: Outbox,
        trust: Trust,
        keyring: DayKeyring,
        notices: Notices,
        figures: Callable[[], Mapping[str, float]],
        on_revoked: Callable[[str], None],
        on_crash: Callable[[BaseException], None],
        stills: StillAnswers | None = None,
        backoff_s: tuple[float, float] = (0.5, 15.0),
        settle_s: float = 1.0,
    ) -> None:
        self._config = config
        self._board = board
        self._outbox = outbox
        self._trust = trust
        self._keyring = keyring
        self._notices = notices
        self._figures = figures
        self._on_revoked = on_revoked
        self._health_topic = names.box_health_topic(config.site, config.box)
        self._inbox: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the three below
        self._inflight: dict[tuple[str, int], int] = {}
        self._connected: list[bool] = []
        self._refused_until_s = 0.0
        self._refused_pause_s = _REFUSED_PAUSE_S[0]
        self._hours: dict[str, CameraHours] = {}
        self._stills = stills
        self._answers: deque[bytes] = deque(maxlen=_MOST_ANSWERS)
        self._receipts: dict[str, Receipt] = {}  # verified, but the disk was full
        self._settle_s = settle_s
        self._settled_s: float | None = None
        self._next_health_s = 0.0
        self._next_check_s = 0.0
        self._revoked = ""
        self._ending = threading.Event()
        self._session = Session(
            config.mqtt.kept_for(SESSION_EXPIRY_S),
            client_id=config.box,
            will=Will(self._health_topic, self._health(OFFLINE, {})),
            on_connected=self._note_connected,
            on_crash=on_crash,
            window=config.outbox.window + _HEALTH_SLOTS + _STILL_SLOTS,
            backoff_s=backoff_s,
            fresh=True,
        )
        self._lists = (  # the directory first: it says who may sign admissions
            *(names.directory_topic(config.site, form) for form in sorted(FORMS)),
            names.admissions_topic(config.site),
        )
        self._notice_topic = names.notice_topic(config.site)
        for topic in (
            *self._lists,
            self._notice_topic,
            *(names.day_keys_topic(config.site, "+", form) for form in sorted(FORMS)),
            f"{names.TOPIC_ROOT}/{config.site}/{config.box}/+/{names.RECEIPT}",
            names.hours_filter(config.site, config.box),
            names.still_requests_topic(config.site, config.box),
        ):
            self._session.subscribe(topic, self._take_in)

    # ------------------------------------------------------------------ life

    def run(self) -> None:
        """Work until `stop`; the target of the thread ``publisher``."""
        self.check_self()
        if self._revoked:
            return
        self._session.start()
        while not self._ending.is_set():
            self._read_inbox()
            self._greet()
            if not self._revoked:
                self._send_answers()
                self._drain()
                self._report()
            self._check_now_and_then()
            self._outbox.wait(0.5)

    def stop(self, deadline_s: float) -> None:
        """End `run`, say goodbye to the broker; what is not acknowledged stays in the outbox."""
        self._ending.set()
        self._outbox.wake()
        self._session.stop(deadline_s)

    @property
    def heard(self) -> bool:
        """Whether subscribed so long that what the broker retained for us must have come."""
        return self._settled_s is not None and time.monotonic() - self._settled_s > self._settle_s

    def hours(self, camera: str) -> CameraHours | None:
        """Return what headquarters has told of a camera's hours; None if it has not."""
        return self._hours.get(camera)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._session.connected

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        return self._session.connections

    @property
    def revoked(self) -> str:
        """Why this box must not publish any more; empty while it may."""
        return self._revoked

    def check_self(self) -> None:
        """Compare the directory in force with this box; stop publishing if it is revoked."""
        directory = self._trust.directory
        try:
            require_box(directory, self._config, self._board.verify_key, cameras=False)
        except (BoxRevoked, NotOurBox) as error:
            if not self._revoked:
                self._revoked = str(error)
                _log.critical("box_revoked", reason=self._revoked)
                self._on_revoked(self._revoked)
            return
        try:
            require_box(directory, self._config, self._board.verify_key)
        except NotOurBox as error:
            _log.error("cameras_not_ours", reason=str(error))

    # ------------------------------------------------------------------ out

    def _drain(self) -> None:
        while self._session.connected and time.monotonic() >= self._refused_until_s:
            with self._lock:
                count, size = len(self._inflight), sum(self._inflight.values())
            if count >= self._config.outbox.window or (count and size >= MAX_INFLIGHT_BYTES):
                return
            taken = self._outbox.take(1)
            if not taken or not self._publish(taken[0]):
                return

    def _send_answers(self) -> None:
        """Send what was answered about stills; it is kept nowhere, and lost if it is refused."""
        topic = names.stills_topic(self._config.site, self._config.box)
        while self._answers and self._session.connected:
            try:
                self._session.publish(topic, self._answers[0], on_done=self._still_sent)
            except PayloadTooLarge as error:
                _log.error("still_too_large", reason=str(error))
            except MqttError:  # no room in the window, or no connection: again in a moment
                return
            self._answers.popleft()

    @staticmethod
    def _still_sent(outcome: Outcome) -> None:
        """Say so when an answer was lost; runs in the thread ``mqtt``."""
        if outcome.result != "acknowledged":
            _log.warning("still_answer_lost", result=outcome.result, reason=outcome.reason)

    def _publish(self, message: Message) -> bool:
        """Send one message; False when there is no use in trying another now."""
        key = (message.camera, message.sequence)
        leaf = names.EPOCH if message.kind == EPOCH else names.ENVELOPE
        with self._lock:
            self._inflight[key] = len(message.payload)
        try:
            self._session.publish(
                self._config.address(message.camera).topic(leaf),
                message.payload,
                retain=message.kind == EPOCH,
                token=key,
                on_done=self._answered,
            )
        except MqttError as error:
            with self._lock:
                del self._inflight[key]
            if isinstance(error, PayloadTooLarge):
                _log.error("message_too_large", camera=message.camera, reason=str(error))
                self._outbox.give_up(*key)
                return True
            self._outbox.give_back(*key)
            return False
        self._outbox.count("published_messages")
        self._outbox.count("published_bytes", len(message.payload))
        return True

    def _answered(self, outcome: Outcome) -> None:
        """Deal with an outcome; runs in the thread ``mqtt``."""
        key: tuple[str, int] = outcome.token  # type: ignore[assignment]
        with self._lock:
            self._inflight.pop(key, None)
            if outcome.result == "refused":
                self._refused_until_s = time.monotonic() + self._refused_pause_s
                self._refused_pause_s = min(self._refused_pause_s * 2, _REFUSED_PAUSE_S[1])
            elif outcome.result == "acknowledged":
                self._refused_pause_s = _REFUSED_PAUSE_S[0]
        if outcome.result == "acknowledged":
            self._outbox.acknowledged(*key)
        else:
            if outcome.result == "refused":
                _log.error("publish_refused", camera=key[0], reason=outcome.reason)
                self._outbox.count("publish_refused")
            self._outbox.give_back(*key)
        self._outbox.wake()

    def _note_connected(self, session_present: bool) -> None:
        with self._lock:
            self._connected.append(session_present)
        self._outbox.wake()

    def _greet(self) -> None:
        """After a connection: the birth report, and again what a forgetful broker has lost."""
        with self._lock:
            news, self._connected = self._connected, []
        if news:
            self._next_health_s = 0.0
            if not news[-1] and self._session.connections > 1:
                again = self._outbox.requeue_unreceipted()
                _log.info("broker_forgot_session", resending=again)
        if self._settled_s is None and self._session.wait_connected(0.0):
            self._settled_s = time.monotonic()

    def _report(self) -> None:
        if time.monotonic() < self._next_health_s or not self._session.connected:
            return
        self._next_health_s = time.monotonic() + self._config.health_s
        try:
            self._session.publish(
                self._health_topic, self._health(ONLINE, self._figures()), retain=True
            )
        except MqttError as error:
            _log.warning("health_not_published", reason=str(error))

    def _health(self, state: str, figures: Mapping[str, float]) -> bytes:
        report = Health(
            site=self._config.site,
            box=self._config.box,
            state=state,
            reported_at_ms=system_ms(),
            version=software_version(),
            figures=figures,
        )
        return report.sign(self._board).to_bytes()

    # ------------------------------------------------------------------ in

    def _take_in(self, delivery: Delivery) -> None:
        self._inbox.put(delivery)
        self._outbox.wake()

    def _read_inbox(self) -> None:
        while True:
            try:
                delivery = self._inbox.get_nowait()
            except queue.Empty:
                return
            try:
                self._deal_with(delivery)
            except ProtocolError as error:
                _log.warning(
                    "message_refused",
                    topic=delivery.topic,
                    kind=type(error).__name__,
                    reason=str(error),
                )
                self._outbox.count("messages_refused")
            except (FileProblem, StorageError) as error:
                _log.error("state_not_written", topic=delivery.topic, reason=str(error))
                self._outbox.count("storage_failures")
            except Exception:  # what somebody sent must not end the thread, nor come back for ever
                _log.exception("message_failed", topic=delivery.topic)
                self._outbox.count("messages_failed")
            delivery.ack()

    def _deal_with(self, delivery: Delivery) -> None:
        """Take in one message.

        Raises:
            ProtocolError: it is not what it should be, or not from whom.
            FileProblem, StorageError: it could not be kept.
        """
        if delivery.topic in self._lists:
            try:
                self._trust.accept(delivery.payload)
            finally:
                self.check_self()
        elif delivery.topic == self._notice_topic:
            self._notices.accept(delivery.payload)
        elif "/custodians/" in delivery.topic:
            self._keyring.accept(delivery.payload)
        elif delivery.topic.endswith(f"/{names.STILL_REQUESTS}"):
            if self._stills is not None and not self._revoked:
                self._answers.extend(self._stills.answer(delivery.payload))
        elif delivery.topic.endswith(f"/{names.HOURS}"):
            self._take_hours(delivery)
        else:
            self._take_receipt(delivery)

    def _take_hours(self, delivery: Delivery) -> None:
        address, _ = names.parse_camera_topic(delivery.topic)
        if address != self._config.address(address.camera):
            raise EnvelopeRejected("the hours are told to another box")
        told = open_hours(delivery.payload, self._trust.directory, address=address)
        # As with receipts: one dated ahead neither counts for longer nor shuts out the next.
        told = replace(told, issued_at_ms=min(told.issued_at_ms, system_ms()))
        if (known := self._hours.get(address.camera)) is None or (
            known.issued_at_ms <= told.issued_at_ms
        ):
            self._hours[address.camera] = told

    def _take_receipt(self, delivery: Delivery) -> None:
        signed = Signed.parse(delivery.payload, kind=RECEIPT_KIND)
        receipt = Receipt.parse(signed.verify(self._trust.directory.resolver(AGGREGATOR)))
        address, _ = names.parse_camera_topic(delivery.topic)
        if receipt.address != address or address != self._config.address(address.camera):
            raise EnvelopeRejected("the receipt is for another camera than its topic says")
        # One dated ahead, by a clock that is set right later, must not shut out those that follow.
        dated_ms = min(receipt.issued_at_ms, system_ms())
        self._receipts[address.camera] = replace(receipt, issued_at_ms=dated_ms)
        self._apply_receipts()

    def _apply_receipts(self) -> None:
        for camera, receipt in list(self._receipts.items()):
            self._outbox.receipt(
                camera,
                stored_through=receipt.stored_through,
                missing=receipt.missing,
                issued_at_ms=receipt.issued_at_ms,
            )
            del self._receipts[camera]

    def _check_now_and_then(self) -> None:
        if time.monotonic() < self._next_check_s:
            return
        self._next_check_s = time.monotonic() + min(5.0, self._config.outbox.resend_after_s / 4)
        if self._session.connected:
            self._outbox.requeue_unreceipted(older_than_s=self._config.outbox.resend_after_s)
        try:
            self._apply_receipts()
        except StorageError as error:
            _log.warning("receipt_not_applied", reason=str(error))
