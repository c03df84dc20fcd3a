"""What the store keeps, as values that any backend takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from protocol.authorization import parse_signed_query
from protocol.names import CameraAddress
from protocol.query import Query

EpochName = tuple[str, str, int, int]
"""Box, camera, epoch, generation: which announcement."""

# ---------------------------------------------------------------------- states of a query

AWAITING_TEMPLATES = "awaiting-templates"
AWAITING_APPROVALS = "awaiting-approvals"
REFUSED_BY_APPROVERS = "refused"
"""So many refused that the rest cannot approve it; one of them may come to another mind."""
RUNNING = "running"
STANDING = "standing"
BLOCKED = "blocked"
INTERRUPTED = "interrupted"
COMPLETE, WITHDRAWN, EXPIRED, FAILED = "complete", "withdrawn", "expired", "failed"
ENDED = frozenset({COMPLETE, WITHDRAWN, EXPIRED, FAILED})
RUNNABLE = frozenset({AWAITING_APPROVALS, REFUSED_BY_APPROVERS, RUNNING, STANDING, BLOCKED})

# ---------------------------------------------------------------------- what became of a message

STORED, QUARANTINED, REFUSED = 1, 2, 3


@dataclass(frozen=True, slots=True)
class GapRow:
    """Messages ``first..last`` of a stream that have not come; ``lost`` when not waited for."""

    number: int
    first: int
    last: int
    opened_ms: int
    reported_ms: int | None
    lost: bool


@dataclass(frozen=True, slots=True)
class StreamRow:
    """Where a camera's stream stands; ``gaps`` are those open in its run, in order.

    Args:
        generation: the newest that has arrived.
        live_generation: the newest of what the box sees itself, no film.
        floor_generation: that with which the run began.
    """

    number: int
    run: int
    highest: int
    generation: int
    gaps: tuple[GapRow, ...] = ()
    live_generation: int = 0
    floor_generation: int = 0


@dataclass(frozen=True, slots=True)
class StoredAnnouncement:
    """An epoch announcement: which keys it is about, and the signed message as it came."""

    address: CameraAddress
    epoch: int
    generation: int
    signed: bytes

    @property
    def name(self) -> EpochName:
        """Which announcement it is."""
        return (self.address.box, self.address.camera, self.epoch, self.generation)


@dataclass(frozen=True, slots=True)
class Generation:
    """What a generation's announcement fixes for all of its envelopes."""

    version: int
    origin: str


@dataclass(frozen=True, slots=True)
class AnnouncedVersions:
    """In which versions one camera of a box has announced, as far as that is in store.

    Args:
        newest: of its newest generation.
        version_1_ms: when it last announced one of version 1, None if none is in store.
    """

    newest: int
    version_1_ms: int | None


@dataclass(frozen=True, slots=True)
class ScopeCount:
    """How much a scope holds; ``by_model`` maps a model's id to its templates.

    ``at_most`` tells that envelopes of version 2 are among them, which say in the clear only how
    many sightings there is room for: then the numbers are bounds. ``exact`` of the sightings, and
    ``exact_by_model`` of the templates, are of version 1, which counts them one by one. Live
    envelopes of version 2 are not counted: that there is one tells that somebody has just come.
    ``told_twice``: of how many quarter hours of cameras there are segments of several boxes, or of
    one that watched and of its films.
    """

    segments: int
    live_envelopes: int
    sightings: int
    by_model: Mapping[str, int]
    at_most: bool = False
    told_twice: int = 0
    exact: int = 0
    exact_by_model: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One message in quarantine. ``reason`` is a word, ``detail`` says it for people."""

    number: int
    topic: str
    reason: str
    detail: str
    received_ms: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RejectRow:
    """How often messages said to be of a box were refused for one reason."""

    box: str
    camera: str
    reason: str
    count: int
    last_ms: int
    detail: str


@dataclass(frozen=True, slots=True)
class BoxRow:
    """A box's last report; ``clock_offset_ms`` is its clock minus ours when it came."""

    box: str
    last_seen_ms: int
    state: str | None = None
    version: str | None = None
    reported_ms: int | None = None
    received_ms: int | None = None
    clock_offset_ms: int | None = None
    figures: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class HealthRow:
    """What a box reported in one quarter hour (``slot``, by our clock), put together.

    ``silent_ms``: how long it had not been heard before reports of this quarter hour. ``worst``:
    of each figure the value that is worst (`aggregator.ingest.health_history`).
    """

    box: str
    slot: int
    reports: int
    last_ms: int
    silent_ms: int
    version: str
    worst: Mapping[str, float]


class SealedRow(NamedTuple):
    """An envelope as matching reads it, sealed.

    ``live`` is a live envelope's whole ciphertext, None for a segment; ``models`` (numbers, None
    where there is no such block; of live envelopes of version 2 always) and ``blocks`` (of a
    segment) are one for each modality that was asked for, in that order. ``sightings`` is a bound
    in version 2.
    """

    number: int
    version: int
    slot: int
    segment: int
    sequence: int
    sightings: int
    salt: bytes
    header: bytes
    live: bytes | None
    models: tuple[int | None, ...]
    blocks: tuple[bytes | None, ...]


class ToldRow(NamedTuple):
    """What a segment of version 2 tells of its slot, sealed: ``counts`` is None where it has none.

    ``cover`` is the block of rows.
    """

    number: int
    slot: int
    sequence: int
    salt: bytes
    cover: bytes
    counts: bytes | None


class ToldSlot(NamedTuple):
    """A quarter hour of which a segment is in store, from whom, and of which origin."""

    box: str
    camera: str
    epoch: int
    slot: int
    origin: str


_QUERIES_READ = 512
"""Of how many queries the content is kept as it was read last."""


class Seen(NamedTuple):
    """Up to where the store had come: the cursors of envelopes and of announcements."""

    envelope: int
    announcement: int


class LateFilm(NamedTuple):
    """Films of a camera's day that a box has imported since: of which slots, at least one."""

    box: str
    camera: str
    epoch: int
    slots: frozenset[int]


@lru_cache(maxsize=_QUERIES_READ)
def _content(signed: bytes) -> Query:
    """Return a query's content: each is asked for many times a second while pages are open."""
    return Query.parse(parse_signed_query(signed).payload)


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """A query as the store has it. ``state`` is one of this module's; ``reason`` explains it.

    ``seen`` is up to where the store had come when the query ended; None while it goes on.
    """

    progress: Mapping[str, int]
    query_id: bytes
    digest: bytes
    requester: str
    signed: bytes
    state: str
    reason: str
    filed_ms: int
    changed_ms: int
    seen: Seen | None = None

    @property
    def query(self) -> Query:
        """The query's content; its signature was checked when it was filed."""
        return _content(self.signed)

    @property
    def readers(self) -> frozenset[str]:
        """The officers to whom its results are sealed: who asked, and who confirms."""
        return frozenset({self.requester, *self.query.confirmers})


@dataclass(frozen=True, slots=True)
class GrantRow:
    """What a custodian granted: never the keys. ``scopes`` is CBOR (`protocol.grant.Scope`)."""

    grant_id: bytes
    custodian: str
    query_digest: bytes
    labels: tuple[str, ...]
    scopes: bytes
    refused: tuple[tuple[str, int, str], ...]
    entry_index: int
    granted_ms: int
    received_ms: int


@dataclass(frozen=True, slots=True)
class FalseGrant:
    """That a custodian answered a query falsely, and how that showed."""

    query_digest: bytes
    custodian: str
    reason: str
    found_ms: int


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry on its way to the audit log, of ``log_size`` entries when it was sealed."""

    number: int
    entry: bytes
    log_size: int


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge removed."""

    envelopes: int
    announcements: int
    quarantined: int
