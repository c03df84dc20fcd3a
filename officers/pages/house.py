"""The desk of one officer while its process runs: keys, what is kept in memory, the connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import structlog

from officers.desk import Keys, Notice, Officer, Session, Tell, unlock
from officers.desk.api_client import AggregatorClient
from officers.desk.notices import unheard
from officers.desk.phrases import phrase
from officers.desk.session import refresh_directory, refresh_places
from officers.pages.door import Door
from officers.pages.live import Live
from officers.pages.settings import Settings
from officers.pages.signatures import Signatures
from officers.pages.words import PageWords
from runtime.clock import real_s
from runtime.errors import OperationError
from runtime.http import PeerUnreachable
from runtime.keyfiles import WrongPassphrase, is_sealed
from runtime.zones import site_zone

IDLE_S = 600.0
"""Seconds without a sign of the officer after which the desk locks itself."""
_REFRESH_S, _AGAIN_S = 30.0, 5.0
_DELAYS_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)
_log = structlog.get_logger()
Kept = TypeVar("Kept")


class Locked(OperationError):
    """The officer's keys are not unlocked: the passphrase is asked for first."""

    def __init__(self) -> None:
        super().__init__(phrase("the desk is locked; enter your passphrase"))


class TooSoon(OperationError):
    """A passphrase was tried too soon after wrong ones."""


class House:
    """One officer at one desk; every page of every tab works on the same one.

    Args:
        officer: whose desk it is.
        port: on which it is served on loopback.
        clock: seconds, monotonic; those count in which the machine sleeps, its lid closed.
    """

    def __init__(self, officer: Officer, port: int, *, clock: Callable[[], float] = real_s) -> None:
        self.officer = officer
        self.port = port
        self.origin = f"http://localhost:{port}"
        self.settings = Settings.load(officer.config.state_dir)
        self.zone = site_zone(officer.config.time_zone)
        self.door = Door(clock)
        self.live = Live(self)
        self.signatures = Signatures(clock)
        self._clock = clock
        self._lock = threading.RLock()
        self._keys: Keys | None = None
        self._kept: dict[str, object] = {}
        self._awake_s = clock()
        self._wrong = 0
        self._not_before_s = clock()
        self._client: AggregatorClient | None = None
        self._client_url = ""
        self._refreshed_s: float | None = None
        self._refreshing = threading.Lock()
        self.on_lock: list[Callable[[], None]] = []
        """Called after the desk was locked."""

    # ------------------------------------------------------------------ keys

    @property
    def keys(self) -> Keys:
        """The officer's keys.

        Raises:
            Locked: they are not unlocked.
        """
        self.lock_if_idle()
        with self._lock:
            if self._keys is None:
                raise Locked
            return self._keys

    @property
    def locked(self) -> bool:
        """Whether the keys, and all that was opened with them, are forgotten."""
        self.lock_if_idle()
        return self._keys is None

    def lock_if_idle(self) -> None:
        """Lock the desk if there was no sign of the officer for too long."""
        if self._keys is not None and self.idle_left_s <= 0:
            self.lock()

    @property
    def asks_passphrase(self) -> bool:
        """Whether the key that signs is sealed under a passphrase."""
        return is_sealed(self.officer.config.identity)

    def unlock(self, passphrase: bytes) -> None:
        """Open the keys; each wrong passphrase makes the next try wait longer.

        Raises:
            WrongPassphrase: it does not open them.
            TooSoon: wrong ones were tried a moment ago.
            OperationError: as `officers.desk.unlock`.
        """
        keys = self.try_passphrase(lambda: unlock(self.officer, passphrase))
        with self._lock:
            self._keys = keys
            self._awake_s = self._clock()

    def try_passphrase(self, opening: Callable[[], Kept]) -> Kept:
        """Do what tries a passphrase, unless wrong ones were tried a moment ago.

        Raises:
            TooSoon: they were.
        """
        with self._lock:
            left_s = self._not_before_s - self._clock()
            if left_s > 0:
                raise TooSoon(
                    phrase(
                        "the passphrase was wrong; wait {seconds} s, then try again",
                        seconds=max(1, round(left_s)),
                    )
                )
        try:
            opened = opening()
        except WrongPassphrase:
            with self._lock:
                self._wrong = min(self._wrong + 1, len(_DELAYS_S) - 1)
                self._not_before_s = self._clock() + _DELAYS_S[self._wrong]
            raise
        with self._lock:
            self._wrong = 0
        return opened

    def lock(self) -> None:
        """Forget the keys, and all that was opened with them."""
        with self._lock:
            was_open = self._keys is not None
            self._keys = None
            kept, self._kept = self._kept, {}
        self.signatures.forget()
        for thing in kept.values():
            forget = getattr(thing, "forget", None)
            if forget is not None:
                forget()
        if was_open:
            _log.info("desk_locked")
        for call in self.on_lock:
            call()

    def awake(self, *, ago_s: float = 0.0) -> None:
        """Note that the officer is there, or was some time ago."""
        self._awake_s = self._clock() - ago_s

    @property
    def idle_left_s(self) -> float:
        """Seconds until the desk locks itself, without a sign of the officer."""
        return max(0.0, self._awake_s + IDLE_S - self._clock())

    # ------------------------------------------------------------------ memory

    def kept(self, name: str, maker: Callable[[], Kept]) -> Kept:
        """Return what is kept in memory under a name until the desk locks; make it if it is not.

        When the desk locks, its ``forget()`` is called if it has one, and it is dropped.

        Raises:
            Locked: the desk was locked meanwhile; nothing would be forgotten any more.
        """
        with self._lock:
            if self._keys is None:
                raise Locked
            if name not in self._kept:
                self._kept[name] = maker()
            return cast("Kept", self._kept[name])

    # ------------------------------------------------------------------ headquarters

    @contextmanager
    def session(self, tell: Tell = unheard, *, anyway: bool = False) -> Iterator[Session]:
        """Yield the officer at work over a connection that is kept.

        A newer directory is asked for every 30 s at most. Where headquarters were silent a moment
        ago no page waits for them again: reading goes on at once.

        Args:
            tell: takes notes and warnings.
            anyway: ask them all the same (what watches them does).

        Raises:
            OfficerError: no aggregator is known, or the officer has no certificate.
            PeerUnreachable: the aggregator does not answer.
        """
        if not anyway:
            self.live.check_heard()
        session = Session(self.officer, self._connection(), tell)
        self._refresh(session)
        yield session

    def _connection(self) -> AggregatorClient:
        url = self.officer.aggregator_url()
        with self._lock:
            if self._client is None or url != self._client_url:
                if self._client is not None:
                    self._client.close()
                self._client = AggregatorClient(url, self.officer.tls)
                self._client_url = url
            return self._client

    def _refresh(self, session: Session) -> None:
        if not self._refreshing.acquire(blocking=False):
            return  # somebody does; nobody waits for it
        try:
            now_s = self._clock()
            if self._refreshed_s is not None and now_s - self._refreshed_s < _REFRESH_S:
                return
            try:
                refresh_directory(session)
                refresh_places(session)
            except PeerUnreachable:
                if self._refreshed_s is None:
                    raise
                # What was opened before can still be read; whoever needs an answer asks for it.
                self._refreshed_s = now_s - _REFRESH_S + _AGAIN_S
                return
            self._refreshed_s = now_s
        finally:
            self._refreshing.release()

    # ------------------------------------------------------------------ words

    def words(self) -> PageWords:
        """Return the words of the officer's language, with the site's clocks."""
        return PageWords(self.settings.language, self.zone)

    def close(self) -> None:
        """Lock, and hang up."""
        self.lock()
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def heard(into: list[Notice]) -> Tell:
    """Return what keeps notices in a list, each once."""

    def keep(notice: Notice) -> None:
        if notice not in into:
            into.append(notice)

    return keep
