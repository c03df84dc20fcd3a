"""Numbers of what arrives, safe as cursors: below one that was given nothing appears later.

Several processes append at the same time. A sequence gives them numbers, but they are committed in
any order: who has read up to 11 would never see 10, committed after it. So each transaction, before
its first number, publishes the one that the sequence had reached: as a shared advisory lock, which
goes with the transaction however that ends, and shows in ``pg_locks``. A cursor is the sequence's
last number, or the lowest that is published if that is lower. The sequence is read first: who has
published nothing by then will get higher numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.store.postgresql.sessions import Session, Transaction

_BITS = 48
"""Of a lock's 64 bits these are the number, those above say whose it is."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of one kind of thing.

    Args:
        sequence: gives them (our own word).
        tag: tells their locks from others; below 2**15.
    """

    sequence: str
    tag: int

    def publish(self, transaction: Transaction) -> None:
        """Say that this transaction is going to use numbers; do so before its first."""
        transaction.rows(
            f"SELECT pg_advisory_xact_lock_shared({self.tag << _BITS}"  # noqa: S608 - our own words
            f" | (last_value - CASE WHEN is_called THEN 0 ELSE 1 END)) FROM {self.sequence}"
        )

    def newest(self, session: Session) -> int:
        """Return the number up to which everything is committed, or will never be.

        What this very session writes does not hold it back. It never falls, but for a moment while
        somebody publishes: then what came may be seen twice, and nothing is missed.
        """
        # The locks are looked at for the row that was read of the sequence, so after it.
        rows = session.rows(
            "WITH reached AS MATERIALIZED (SELECT CASE WHEN is_called THEN last_value ELSE 0 END"  # noqa: S608 - our own words
            f" AS number FROM {self.sequence})"
            " SELECT coalesce((SELECT min(number) FROM (SELECT"
            " (classid::bigint & 65535) << 32 | objid::bigint AS number FROM pg_locks"
            " WHERE locktype = 'advisory' AND objsubid = 1 AND pid <> pg_backend_pid()"
            f" AND classid::bigint >> 16 = {self.tag} AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())) AS held"
            " WHERE held.number <= reached.number), number) FROM reached"
        )
        return int(rows[0][0])


ENVELOPES = Numbers("envelope_numbers", 0x5EA2)
ANNOUNCEMENTS = Numbers("announcement_numbers", 0x5EA3)
