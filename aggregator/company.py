"""When the candidates of a query were seen and near whom: in memory until it ends.

Kept only for a query that asks to have companions linked, by camera and episode with the moments
within reach, or to count who came afterwards; as the opened row of a candidate tells it. Nobody
else's row is opened for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from aggregator.store.rows import EpochName
from protocol.links import Companion
from protocol.results import Candidate, candidate_id_of

IsHit = Callable[[bytes, bytes | None], bool]
"""Tells of a candidate's id, and that of the one it was opened with, whether it is confirmed."""


@dataclass(frozen=True, slots=True)
class Near:
    """Somebody within reach of a subject for a while.

    Args:
        subject: who they were near.
        companion: who, by the board's word.
        generation: whose keys open where they are stored.
        slot: of the subject's sighting; theirs ended in it, just before or just after.
        first_ms, last_ms: within reach, ms UTC.
        seconds: within reach.
        decided_ms: when the subject's sighting was confirmed.
    """

    subject: str
    companion: Companion
    generation: EpochName
    slot: int
    first_ms: int
    last_ms: int
    seconds: float
    decided_ms: int = 0


@dataclass(frozen=True, slots=True)
class Sight:
    """An opened candidate: whose it is, what it was opened with, when it was, and who was near."""

    subject: str
    own: Companion
    matched: tuple[object, ...]
    span: tuple[int, int]
    near: tuple[Near, ...]


@dataclass(slots=True)
class Company:
    """The opened candidates of one query.

    Args:
        sights: candidate id to what is known of it.
        linked: on what that stood which officers have been told; None before that.
        linked_through: how far the store had come then.
        linked_at_s: when that was; of a monotonic clock.
    """

    sights: dict[bytes, Sight] = field(default_factory=dict)
    linked: frozenset[Near] | None = None
    linked_through: int = 0
    linked_at_s: float = -math.inf
    _matches: dict[tuple[object, ...], bytes] = field(default_factory=dict)

    def note(self, digest: bytes, candidates: Iterable[Candidate]) -> None:
        """Note opened candidates of version 2 that can be true; of version 1 none are linked."""
        for one in candidates:
            name = one.name
            if one.episode is None or name is None or one.impossible is not None:
                continue
            key = candidate_id_of(digest, one.subject, name)
            generation = (name.box, name.camera, name.epoch, name.generation)
            matched = (one.subject, generation, one.through or name.sighting_id)
            if one.through is None:
                self._matches[matched] = key
            near = tuple(
                Near(
                    one.subject,
                    (one.address, met.other_episode),
                    generation,
                    name.slot,
                    met.first_ms,
                    met.last_ms,
                    met.within_s,
                )
                for met in one.encounters
            )
            span = (one.first_seen_ms, one.last_seen_ms)
            self.sights[key] = Sight(one.subject, (one.address, one.episode), matched, span, near)

    def confirmed(self, is_hit: IsHit) -> Iterator[tuple[bytes, bytes, Sight]]:
        """Yield the candidates that are confirmed, each with its id and that of its match.

        Args:
            is_hit: what officers' words come to.
        """
        for key, one in self.sights.items():
            match = self._matches.get(one.matched)
            if is_hit(key, match):
                yield key, match or key, one

    def near_confirmed(self, is_hit: IsHit, decided_ms: Callable[[bytes], int]) -> Iterator[Near]:
        """Yield who was near a confirmed candidate, but for the subject's own episodes.

        Args:
            is_hit: what officers' words come to.
            decided_ms: of a candidate's id, when it was decided; 0 if by none of its own words.
        """
        chosen = [
            (one, decided_ms(key) or decided_ms(match))
            for key, match, one in self.confirmed(is_hit)
        ]
        own = {(one.subject, one.own) for one, _ in chosen}
        for one, at_ms in chosen:
            for met in one.near:
                if (one.subject, met.companion) not in own:
                    yield replace(met, decided_ms=at_ms)
