"""Have what the site's authority signed, brought to one process, reach all of them.

Each process holds its own directory and admissions (`runtime.trust.Trust`); what is newer than the
ledger's goes there, what is newer there is taken in, its signature checked like anybody's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import structlog

from aggregator.store import Store
from protocol.directory import FORMS
from protocol.errors import DirectoryRollback, ProtocolError
from runtime.database import StorageError
from runtime.fsio import FileProblem
from runtime.trust import Trust

_log = structlog.get_logger()
_ADMISSIONS = "admissions"


class SharedPapers:
    """Keeps a process's trust and the ledger alike.

    Args:
        store: the ledger.
        trust: this process's.
    """

    def __init__(self, store: Store, trust: Trust) -> None:
        self._store = store
        self._trust = trust
        self._older: set[bytes] = set()
        self._refused: set[bytes] = set()

    def look(self) -> None:
        """Take in what others were brought, and give what we were; what fails is tried again."""
        try:
            self._exchange()
        except StorageError as error:
            _log.warning("papers_not_shared", reason=str(error))

    def _exchange(self) -> None:
        known = self._store.ledger.site_papers()
        for name in self._names():
            digest = known.get(name)
            if digest is not None and digest not in self._older and digest != self._digest(name):
                self._take(name, digest)
        for name in self._names():  # ours as they are after that
            digest, ours = known.get(name), self._ours(name)
            if ours is None or digest == hashlib.sha256(ours).digest():
                continue
            if digest is None or digest in self._older:
                with self._store.writing(beside=True) as unit:
                    unit.ledger.put_site_paper(name, ours)

    def _take(self, name: str, digest: bytes) -> None:
        signed = self._store.ledger.site_paper(name)
        if signed is None:
            return
        try:
            self._trust.accept(signed)
        except DirectoryRollback:
            self._older.add(digest)
        except (ProtocolError, FileProblem) as error:
            if digest not in self._refused:
                _log.error("paper_not_taken", name=name, reason=str(error))
            self._refused.add(digest)

    @staticmethod
    def _names() -> Iterator[str]:
        yield from (f"directory-{form}" for form in sorted(FORMS))
        yield _ADMISSIONS

    def _ours(self, name: str) -> bytes | None:
        if name == _ADMISSIONS:
            return self._trust.signed_admissions
        return self._trust.signed_in(int(name.rpartition("-")[2]))

    def _digest(self, name: str) -> bytes | None:
        ours = self._ours(name)
        return None if ours is None else hashlib.sha256(ours).digest()
