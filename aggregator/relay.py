"""Hand boxes what others sign for them: day keys, directory, admissions; and our own notices.

Boxes speak MQTT alone, so that what we tell them of the hours in store goes this way too. What is
relayed is signed by its maker and checked by the boxes themselves; the aggregator checks it too, so
as not to spread what nobody will take.
"""

from __future__ import annotations

import threading
import time

import structlog

from aggregator.hours import HourTeller
from aggregator.notices import NoticeMaker
from protocol.daykeys import DAY_KEYS_KIND, DayKeys
from protocol.directory import CUSTODIAN, FORMS, Principal
from protocol.errors import MalformedMessage
from protocol.names import admissions_topic, day_keys_topic, directory_topic, notice_topic
from protocol.signing import Signed
from runtime.config import TlsConfig
from runtime.database import StorageError
from runtime.errors import explained
from runtime.fsio import FileProblem
from runtime.http import raise_for_problem
from runtime.lifecycle import Stop
from runtime.mqtt import MqttError, PublishFailed, Session
from runtime.mqtt_brokers import Brokers
from runtime.peers import client_of
from runtime.trust import Trust

_log = structlog.get_logger()
_SOON_S = 2.0
_LOOK_S = 0.25
_TIMEOUT_S = 5.0
_FROM_THE_FUTURE_MS = 24 * 3600 * 1000


class Relay:
    """Polls the custodians and keeps the retained topics up to date.

    Args:
        site: the site's name.
        trust: the newest directory.
        session: publishes.
        tls: certificates for calling the custodians.
        poll_s: pause between polls; shorter while a custodian has not answered yet.
        notices: makes the notices; None: there are none.
        hours: tells boxes that import films which hours are in store; None: nobody does.
    """

    def __init__(
        self,
        *,
        site: str,
        trust: Trust,
        session: Brokers | Session,
        tls: TlsConfig | None,
        poll_s: float,
        notices: NoticeMaker | None = None,
        hours: HourTeller | None = None,
    ) -> None:
        self._site = site
        self._trust = trust
        self._session = session
        self._tls = tls
        self._poll_s = poll_s
        self._notices = notices
        self._hours = hours
        self._wake = threading.Event()
        self._published: dict[str, bytes] = {}
        self._newest: dict[tuple[str, int], tuple[int, bytes]] = {}  # by custodian and form
        self._failing: dict[str, str] = {}

    def poke(self) -> None:
        """Publish everything again soon: after a connection, or with a new directory."""
        self._published.clear()
        self._wake.set()

    def run(self, stop: Stop) -> None:
        """Poll and publish until ``stop``; the body of the thread ``relay``."""
        next_poll_s = 0.0
        while not stop.is_set():
            if time.monotonic() >= next_poll_s:
                complete = self.poll()
                next_poll_s = time.monotonic() + (self._poll_s if complete else _SOON_S)
            complete = self.publish()
            pause_s = max(0.0, next_poll_s - time.monotonic())
            self._wait(stop, pause_s if complete else min(pause_s, _SOON_S))
            self._wake.clear()

    def poll(self) -> bool:
        """Ask every custodian for its day keys; return whether all of them have answered."""
        custodians = self._trust.directory.with_duty(CUSTODIAN)
        for custodian in custodians:
            try:
                for form in sorted(FORMS):
                    self._take(custodian.name, form, self._fetch(custodian, form))
            except Exception as error:  # whatever one custodian sends, the others' keys go on
                reason = explained(error)
                if self._failing.get(custodian.name) != reason:
                    _log.warning("day_keys_not_fetched", custodian=custodian.name, reason=reason)
                self._failing[custodian.name] = reason
                continue
            if self._failing.pop(custodian.name, None) is not None:
                _log.info("day_keys_fetched_again", custodian=custodian.name)
        names = {custodian.name for custodian in custodians}
        for gone in [one for one in self._newest if one[0] not in names]:
            del self._newest[gone]
        return not self._failing.keys() & names

    def publish(self) -> bool:
        """Publish, retained, what has changed; return whether all of it is with the broker."""
        wanted: dict[str, bytes] = {}
        for form in sorted(FORMS):
            if (signed := self._trust.signed_in(form)) is not None:
                wanted[directory_topic(self._site, form)] = signed
        admissions = self._trust.signed_admissions
        if admissions is not None:
            wanted[admissions_topic(self._site)] = admissions
        for (name, form), (_, data) in self._newest.items():
            wanted[day_keys_topic(self._site, name, form)] = data
        complete = self._give_notice(wanted) & self._tell_hours(wanted)
        for topic, data in wanted.items():
            if self._published.get(topic) == data:
                continue
            try:
                self._session.publish_and_wait(topic, data, retain=True)
            except PublishFailed as error:  # a broker whose rights are older may refuse one topic
                _log.debug("relay_waits", topic=topic, reason=str(error))
                complete = False
                continue
            except MqttError as error:
                _log.debug("relay_waits", topic=topic, reason=str(error))
                return False
            self._published[topic] = data
            _log.info("relayed", topic=topic, size_bytes=len(data))
        return complete

    def _give_notice(self, wanted: dict[str, bytes]) -> bool:
        """Put the newest notice to what is wanted; tell whether there was no trouble with it."""
        if self._notices is None:
            return True
        try:
            notice = self._notices.newest()
        except (FileProblem, StorageError) as error:
            _log.error("no_notice", reason=str(error))
            return False
        if notice is not None:
            wanted[notice_topic(self._site)] = notice
        return True

    def _tell_hours(self, wanted: dict[str, bytes]) -> bool:
        """Put the hours in store to what is wanted; tell whether there was no trouble with it."""
        if self._hours is None:
            return True
        try:
            wanted.update(self._hours.messages())
        except StorageError as error:
            _log.error("no_hours", reason=str(error))
            return False
        return True

    def _take(self, name: str, form: int, data: bytes) -> None:
        """Take in what a custodian answered; one of version 1 gives its first form for either.

        Raises:
            ProtocolError: it is not day keys of ``name`` for this site.
        """
        keys = self._check(name, data)
        if keys.form != form:
            return
        known = self._newest.get((name, form))
        # Dated by a clock that had leapt ahead, they would be relayed until that time comes.
        wrong = known is not None and known[0] > time.time() * 1000 + _FROM_THE_FUTURE_MS
        if known is None or wrong or keys.issued_at_ms >= known[0]:
            self._newest[name, form] = (keys.issued_at_ms, data)

    def _check(self, name: str, data: bytes) -> DayKeys:
        """Return the day keys as read.

        Raises:
            ProtocolError: they are not day keys of ``name`` for this site.
        """
        signed = Signed.parse(data, kind=DAY_KEYS_KIND)
        payload = signed.verify(self._trust.directory.resolver(CUSTODIAN))
        keys = DayKeys.parse(payload, custodian=signed.signer)
        if signed.signer != name or keys.site != self._site:
            raise MalformedMessage(f"the day keys are of '{signed.signer}', site '{keys.site}'")
        return keys

    def _wait(self, stop: Stop, timeout_s: float) -> None:
        """Wait until woken, until there may be something to tell, until a stop, or for so long."""
        deadline = time.monotonic() + timeout_s
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if self._wake.wait(min(left, _LOOK_S)):
                return
            if self._notices is not None and self._notices.stale:
                return
            if self._hours is not None and self._hours.due:
                return

    def _fetch(self, custodian: Principal, form: int) -> bytes:
        with client_of(custodian, self._tls, _TIMEOUT_S) as http:
            return raise_for_problem(http.get(f"/v1/day-keys?form={form}")).content
