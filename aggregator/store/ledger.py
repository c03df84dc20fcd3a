"""The ledger: all that the aggregator keeps but the sealed envelopes themselves.

An interface: `aggregator.store.sqlite` has the embedded backend, tests/aggregator/store the tests
that every backend must pass. Rows in, rows out, no judgement. What reads is `LedgerReading`
(`Store.ledger`: what was committed); what writes as well is `Ledger`, inside `Store.writing`.
All raise `runtime.database.StorageError` when the store cannot be read or written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from aggregator.store.leases import LeasesReading, LeasesWriting
from aggregator.store.packs import PacksReading, PacksWriting
from aggregator.store.rows import (
    AnnouncedVersions,
    BoxRow,
    EpochName,
    FalseGrant,
    GapRow,
    Generation,
    GrantRow,
    HealthRow,
    LateFilm,
    PendingEntry,
    Quarantined,
    QueryRecord,
    RejectRow,
    ScopeCount,
    Seen,
    StoredAnnouncement,
    StreamRow,
    ToldSlot,
)
from aggregator.store.stills import StillsReading, StillsWriting
from protocol.epoch import Announcement
from protocol.names import CameraAddress
from protocol.query import Query
from protocol.signing import Signed


class IntakeReading(Protocol):
    """What came in: streams and their gaps, announcements, boxes, quarantine, rejects."""

    def addresses(self, site: str | None = None) -> list[CameraAddress]:
        """Return the cameras that ever spoke: of one site, or of any."""

    def stream(self, address: CameraAddress) -> StreamRow | None:
        """Return where a camera's stream stands; None when it never spoke."""

    def recorded_generations(self, stream: int) -> dict[int, int]:
        """Return by epoch the newest generation of films that a stream has announced."""

    def digests(self, stream: int, sequence: int) -> list[bytes]:
        """Return the digests of the messages that came under this number, in any run.

        Of those that came lately: see `aggregator.store.retention.DIGEST_DAYS`.
        """

    def came(self, stream: int, sequence: int) -> bool:
        """Tell whether a message came under this number in a run that is over.

        Of the run that goes on, the stream and its gaps tell.
        """

    def open_gaps(self) -> list[tuple[CameraAddress, GapRow]]:
        """Return the gaps that are not closed, lost ones too, by camera and number."""

    def announcements(
        self, cameras: Collection[str], *, from_ms: int, to_ms: int, after: int = 0
    ) -> list[StoredAnnouncement]:
        """Return the announcements of ``cameras`` whose epochs overlap ``[from_ms, to_ms)``.

        In the order camera's stream, epoch, generation: what a grant request carries.

        Args:
            cameras: names.
            from_ms: begin of the window.
            to_ms: its end, exclusive.
            after: only announcements received after this cursor (see `newest_announcement`).
        """

    def generation(self, stream: int, epoch: int, generation: int) -> Generation | None:
        """Return what the announcement of a generation fixed; None when it has not come."""

    def announced_versions(self) -> dict[tuple[str, str], AnnouncedVersions]:
        """Return by box and camera in which versions of the protocol they have announced."""

    def newest_announcement(self) -> int:
        """Return a cursor: it rises with every announcement; 0 when there is none."""

    def newest_envelope(self) -> int:
        """Return a cursor: it rises with every envelope; 0 when there is none."""

    def arrived_since(self, cursor: int) -> frozenset[EpochName]:
        """Return the announcements under whose keys envelopes came after a cursor."""

    def count_scope(self, cameras: Sequence[str], *, from_ms: int, to_ms: int) -> ScopeCount:
        """Count what is stored for ``cameras`` in the slots that overlap ``[from_ms, to_ms)``.

        Reads counters only (they are in the clear), for estimates before anyone signs.
        """

    def count_generations(
        self, cameras: Sequence[str], *, from_ms: int, to_ms: int, version: int
    ) -> int:
        """Count the announcements of ``cameras`` of one version whose epochs overlap the window."""

    def told_slots(
        self, cameras: Collection[str], *, first_epoch: int, after: int = 0
    ) -> list[ToldSlot]:
        """Return of which quarter hours of ``cameras`` segments are in store, each once.

        Only of generations whose announcement has come.

        Args:
            first_epoch: from this day on.
            after: of segments that came after this cursor (see `newest_envelope`).
        """

    def films_since(
        self, cameras: Collection[str], *, from_ms: int, to_ms: int, seen: Seen
    ) -> list[LateFilm]:
        """Return of which quarter hours in ``[from_ms, to_ms)`` films have come since.

        Also those whose announcement alone came since: they could not be opened before.
        """

    def boxes(self) -> dict[str, BoxRow]:
        """Return what is known of each box that was ever heard, by name."""

    def box(self, name: str) -> BoxRow | None:
        """Return what is known of one box."""

    def newest_reports_ms(self, count: int) -> list[int]:
        """Return the times that boxes have signed in their last reports, the newest first."""

    def newest_health(self, box: str, *, through_slot: int) -> HealthRow | None:
        """Return the last quarter hour of a box's history, at most that one; None without any."""

    def health_history(self, box: str, *, from_slot: int, to_slot: int) -> list[HealthRow]:
        """Return a box's history in ``[from_slot, to_slot)``, the oldest first."""

    def silences_ms(self, *, from_slot: int, to_slot: int) -> dict[str, int]:
        """Return by box how long it was silent in all, as reports in those slots found out."""

    def rejects(self) -> list[RejectRow]:
        """Return what was refused, by box, camera and reason."""

    def quarantined(self, *, limit: int = 100, after: int = 0) -> list[Quarantined]:
        """Return what is in quarantine, oldest first, from behind number ``after``."""

    def quarantined_by_box(self) -> dict[str, Mapping[str, int]]:
        """Return how many messages of each box are in quarantine, by reason."""

    def quarantine_bytes(self) -> int:
        """Return how many bytes of messages are in quarantine."""


class QueriesReading(Protocol):
    """What was asked: queries, their messages, grants, results, and what the log is to tell."""

    def query(self, query_id: bytes) -> QueryRecord | None:
        """Return a query, or None."""

    def queries(self) -> list[QueryRecord]:
        """Return all queries, newest first."""

    def queries_in(self, states: Collection[str]) -> list[QueryRecord]:
        """Return the queries in one of ``states``, oldest first."""

    def count_open_queries(self) -> int:
        """Return how many queries have not ended."""

    def messages(self, kind: str, digest: bytes) -> list[Signed]:
        """Return a query's approvals, refusals or withdrawals (``kind``) in the order they came."""

    def knows_grant(self, grant_id: bytes) -> bool:
        """Tell whether a grant of that id came before, of any custodian."""

    def false_grants(self, digest: bytes | None = None) -> list[FalseGrant]:
        """Return which custodians answered falsely, to one query or to any; the oldest first."""

    def results(self, digest: bytes, officer: str) -> list[tuple[bytes, bytes, bytes | None]]:
        """Return what was sealed to an officer, in order of finding.

        Returns:
            Candidate id, sealed candidate, the officer's own signed decision or None.
        """

    def decisions(self, digest: bytes) -> list[bytes]:
        """Return all officers' signed decisions on a query's candidates, in order of finding."""

    def openings(self, digest: bytes, officer: str) -> list[bytes]:
        """Return the openings of a query's rows that were sealed to an officer, in order."""

    def watching(self, digest: bytes, officer: str) -> bytes | None:
        """Return what a query's cameras watched as it was sealed to an officer, None if nothing."""

    def links(self, digest: bytes, officer: str) -> bytes | None:
        """Return which companions are one person, as sealed to an officer, None if nothing."""

    def link_seed(self, digest: bytes) -> bytes:
        """Return the random 32 bytes that the numbers of a query's contacts are made from."""

    def opened_rows(self, digest: bytes) -> frozenset[bytes]:
        """Return the marks of the rows that a query's openings list."""

    def result_ids(self, digest: bytes) -> frozenset[bytes]:
        """Return the ids of a query's candidates."""

    def count_results(self, digest: bytes) -> int:
        """Return how many candidates a query has."""

    def has_result(self, digest: bytes, candidate_id: bytes) -> bool:
        """Tell whether a query has that candidate."""

    def pending_entries(self) -> list[PendingEntry]:
        """Return what the audit log is still to tell of, in order."""

    def pending_numbers(self) -> range:
        """Return the numbers of what it is still to tell of, from the first to the last."""


class IntakeWriting(IntakeReading, Protocol):
    """Takes in what came; read here, it includes what this transaction has written."""

    def add_stream(self, address: CameraAddress) -> StreamRow:
        """Add the stream of a camera that never spoke."""

    def move_streams(self, moved: Iterable[tuple[StreamRow, int]]) -> None:
        """Write where streams stand now, and when they were last heard (ms); not their gaps."""

    def add_gap(self, stream: int, run: int, gap: GapRow) -> int:
        """Add a gap and return its number; ``gap.number`` does not count."""

    def shrink_gap(self, number: int, first: int, last: int) -> None:
        """Say what of a gap is still missing."""

    def close_gap(self, number: int, closed_ms: int) -> None:
        """Note that all of a gap has come."""

    def drop_gap(self, number: int) -> None:
        """Forget a gap that nobody heard of."""

    def report_gap(self, number: int, reported_ms: int) -> None:
        """Note that a gap has been reported."""

    def lose_gap(self, number: int) -> None:
        """Note that a gap is not waited for any more."""

    def lose_gaps(self, stream: int) -> None:
        """Note that none of a stream's gaps is waited for any more."""

    def remember(
        self,
        stream: int,
        run: int,
        *,
        sequence: int,
        epoch: int,
        outcome: int,
        digest: bytes,
        now_ms: int,
    ) -> None:
        """Note that a message has come and what became of it; its number is new in its run."""

    def note_admitted(self, stream: int, digest: bytes) -> None:
        """Note that a message which had been quarantined is stored after all."""

    def add_announcement(self, stream: int, announcement: Announcement, signed: bytes) -> bool:
        """Store a verified announcement; return False if its generation has one for the epoch."""

    def note_heard(self, heard_ms: Mapping[str, int]) -> None:
        """Note when verified messages of boxes came (box to our time)."""

    def put_box(self, row: BoxRow) -> None:
        """Write a box's report; it is not heard earlier, nor loses its clock's offset, by that."""

    def put_health(self, row: HealthRow) -> None:
        """Write a quarter hour of a box's history; it takes the place of what was kept of it."""

    def drop_health(self, *, before_slot: int, most: int) -> int:
        """Delete quarter hours of history before one, at most so many; return how many."""

    def add_rejects(self, counted: Iterable[RejectRow]) -> None:
        """Add to the counts of what was refused."""

    def quarantine(
        self,
        *,
        stream: int | None,
        topic: str,
        payload: bytes,
        reason: str,
        detail: str,
        received_ms: int,
    ) -> None:
        """Put a message into quarantine."""

    def take_quarantined(self, number: int) -> tuple[str, bytes]:
        """Remove a message from quarantine and return its topic and payload.

        Raises:
            KeyError: there is none of that number.
        """

    def drop_announcements(self, *, before_epoch: int, most: int) -> int:
        """Delete announcements of past days, at most so many; return how many."""

    def drop_quarantined(self, *, before_ms: int, most: int) -> int:
        """Delete messages quarantined before that, at most so many; return how many."""

    def drop_gaps(self, *, before_ms: int, most: int) -> int:
        """Delete gaps that were closed (or else opened) before that; return how many."""

    def drop_rejects(self, *, before_ms: int) -> None:
        """Forget what was last refused before that."""

    def forget_messages(self, *, before_day: int, after: int) -> int | None:
        """Forget the digests of messages that came before a day, of some of the streams.

        Args:
            before_day: day of our clock.
            after: streams behind this number, 0 to begin with.

        Returns:
            The number to go on with; None when it is done.
        """

    def drop_runs(self, *, before_ms: int) -> None:
        """Forget runs of streams that were over before that."""


class QueriesWriting(QueriesReading, Protocol):
    """Takes in what was asked and found; read here, it includes what this transaction wrote."""

    def add_query(self, query: Query, signed: Signed, *, now_ms: int) -> None:
        """Add a query that was just filed."""

    def add_message(self, digest: bytes, signed: Signed, *, now_ms: int) -> None:
        """Keep an approval, a refusal or a withdrawal; one of each signer."""

    def set_state(
        self, digest: bytes, state: str, reason: str, *, now_ms: int, seen: Seen | None = None
    ) -> bool:
        """Change the state of a query that has not ended; tell whether that changed anything.

        Args:
            seen: of one that ends, up to where it was carried; None: as far as the store has come.
        """

    def add_progress(self, digest: bytes, figures: Mapping[str, int]) -> None:
        """Add to a query's figures (segments, sightings, altered, ...)."""

    def add_grant(self, grant: GrantRow) -> None:
        """Keep that a custodian granted; each grant once."""

    def add_false_grant(self, found: FalseGrant) -> None:
        """Keep that a custodian answered falsely; once a query and custodian."""

    def add_result(
        self, digest: bytes, candidate_id: bytes, sealed: Mapping[str, bytes], *, found_ms: int
    ) -> bool:
        """Keep a candidate, sealed to each officer by name; return False if the query has it."""

    def reseal_result(
        self, digest: bytes, candidate_id: bytes, sealed: Mapping[str, bytes]
    ) -> None:
        """Put what is known better of a candidate in the place of what was kept of it."""

    def add_opening(
        self,
        digest: bytes,
        sealed: Mapping[str, bytes],
        *,
        marks: Collection[bytes],
        opened_ms: int,
    ) -> None:
        """Keep which rows custodians opened, sealed to each officer by name.

        ``marks`` tell the same rows apart, and nothing else of them.
        """

    def put_watching(self, digest: bytes, sealed: Mapping[str, bytes]) -> None:
        """Keep what a query's cameras watched, sealed to each officer by name.

        It takes the place of what was kept before.
        """

    def put_links(self, digest: bytes, sealed: Mapping[str, bytes]) -> None:
        """Keep which companions are one person, sealed to each officer by name.

        It takes the place of what was kept before.
        """

    def drop_undecided_result(self, digest: bytes, candidate_id: bytes) -> None:
        """Delete a candidate, unless an officer has decided on it."""

    def put_decision(
        self, digest: bytes, candidate_id: bytes, signed: Signed, *, decided_ms: int
    ) -> None:
        """Keep an officer's decision; it takes the place of an earlier one of the same officer."""

    def add_entry(self, entry: bytes, *, log_size: int) -> None:
        """Have the audit log tell of what this transaction does."""

    def drop_entry(self, number: int) -> None:
        """Note that the log has told of it."""


class LedgerReading(
    IntakeReading, QueriesReading, StillsReading, PacksReading, LeasesReading, Protocol
):
    """All that the ledger answers."""


class Ledger(
    IntakeWriting,
    QueriesWriting,
    StillsWriting,
    PacksWriting,
    LeasesWriting,
    LedgerReading,
    Protocol,
):
    """The ledger inside a transaction."""
