"""What one query holds while it runs, and when there is something to do for it again.

A query that stands costs nothing while nothing happens: it was authorized, and stays so until the
directory, its approvals or withdrawals change, or a time bound passes; its keys are complete until
another announcement comes or a quarter of an hour begins; its matching is done until an envelope
comes. Nothing here reads a clock or the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aggregator.arrivals import Arrivals
from aggregator.company import Company
from aggregator.doubts import Doubts
from aggregator.store.rows import EpochName
from aggregator.trail import Trail
from aggregator.wanted_rows import WantedRows
from aggregator.watching import ARRIVAL_MS, Watch
from protocol.authorization import AuthorizedQuery
from protocol.directory import Directory
from protocol.epoch_keys import EpochKeys
from protocol.names import SLOT_MS, SightingName
from protocol.policy import Policy
from protocol.query import Query
from protocol.results import Candidate


@dataclass(frozen=True, slots=True)
class Find:
    """What has to be known of a candidate that is stored, sealed, to share the room for them.

    One that ``stays`` was opened row by row: custodians count it, and officers are to see it, also
    when it is ``impossible``. One that was ``followed`` was found by the clothes of another.
    """

    box: str
    camera: str
    subject: str
    score: float
    stays: bool = False
    impossible: bool = False
    followed: bool = False

    @classmethod
    def of(cls, candidate: Candidate) -> Find:
        """Return what has to be known of a candidate."""
        return cls(
            candidate.address.box,
            candidate.address.camera,
            candidate.subject,
            candidate.strength,
            stays=candidate.episode is not None,
            impossible=candidate.impossible is not None,
            followed=candidate.follows is not None,
        )

    def tells_more_than(self, other: Find | None) -> bool:
        """Tell whether this should take the other's place.

        First goes what can be true, then what was found by what was asked for, then the score.
        """
        return other is None or self._order > other._order

    @property
    def _order(self) -> tuple[bool, bool, float]:
        return (not self.impossible, not self.followed, self.score)


@dataclass(frozen=True, slots=True)
class Basis:
    """What an authorization was decided on; ``revision`` counts the query's messages.

    It holds from ``from_ms`` until before ``until_ms``: then its time is up, or the clock was set
    back.
    """

    directory: Directory
    revision: int
    from_ms: int
    until_ms: int

    @classmethod
    def now(
        cls, query: Query, directory: Directory, policy: Policy, *, revision: int, now_ms: int
    ) -> Basis:
        """Return what a query is decided on now."""
        until_ms = min(query.not_after_ms, policy.programme_ends_ms)
        return cls(directory, revision, now_ms, max(until_ms, now_ms + 1))

    def holds(self, directory: Directory, revision: int, *, now_ms: int) -> bool:
        """Tell whether another decision would come out the same."""
        return (
            self.directory is directory
            and self.revision == revision
            and self.from_ms <= now_ms < self.until_ms
        )


@dataclass(slots=True)
class Run:
    """What one query holds while it runs.

    Args:
        basis, authorized: what it was decided on, and the decision; None while it is not allowed.
        keys: what was granted, by announcement.
        asked: slots whose keys custodians were asked for.
        refused: slots that stayed closed although custodians answered.
        answered: whose keys went into each scope.
        doubts: scopes whose keys open nothing.
        behind: scopes of which custodians with slow clocks released too little.
        unmatched: keys that have not been matched yet.
        early: scopes that were compared wholly in steps that did not come to their end.
        examples: sightings named as examples whose templates have been compared, all over.
        no_examples: of the others, why not.
        rows: what was found in version 2, to be opened row by row.
        watch: what boxes tell of their watching, and of how many came.
        trail: who may be followed by their clothes, and has been.
        company: when and near whom they were that were found, of a query that asks about it.
        matched, announced: the cursors up to which arrivals were seen to.
        everything: whether all announcements have to be looked at, not the new ones alone.
        due_ms: when time alone changes what may be opened, or ends it.
        retry_at_s: when what went wrong is tried again; of a monotonic clock.
    """

    basis: Basis | None = None
    authorized: AuthorizedQuery | None = None
    keys: dict[EpochName, EpochKeys] = field(default_factory=dict)
    asked: dict[EpochName, range] = field(default_factory=dict)
    refused: dict[EpochName, range] = field(default_factory=dict)
    answered: dict[EpochName, frozenset[str]] = field(default_factory=dict)
    doubts: Doubts = field(default_factory=Doubts)
    behind: Doubts = field(default_factory=lambda: Doubts(first_s=1.0, most_s=60.0))
    grant_ids: set[bytes] = field(default_factory=set)
    finds: dict[bytes, Find] = field(default_factory=dict)
    unmatched: list[EpochKeys] = field(default_factory=list)
    early: set[EpochName] = field(default_factory=set)
    examples: frozenset[SightingName] = frozenset()
    no_examples: Mapping[SightingName, str] = field(default_factory=dict)
    rows: WantedRows = field(default_factory=WantedRows)
    watch: Watch = field(default_factory=Watch)
    trail: Trail = field(default_factory=Trail)
    company: Company = field(default_factory=Company)
    matched: int = 0
    announced: int = 0
    everything: bool = True
    due_ms: int = 0
    retry_at_s: float = 0.0

    def is_due(
        self,
        arrivals: Arrivals,
        directory: Directory,
        revision: int,
        *,
        now_ms: int,
        now_s: float,
    ) -> bool:
        """Tell whether there is anything to do for the query now."""
        if self.basis is None or not self.basis.holds(directory, revision, now_ms=now_ms):
            return True
        if self.authorized is None or now_s < self.retry_at_s:
            return False
        return (
            self._must_ask(now_ms, now_s)
            or self.rows.moved
            or self.rows.is_due(now_s)
            or self.watch.is_due(now_s)
            or arrivals.announcement > self.announced
            or self._concerned(arrivals)
        )

    def begin(self, now_ms: int, now_s: float) -> None:
        """Note, when a step begins, whether all announcements are to be looked at."""
        self.everything = self._must_ask(now_ms, now_s)

    def schedule(self, query: Query, *, now_ms: int) -> None:
        """Note, when a step has come to its end, when time alone will change something."""
        self.everything = False
        end_ms = query.window_to_ms + ARRIVAL_MS
        begins_ms = (now_ms // SLOT_MS + 1) * SLOT_MS
        self.due_ms = begins_ms if now_ms < query.window_to_ms else max(end_ms, now_ms + 1)

    def postpone(self, until_s: float) -> None:
        """Note that a step did not come to its end, and is tried again."""
        self.retry_at_s = until_s
        self.everything = True

    def forget_keys(self) -> None:
        """Forget, when the query ends, what opens envelopes; late answers still find the rest."""
        self.authorized = None
        self.keys.clear()
        self.unmatched.clear()
        self.early.clear()
        self.trail.news = []
        self.company = Company()
        self.watch.forget()

    def _concerned(self, arrivals: Arrivals) -> bool:
        """Tell whether something came that the keys at hand open; what did not is passed over."""
        if arrivals.envelope <= self.matched:
            return False
        if not self.keys.keys().isdisjoint(arrivals.since(self.matched)):
            return True
        self.matched = arrivals.envelope
        return False

    def _must_ask(self, now_ms: int, now_s: float) -> bool:
        asked_again_s = min(self.doubts.next_s(), self.behind.next_s())
        return self.everything or now_ms >= self.due_ms or now_s >= asked_again_s
