"""Withdrawals: kept for good, logged, and in force before their sender has an answer.

They come from the officers themselves, so that an aggregator cannot hide one, and with grant
requests. `Withdrawals.gate` orders them against grants: a grant reads the withdrawals and writes
its log entry inside it, so none can slip in between. A new directory comes into force inside it,
too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from custodian.journal import Journal
from custodian.store import Store
from protocol.about_queries import WITHDRAWAL_KIND, Withdrawal
from protocol.authorization import check_withdrawal
from protocol.directory import Directory
from protocol.signing import Signed

MAX_WITHDRAWAL_BYTES = 64 * 1024
_log = structlog.get_logger()


class Withdrawals:
    """The withdrawals that this custodian knows of."""

    def __init__(self, store: Store, journal: Journal, *, now_ms: Callable[[], int]) -> None:
        self.gate = threading.RLock()
        self._store = store
        self._journal = journal
        self._now_ms = now_ms

    def submit(self, data: bytes, directory: Directory) -> bool:
        """Take in an encoded withdrawal; tell whether it is new.

        Raises:
            SignatureInvalid, MalformedMessage: it is not an officer's genuine withdrawal.
            StorageError: it could not be kept; send it again.
        """
        signed = Signed.parse(data, kind=WITHDRAWAL_KIND, max_bytes=MAX_WITHDRAWAL_BYTES)
        return self.take(signed, check_withdrawal(signed, directory))

    def take(self, signed: Signed, content: Withdrawal) -> bool:
        """Keep and log a withdrawal that has been verified; tell whether it is new."""
        with self.gate:
            new = self._store.add_withdrawal(
                content.query_digest, signed, received_ms=self._now_ms()
            )
            if new:
                self._write(content.query_digest, signed.signer, signed.to_bytes())
                _log.info(
                    "withdrawal_taken",
                    officer=signed.signer,
                    query_digest=content.query_digest.hex()[:16],
                )
            return new

    def known(self, query_digest: bytes) -> list[Signed]:
        """Return every withdrawal known for a query."""
        return [
            Signed.parse(data, kind=WITHDRAWAL_KIND)
            for data in self._store.withdrawals(query_digest)
        ]

    def log_pending(self) -> None:
        """Log what was kept and not logged before a crash."""
        with self.gate:
            for query_digest, signer, message in self._store.unlogged_withdrawals():
                self._write(query_digest, signer, message)

    def _write(self, query_digest: bytes, signer: str, message: bytes) -> None:
        self._journal.write("withdrawal", {"withdrawal": message})
        self._store.mark_withdrawal_logged(query_digest, signer)
