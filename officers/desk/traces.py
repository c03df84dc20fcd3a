"""Put candidates together: stays at one camera, the trace of a subject's hits, whom they met.

A sighting is at most a minute long, so somebody who stays before a camera gives several that
directly follow one another, or that the board says are one person's: here they become one **stay**.
Pure: no clock, no files, no keys.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from officers.desk.contacts import Contact, contacts_of
from officers.desk.doubles import told_once
from officers.desk.fit import Contradiction, Fit
from officers.desk.ground import Ground
from officers.desk.masks import spans_in_a_row, spans_of, voted_mask
from officers.desk.walking import Way, way_of
from protocol.keytree import FOLLOWED
from protocol.names import CameraAddress
from protocol.results import CONFIRMED, REJECTED, Candidate
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MaskSpan

UNDECIDED = "undecided"
VERDICTS = (CONFIRMED, UNDECIDED, REJECTED)
MAX_GAP_MS = 5_000
"""Sightings of one camera that are at most so far apart belong to one stay."""
_VERBAL_SCALE = (
    (2, "none"),
    (10, "weak"),
    (100, "moderate"),
    (1_000, "moderately strong"),
    (10_000, "strong"),
    (1_000_000, "very strong"),
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """A candidate with its number (1, 2, ... in order of finding, for good) and the decision.

    Args:
        verdict: what the officers' words come to.
        said: officer to their own last word, confirmed or rejected.
        needed: how many officers must confirm it.
        follows: the number of the hit by whose clothes it was found.
    """

    number: int
    candidate_id: bytes
    candidate: Candidate
    verdict: str = UNDECIDED
    said: Mapping[str, str] = field(default_factory=dict)
    needed: int = 1
    follows: int | None = None

    @property
    def confirmed_by(self) -> tuple[str, ...]:
        """Who has confirmed it, sorted."""
        return tuple(sorted(name for name, word in self.said.items() if word == CONFIRMED))

    @property
    def matched(self) -> bool:
        """Whether it was compared and reached the threshold, not only opened with one that did."""
        return self.candidate.score is not None


@dataclass(frozen=True, slots=True)
class Stay:
    """A subject at one camera without a break: one sighting, or several that belong together.

    ``score`` and ``log10_lr`` (None without calibration) are the best of its sightings; both are
    None where none of them was compared. ``mask_varies`` tells that both masked and unmasked were
    seen. A stay whose ``verdict`` is confirmed is a **hit**.

    Args:
        numbers: of its candidates; ``unmatched`` those among them that were opened only because
            they are of the same person, by the board's word.
        masks: the mask as it went on.
        origin, time_source: where its pictures came from, how their times were known
            (`protocol.v2.header`); None where version 1 does not tell.
        confirmed_by: the officers who confirmed every candidate of it that was compared.
        needed: how many have to.
        modality: what was compared.
        follows: the numbers of the hits by whose clothes it was found; none where it was found by
            what was asked for.
        way: from the first of those hits to here (`officers.desk.walking`).
        fit: how it fits the subject's other stays; None where that was not looked at.
        doubles: the numbers of those of its candidates that tell of the same passage by another box
            or from a film (`officers.desk.doubles`); all else is told without them.
    """

    subject: str
    address: CameraAddress
    from_ms: int
    to_ms: int
    mask: MaskStatus
    mask_confidence: float
    mask_varies: bool
    score: float | None
    log10_lr: float | None
    model: str
    verdict: str
    numbers: tuple[int, ...]
    sighting_ids: tuple[bytes, ...]
    contacts: tuple[Contact, ...]
    unmatched: tuple[int, ...] = ()
    masks: tuple[MaskSpan, ...] = ()
    confirmed_by: tuple[str, ...] = ()
    needed: int = 1
    origin: str | None = None
    time_source: str | None = None
    modality: str = ""
    follows: tuple[int, ...] = ()
    way: Way | None = None
    fit: Fit | None = None
    doubles: tuple[int, ...] = ()

    @property
    def by_appearance(self) -> bool:
        """Whether it was found by clothes and build, which identify nobody."""
        return self.modality == FOLLOWED

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.to_ms - self.from_ms) / 1000

    @property
    def contact_seconds(self) -> float:
        """Seconds within reach of others, summed over them."""
        return sum(contact.seconds for contact in self.contacts)


@dataclass(frozen=True, slots=True)
class Trace:
    """A subject's hits in order of time, and apart from them the candidates not decided on.

    Args:
        continuations: of the candidates those that were found by the clothes of a hit alone.
        contradictions: hits that cannot all be true; such a trace is impossible as it stands.
    """

    subject: str
    hits: tuple[Stay, ...]
    candidates: tuple[Stay, ...]
    rejected: tuple[Stay, ...]
    continuations: tuple[Stay, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()

    @property
    def by_appearance(self) -> int:
        """How many of the hits were found by clothes and build."""
        return sum(hit.by_appearance for hit in self.hits)

    @property
    def seconds(self) -> float:
        """Seconds on camera, over all hits."""
        return sum(hit.seconds for hit in self.hits)

    @property
    def contact_seconds(self) -> float:
        """Seconds within reach of others, summed over them and over all hits."""
        return sum(hit.contact_seconds for hit in self.hits)


def stays_of(candidates: Iterable[Numbered], *, max_gap_ms: int = MAX_GAP_MS) -> list[Stay]:
    """Merge candidates that belong together into stays, ordered by time.

    Only candidates of one subject, camera, origin and verdict that were found in one way are
    merged: those of which the board says that they are of one person (one episode, or one continues
    another), and of others those that directly follow one another. Two people at one moment are
    two: what overlaps is not merged without the board's word. Nor is what was found by clothes and
    nobody has confirmed: the next in such clothes is somebody else. What cannot be true is in none.
    """
    groups: dict[tuple[object, ...], list[Numbered]] = {}
    for item in candidates:
        if item.candidate.impossible is not None:
            continue
        one = item.candidate
        found_by = (one.modality, item.follows)
        key = (one.subject, one.address, one.origin, one.time_source, item.verdict, found_by)
        groups.setdefault(key, []).append(item)
    subjects = _known_subjects(item for group in groups.values() for item in group)
    stays = [_stay(run, subjects) for group in groups.values() for run in _runs(group, max_gap_ms)]
    return sorted(told_once(stays), key=lambda stay: (stay.from_ms, stay.to_ms, stay.numbers))


def traces_of(
    subjects: Sequence[str], candidates: Iterable[Numbered], *, max_gap_ms: int = MAX_GAP_MS
) -> list[Trace]:
    """Return one trace a subject, in the order given; candidates of nobody else are kept."""
    stays = stays_of(candidates, max_gap_ms=max_gap_ms)

    def of(subject: str, verdict: str) -> tuple[Stay, ...]:
        return tuple(s for s in stays if s.subject == subject and s.verdict == verdict)

    traces = []
    for name in subjects:
        hits, open_ones, rejected = (of(name, verdict) for verdict in VERDICTS)
        asked_for = tuple(one for one in open_ones if not one.follows)
        followed = tuple(one for one in open_ones if one.follows)
        traces.append(Trace(name, hits, asked_for, rejected, followed))
    return traces


def with_ways(trace: Trace, ground: Ground) -> Trace:
    """Return a trace whose continuations say how they fit to their hit, best first.

    Those to whom nobody could have walked in the time are last.

    Args:
        trace: a subject's.
        ground: where cameras are.
    """
    stays = (*trace.hits, *trace.candidates, *trace.rejected)
    by_number = {number: stay for stay in stays for number in stay.numbers}

    def placed(stay: Stay) -> Stay:
        hit = next((by_number[n] for n in stay.follows if n in by_number), None)
        if hit is None or stay.score is None:
            return stay
        cameras = (hit.address.camera, stay.address.camera)
        after = stay.from_ms >= hit.from_ms
        gap_ms = stay.from_ms - hit.to_ms if after else stay.to_ms - hit.from_ms
        gap_s = (max(0, gap_ms) if after else min(0, gap_ms)) / 1000
        return replace(
            stay, way=way_of(stay.score, gap_s, ground.metres(*cameras), ground.walk_s(*cameras))
        )

    def rank(stay: Stay) -> tuple[bool, float, int]:
        if stay.way is None:
            return (True, 0.0, stay.from_ms)
        return (stay.way.too_far, -stay.way.fit, stay.from_ms)

    return replace(
        trace,
        hits=tuple(map(placed, trace.hits)),
        rejected=tuple(map(placed, trace.rejected)),
        continuations=tuple(sorted(map(placed, trace.continuations), key=rank)),
    )


def ranked(stays: Iterable[Stay]) -> list[Stay]:
    """Return stays, the likeliest first: by likelihood ratio and fit, then by ratio and score."""

    def rank(stay: Stay) -> tuple[float, float, float, int]:
        ratio = float("-inf") if stay.log10_lr is None else stay.log10_lr
        odds = ratio if stay.fit is None or stay.log10_lr is None else stay.fit.log10_odds
        return (-odds, -ratio, 2.0 if stay.score is None else -stay.score, stay.from_ms)

    return sorted(stays, key=rank)


def likelihood_words(log10_lr: float | None) -> str:
    """Say a likelihood ratio in words, on the verbal scale of ENFSI's guideline (2015).

    It weighs this score for the same person against a stranger; how likely it was beforehand that
    the subject passed there is for the reader to judge.
    """
    if log10_lr is None:
        return "not calibrated"
    times = 10 ** abs(log10_lr)
    if times < _VERBAL_SCALE[0][0]:
        return "no support either way"
    word = next((word for limit, word in _VERBAL_SCALE[1:] if times < limit), "extremely strong")
    return f"{word} {'for' if log10_lr > 0 else 'against'}"


def likelihood_times(log10_lr: float | None) -> str:
    """Return the ratio as a number with two digits: ``x 1,300``, ``x 1/40``; empty if unknown."""
    if log10_lr is None:
        return ""
    times = 10 ** abs(log10_lr)
    digits = max(0, int(abs(log10_lr)) - 1)
    shown = f"{times:.1f}" if times < 10 else f"{round(times, -digits):,.0f}"
    return f"x {shown}" if log10_lr >= 0 else f"x 1/{shown}"


def numbers_text(numbers: Sequence[int]) -> str:
    """Return numbers as people write them: ``3``, ``3-5``, ``1, 4-6``."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def _known_subjects(items: Iterable[Numbered]) -> dict[tuple[CameraAddress, bytes], str]:
    """Which confirmed subject a sighting or episode of a camera is; ids are a box's own."""
    known = {}
    for item in items:
        if item.verdict == CONFIRMED:
            one = item.candidate
            for name in (one.sighting_id, one.episode):
                if name is not None:
                    known[one.address, name] = one.subject
    return known


def _runs(items: Sequence[Numbered], max_gap_ms: int) -> list[list[Numbered]]:
    """Put together what the board says is one, then what directly follows it and nothing else does.

    What overlaps is two people, for all that their faces are alike; and where two might go on from
    one, or one from two, nobody can say who is who: these stay apart.

    Args:
        items: of one camera and one verdict, found in one way.
        max_gap_ms: longest pause.
    """
    if items[0].candidate.modality == FOLLOWED and items[0].verdict != CONFIRMED:
        return [sorted(one, key=_by_time) for one in _of_one_person(items)]
    parts = sorted(map(_Part.of, _of_one_person(items)), key=lambda one: one.order)
    begins = [part.begins_ms for part in parts]
    by_end = sorted(range(len(parts)), key=lambda row: parts[row].ends_ms)
    ends = [parts[row].ends_ms for row in by_end]

    def only_one(ordered: Sequence[int], low_ms: int, high_ms: int) -> int | None:
        low = bisect_left(ordered, low_ms)
        return low if bisect_right(ordered, high_ms) - low == 1 else None

    runs: list[list[Numbered]] = []
    run_of: list[list[Numbered]] = []
    for part in parts:
        before = only_one(ends, part.begins_ms - max_gap_ms, part.begins_ms)
        earlier = None if before is None else by_end[before]
        if earlier is not None:
            ends_ms = parts[earlier].ends_ms
            if only_one(begins, ends_ms, ends_ms + max_gap_ms) is None:
                earlier = None
        if earlier is None:
            runs.append([])
        run_of.append(runs[-1] if earlier is None else run_of[earlier])
        run_of[-1].extend(part.items)
    return [sorted(run, key=_by_time) for run in runs]


@dataclass(frozen=True, slots=True)
class _Part:
    """Sightings of one person by the board's word, from when to when; a millisecond at least."""

    begins_ms: int
    ends_ms: int
    items: Sequence[Numbered]

    @classmethod
    def of(cls, items: Sequence[Numbered]) -> _Part:
        """Return the part that they are."""
        begins_ms = min(item.candidate.first_seen_ms for item in items)
        ends_ms = max(item.candidate.last_seen_ms for item in items)
        return cls(begins_ms, max(ends_ms, begins_ms + 1), items)

    @property
    def order(self) -> tuple[int, int, int]:
        """By time, and by number where that is the same."""
        return self.begins_ms, self.ends_ms, min(item.number for item in self.items)


def _of_one_person(items: Sequence[Numbered]) -> list[list[Numbered]]:
    """Put sightings of one camera together that its board says are of one person."""
    leader: dict[bytes, bytes] = {}

    def find(key: bytes) -> bytes:
        while (above := leader.setdefault(key, key)) != key:
            leader[key] = key = leader[above]
        return key

    def keys(item: Numbered) -> list[bytes]:
        one = item.candidate
        linked = [b"s" + one.sighting_id]
        if one.episode is not None:
            linked.append(b"e" + one.episode)
        if one.row.continues is not None:
            linked.append(b"s" + one.row.continues)
        return linked

    for item in items:
        first, *others = keys(item)
        for other in others:
            leader[find(other)] = find(first)
    parts: dict[bytes, list[Numbered]] = {}
    for item in items:
        parts.setdefault(find(keys(item)[0]), []).append(item)
    return list(parts.values())


def _by_time(item: Numbered) -> tuple[int, int, int]:
    return (item.candidate.first_seen_ms, item.candidate.last_seen_ms, item.number)


def _stay(run: Sequence[Numbered], subjects: Mapping[tuple[CameraAddress, bytes], str]) -> Stay:
    seen = [item.candidate for item in run]
    best = max(seen, key=lambda c: (c.log10_lr is not None, c.log10_lr or 0.0, c.strength))
    mask, confidence = voted_mask(seen)
    masks = spans_in_a_row(span for c in seen for span in spans_of(c))
    ratios = [c.log10_lr for c in seen if c.log10_lr is not None]
    said = [set(item.confirmed_by) for item in run if item.matched]
    return Stay(
        subject=best.subject,
        address=best.address,
        from_ms=min(c.first_seen_ms for c in seen),
        to_ms=max(c.last_seen_ms for c in seen),
        mask=mask,
        mask_confidence=confidence,
        mask_varies={MaskStatus.MASKED, MaskStatus.UNMASKED}
        <= {c.mask for c in seen} | {span.status for span in masks},
        score=max((c.score for c in seen if c.score is not None), default=None),
        log10_lr=max(ratios) if ratios else None,
        model=best.model,
        verdict=run[0].verdict,
        numbers=tuple(sorted(item.number for item in run)),
        sighting_ids=tuple(dict.fromkeys(c.sighting_id for c in seen)),
        contacts=contacts_of(seen, subjects),
        unmatched=tuple(sorted(item.number for item in run if not item.matched)),
        masks=masks,
        confirmed_by=tuple(sorted(set.intersection(*said))) if said else (),
        needed=max(item.needed for item in run),
        origin=best.origin,
        time_source=best.time_source,
        modality=best.modality,
        follows=tuple(sorted({item.follows for item in run if item.follows is not None})),
    )
