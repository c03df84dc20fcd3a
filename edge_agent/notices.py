"""The newest notice of the site: kept on disk, never an older one again, judged by this box itself.

The aggregator signs a notice and is believed in nothing but which is the newest. Of the policy
in it the version never goes back either: an old one might not ask for any cover.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from protocol.directory import Directory
from protocol.errors import MalformedMessage, PolicyMismatch, ProtocolError, SignatureInvalid
from protocol.names import SLOT_MS
from protocol.policy import open_policy
from protocol.v2.notices import MAX_NOTICE_BYTES, Notice, Standing, open_notice, standing
from runtime.clock import system_ms
from runtime.fsio import FileProblem, atomic_write, read_file
from runtime.trust import Trust

_log = structlog.get_logger()
_SOON_MS = 15_000


@dataclass(frozen=True, slots=True)
class _Judged:
    """What stands by one directory, for a while."""

    directory: Directory
    from_ms: int
    until_ms: int
    standing: Standing | None

    def holds(self, now_ms: int) -> bool:
        """Tell whether it need not be judged again yet."""
        return self.from_ms <= now_ms < self.until_ms


class Notices:
    """The notice in force on this box; safe to call from several threads.

    Args:
        trust: the directory, by which a notice and every query in it are judged.
        file: where the newest one is kept.
        now_ms: the wall clock, by which queries are judged.
    """

    def __init__(self, trust: Trust, *, file: Path, now_ms: Callable[[], int] = system_ms) -> None:
        self._trust = trust
        self._file = file
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._notice: Notice | None = None
        self._signed = b""
        self._policy_version = 0
        self._judged: _Judged | None = None
        self._told: set[tuple[int, str]] = set()
        if file.exists():
            try:
                self._take(read_file(file, MAX_NOTICE_BYTES))
            except (FileProblem, ProtocolError) as error:
                _log.warning("kept_notice_unusable", reason=str(error))

    @property
    def number(self) -> int:
        """The number of the newest one; 0 while none has come."""
        with self._lock:
            return 0 if self._notice is None else self._notice.number

    def accept(self, data: bytes) -> bool:
        """Take in a signed notice; tell whether it was news.

        Raises:
            SignatureInvalid: not the aggregator's, or its policy not the authority's.
            MalformedMessage: not a notice of this site, or an older one.
            PolicyMismatch: its policy is of another site, or older than the one in force.
            FileProblem: it cannot be kept (it is in force all the same).
        """
        with self._lock:
            number = self._take(data)
        if number is None:
            return False
        _log.info("notice_accepted", number=number)
        atomic_write(self._file, data)
        return True

    def standing(self) -> Standing | None:
        """Return which queries of the newest notice stand, None while there is no notice.

        Judged anew for every slot, when the directory has changed, and soon while one is refused:
        its reason may be that this box's clock is behind.
        """
        directory, now_ms = self._trust.directory, self._now_ms()
        with self._lock:
            notice, known = self._notice, self._judged
            if notice is None:
                return None
            if known is None or known.directory is not directory or not known.holds(now_ms):
                self._judged = known = self._judge(notice, directory, now_ms)
            return known.standing

    def permits_counts(self) -> bool:
        """Tell whether the policy in force permits same-place counts; without a notice: no."""
        stands = self.standing()
        return stands is not None and stands.policy.permits.same_place_counts

    def permits_stills(self) -> bool:
        """Tell whether the policy in force permits that pictures are asked for; without one: no."""
        stands = self.standing()
        return stands is not None and stands.policy.permits.evidence_stills > 0

    def stills_hours(self) -> float | None:
        """Return the hours for which the policy lets anything be kept, 0 where it permits no still.

        None while there is no notice: then nothing is known.
        """
        stands = self.standing()
        if stands is None:
            return None
        permitted = stands.policy.permits.evidence_stills > 0
        return stands.policy.retention_days * 24.0 if permitted else 0.0

    def _judge(self, notice: Notice, directory: Directory, now_ms: int) -> _Judged:
        until_ms = (now_ms // SLOT_MS + 1) * SLOT_MS
        try:
            found = standing(notice, directory, authority=self._trust.authority, now_ms=now_ms)
        except ProtocolError as error:  # its policy was read when it came
            self._tell("notice_unusable", notice.number, str(error))
            return _Judged(directory, now_ms, until_ms, None)
        for reason in found.refused:
            self._tell("noticed_query_refused", notice.number, reason)
        if found.refused:
            until_ms = min(until_ms, now_ms + _SOON_MS)
        return _Judged(directory, now_ms, until_ms, found)

    def _tell(self, event: str, number: int, reason: str) -> None:
        """Log a reason, once for each notice."""
        if (number, reason) not in self._told:
            self._told = {(n, why) for n, why in self._told if n == number} | {(number, reason)}
            _log.warning(event, number=number, reason=reason)

    def _take(self, data: bytes) -> int | None:
        known = self._notice
        notice = open_notice(data, self._trust.directory, after=0)
        if known is not None and notice.number <= known.number and self._signer_counts():
            if notice == known:  # as after every new connection
                return None
            raise MalformedMessage(
                f"notice {notice.number} is no newer than the one in force, {known.number}"
            )
        policy = open_policy(
            notice.policy, notice.policy_signature, self._trust.authority, site=self._trust.site
        )
        if policy.version < self._policy_version:
            raise PolicyMismatch(
                f"the notice brings version {policy.version} of the policy; version "
                f"{self._policy_version} was in force here"
            )
        self._notice, self._policy_version, self._signed = notice, policy.version, data
        self._judged = None
        return notice.number

    def _signer_counts(self) -> bool:
        """Tell whether who signed the notice in force is the site's aggregator still.

        A thief of its key can take the highest number there is: that binds nobody who comes after.
        """
        try:
            open_notice(self._signed, self._trust.directory, after=0)
        except SignatureInvalid:
            return False
        return True
