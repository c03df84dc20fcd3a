"""The store as the rest of the aggregator sees it: a ledger, sealed segments, transactions.

Two halves, which a large site may keep in different places: the ledger wants transactions and
indexes (`aggregator.store.ledger`), the segments want room. Nobody outside this package sees what
either is kept in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from aggregator.store.envelopes import AnyEnvelope, SealedEnvelope
from aggregator.store.ledger import Ledger, LedgerReading
from aggregator.store.rows import SealedRow, ToldRow
from aggregator.store.runs import SegmentRun
from protocol.grant import Scope


class ReaderSource(Protocol):
    """Says where segments are; can be pickled, so that another process can open them."""

    def open(self) -> SegmentReader:
        """Open them for reading.

        Raises:
            StorageError: they are missing or unreadable.
        """


class SegmentReader(Protocol):
    """Reads sealed segments: all that matching needs of the store.

    Each read sees what was committed when it began. Raises StorageError.
    """

    @property
    def source(self) -> ReaderSource:
        """What opens these segments in another process."""

    def newest(self) -> int:
        """Return a cursor: it rises with every envelope; 0 when there is none."""

    def models(self) -> Mapping[int, str]:
        """Return the model ids that stand in envelopes, by the numbers that stand for them."""

    def count(self, scope: Scope, *, after: int = 0) -> int:
        """Return how many envelopes of a scope came after a cursor."""

    def scan(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SealedRow]:
        """Yield the envelopes of a scope that came after a cursor, in any order.

        Args:
            modalities: whose template blocks are wanted, in the order in which the rows give them.
        """

    def runs(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SegmentRun | SealedRow]:
        """Yield what :meth:`scan` does, segments of version 2 in runs (`aggregator.store.runs`).

        A segment of a run has its header by :meth:`header`; the ``header`` of a row that comes by
        itself is there.
        """

    def told(self, scope: Scope, *, after: int = 0, through: int) -> Iterator[ToldRow]:
        """Yield what the segments of version 2 of a scope tell of their slots, in any order.

        Args:
            after: of those that came after this cursor,
            through: until this one.
        """

    def header(self, number: int) -> bytes:
        """Return an envelope's header as the box signed it.

        Raises:
            KeyError: the envelope has meanwhile been dropped.
        """

    def meta(self, number: int) -> bytes:
        """Return a segment's sealed metadata; empty when it was taken out.

        Raises:
            KeyError: the segment has meanwhile been dropped.
        """

    def cover(self, number: int) -> bytes:
        """Return the sealed rows of a segment of version 2; empty when there are none.

        Raises:
            KeyError: the segment has meanwhile been dropped.
        """

    def vouch(self, number: int) -> None:
        """Check that what is kept of an envelope is what was written; nothing where it is gone.

        For one that does not open. :meth:`runs` leaves that out for template blocks, which are
        sealed, where it would cost as much as opening them.

        Raises:
            StorageDamaged: it is not; the error says what has to be put back.
        """

    def envelope(self, number: int) -> AnyEnvelope:
        """Return an envelope byte for byte as it came; its signature still verifies.

        Raises:
            KeyError: there is none of that number (any more).
            MalformedMessage: what is in store is no envelope.
        """


class Segments(SegmentReader, Protocol):
    """The sealed segments inside a transaction."""

    def append(self, stream: int, envelope: SealedEnvelope, *, received_ms: int) -> None:
        """Store a verified envelope, laid out (`envelopes.lay_out`).

        A segment of version 2 takes the place of the live envelopes that it lists, of its own
        slot: those in store are deleted, those that come later are not stored. A backend may do
        that when the transaction ends, for all of it at once.
        """

    def replaced(self) -> int:
        """Return how many live envelopes that were appended or in store segments have replaced.

        Those of this transaction of which it has not told before.
        """

    def drop_replaced_live(self, stream: int, epoch: int, generation: int, slot: int) -> int:
        """Delete a slot's live envelopes if its segments hold at least as many sightings.

        For version 1, in which segments do not list what they replace. Returns how many were
        deleted. Call it after anything of that slot was stored, verified.
        """

    def drop_days(self, *, before_epoch: int, most: int) -> int:
        """Delete envelopes of past days, some ``most`` at a time; return how many.

        Whole days and whole objects of packed segments go at once, so it can be more; less than
        ``most`` is the end.
        """


class Unit(Protocol):
    """One transaction of the store: all of it is kept, or nothing."""

    @property
    def ledger(self) -> Ledger:
        """The ledger."""

    @property
    def segments(self) -> Segments:
        """The sealed segments."""


class Store(Protocol):
    """The aggregator's store, shared by the threads of one process."""

    @property
    def ledger(self) -> LedgerReading:
        """The ledger as it was committed."""

    @property
    def segments(self) -> SegmentReader:
        """The sealed segments as they were committed."""

    def writing(
        self, *, durable: bool = False, beside: bool = False
    ) -> AbstractContextManager[Unit]:
        """Hold one transaction: committed at the end, undone on an error. Writers take turns.

        They do so whichever process they are in. Inside another of the same thread it is part of
        that one.

        Args:
            durable: what is committed survives a power cut.
            beside: it need not wait for its turn, nor others for it: it builds on nothing that
                another writer may change meanwhile (intake, of streams that are its own).

        Raises:
            StorageFull, StorageError: it could not be written; nothing of it was kept.
        """

    def close(self) -> None:
        """Close everything."""
