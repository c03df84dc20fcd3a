"""Notices to boxes: the site's policy and the queries that concern them, signed anew at a change.

Only approved queries that boxes act on are told, as every box can read a notice: live ones until
their window is over, those that ask for stills until nothing more may be opened for them. Boxes
decide for themselves all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from aggregator.queries import QueryDesk
from aggregator.store.rows import COMPLETE, ENDED, QueryRecord
from protocol.authorization import authorize, parse_signed_query
from protocol.directory import Directory
from protocol.directory_forms import SECOND
from protocol.errors import ProtocolError
from protocol.policy import Policy
from protocol.signing import Signed, SigningKey
from protocol.v2.notices import (
    MAX_NOTICE_BYTES,
    MAX_QUERIES,
    MAX_SIGNATURES,
    NOTICE_KIND,
    Notice,
    NoticedQuery,
)
from runtime.clock import system_ms
from runtime.fsio import FileProblem, atomic_write, read_file
from runtime.trust import Trust

_log = structlog.get_logger()
_AGAIN_S = 30.0
_HEAD_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """The site's policy as read, and as the authority signed it."""

    policy: Policy
    text: bytes
    signature: bytes


class NoticeMaker:
    """Makes the newest notice.

    Args:
        site: the site's name.
        key: the aggregator's.
        trust: the directory; while only its first form has come, no box reads notices.
        policy: the site's.
        desk: the queries, with what officers have signed over them.
        file: where the newest notice is kept, so that numbers go on after a restart.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        *,
        site: str,
        key: SigningKey,
        trust: Trust,
        policy: SitePolicy,
        desk: QueryDesk,
        file: Path,
        now_ms: Callable[[], int] = system_ms,
    ) -> None:
        self._site = site
        self._key = key
        self._trust = trust
        self._policy = policy
        self._desk = desk
        self._file = file
        self._now_ms = now_ms
        self._looked: tuple[int, Directory] | None = None
        self._look_again_s = 0.0
        self._signed: bytes | None = None
        self._notice: Notice | None = None
        self._read_kept()

    @property
    def stale(self) -> bool:
        """Whether something has happened since `newest` was last called."""
        return self._looked is None or not (
            self._looked[0] == self._desk.version and self._looked[1] is self._trust.directory
        )

    def newest(self) -> bytes | None:
        """Return the newest notice, signed; None while boxes read none.

        Raises:
            FileProblem: a new one cannot be kept: it is not given out.
            StorageError: the queries cannot be read.
        """
        directory = self._trust.directory
        if directory.form < SECOND:
            return None
        if not self.stale and time.monotonic() < self._look_again_s:
            return self._signed
        version = self._desk.version
        self._renew(directory)
        self._looked = version, directory
        self._look_again_s = time.monotonic() + _AGAIN_S
        return self._signed

    def _renew(self, directory: Directory) -> None:
        queries, before = self._standing(directory), self._notice
        policy, signature = self._policy.text, self._policy.signature
        if before is not None and (before.policy, before.policy_signature, before.queries) == (
            policy,
            signature,
            queries,
        ):
            return
        now_ms = self._now_ms()
        # By the clock only where no number is known: one that leaps must not shut out the next.
        number = now_ms if before is None else before.number + 1
        notice = Notice(self._site, number, now_ms, policy, signature, queries)
        signed = notice.sign(self._key).to_bytes()
        atomic_write(self._file, signed)
        self._notice, self._signed = notice, signed
        _log.info("notice_made", number=number, queries=len(queries))

    def _standing(self, directory: Directory) -> tuple[NoticedQuery, ...]:
        """Return the queries that boxes have to know, as they came, in order of asking."""
        now_ms, room = self._now_ms(), MAX_NOTICE_BYTES - len(self._policy.text) - _HEAD_BYTES
        found: list[NoticedQuery] = []
        for record in sorted(self._desk.everything(), key=lambda one: (one.filed_ms, one.digest)):
            noticed = self._noticed(record, directory, now_ms)
            if noticed is None:
                continue
            room -= len(noticed.query) + sum(map(len, noticed.approvals))
            if room < 0 or len(found) == MAX_QUERIES:
                _log.error("notice_is_full", effect="later live queries find no live sightings")
                break
            found.append(noticed)
        return tuple(found)

    def _noticed(
        self, record: QueryRecord, directory: Directory, now_ms: int
    ) -> NoticedQuery | None:
        query = record.query
        shows_stills = query.asks.evidence_stills > 0
        # Stills are looked at once the query has found somebody: until nobody may open any more.
        done = ENDED - {COMPLETE} if shows_stills else ENDED
        last_ms = query.not_after_ms
        if not shows_stills:
            last_ms = min(last_ms, query.window_to_ms)
        if record.state in done or now_ms >= last_ms or not (query.live or shows_stills):
            return None
        approvals = self._desk.approvals(record.digest)[:MAX_SIGNATURES]
        withdrawals = self._desk.withdrawals(record.digest)[:MAX_SIGNATURES]
        try:
            authorize(
                parse_signed_query(record.signed),
                approvals,
                withdrawals,
                directory=directory,
                policy=self._policy.policy,
                now_ms=now_ms,
            )
        except ProtocolError:
            return None  # not approved yet, or no longer
        return NoticedQuery(
            record.signed,
            tuple(one.to_bytes() for one in approvals),
            tuple(one.to_bytes() for one in withdrawals),
        )

    def _read_kept(self) -> None:
        """Go on from the notice that was made last, if this aggregator's key has signed it."""
        if not self._file.exists():
            return
        try:
            data = read_file(self._file, MAX_NOTICE_BYTES)
            signed = Signed.parse(data, kind=NOTICE_KIND, max_bytes=MAX_NOTICE_BYTES)
            self._notice = Notice.parse(signed.verify(lambda _name: self._key.verify_key))
        except (FileProblem, ProtocolError) as error:
            _log.warning("kept_notice_unusable", reason=str(error))
        else:
            self._signed = data
