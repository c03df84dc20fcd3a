"""Who of one query may be followed by their clothes, and who has been: in memory until it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aggregator.matching.found import Found
from protocol.epoch_keys import EpochKeys
from protocol.names import SightingName
from protocol.results import candidate_id_of


@dataclass(frozen=True, slots=True)
class Hit:
    """A find from which somebody may be followed, once officers have confirmed it."""

    subject: str
    name: SightingName


@dataclass(slots=True)
class Trail:
    """What is known of following.

    Args:
        hits: candidate id to what was found by what the query asked for.
        said: candidate id to each officer's last word.
        decided_ms: candidate id to when the last of them was said.
        verdicts: candidate id to what the officers' words come to; of those that are decided.
        read_at: the query's revision and the directory's version when they were read.
        followed: hits whose clothes have been compared with all that was there then.
        brought: the rows that each hit has brought.
        missing: hits that cannot be followed, and why.
        news: scopes that were compared in this step, each with the cursor after which.
    """

    hits: dict[bytes, Hit] = field(default_factory=dict)
    said: Mapping[bytes, Mapping[str, str]] = field(default_factory=dict)
    decided_ms: Mapping[bytes, int] = field(default_factory=dict)
    verdicts: Mapping[bytes, str] = field(default_factory=dict)
    read_at: tuple[int, int] = (-1, -1)
    followed: set[Hit] = field(default_factory=set)
    brought: dict[Hit, set[SightingName]] = field(default_factory=dict)
    missing: dict[Hit, str] = field(default_factory=dict)
    news: list[tuple[Sequence[EpochKeys], int]] = field(default_factory=list)

    def note(self, digest: bytes, founds: Sequence[Found]) -> None:
        """Note what was found by what was asked for."""
        for found in founds:
            if found.score is not None and found.follows is None:
                key = candidate_id_of(digest, found.subject, found.name)
                self.hits[key] = Hit(found.subject, found.name)

    def room(self, hit: Hit, *, a_hit: int, in_all: int) -> int:
        """Return how many rows more a hit may bring."""
        chosen = set().union(*self.brought.values())
        return min(in_all - len(chosen), a_hit - len(self.brought.get(hit, ())))

    def forget(self) -> None:
        """Have all be followed anew: what a comparison found has not been kept."""
        self.followed.clear()
        self.brought.clear()

    def words(self) -> Iterator[str]:
        """Say of each hit that could not be followed why not."""
        for hit, why in sorted(self.missing.items(), key=lambda item: item[0].name):
            yield f"nobody was followed from the hit at {hit.name.camera}: {why}"
