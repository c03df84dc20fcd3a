"""Put candidates together: stays at one camera, the trace of a subject's hits, whom they met.

A sighting is at most a minute long, so somebody who stays before a camera gives several that
directly follow one another: here they become one **stay**. Pure: no clock, no files, no keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from protocol.names import CameraAddress
from protocol.results import CONFIRMED, REJECTED, Candidate
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MaskSpan

UNDECIDED = "undecided"
VERDICTS = (CONFIRMED, UNDECIDED, REJECTED)
MAX_GAP_MS = 5_000
"""Sightings of one camera that are at most so far apart belong to one stay."""
_LEAST_WEIGHT_S = 0.1
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
    """A candidate with its number (1, 2, ... in order of finding, for good) and the decision."""

    number: int
    candidate_id: bytes
    candidate: Candidate
    verdict: str = UNDECIDED


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody near the subject during a stay, as one sighting of the same camera.

    Who it was is unknown unless it was another subject of the query: then ``subject`` says so.
    ``distance_m`` is the shortest ground distance, None if unknown; ``seconds`` within reach.
    """

    other_id: bytes
    distance_m: float | None
    seconds: float
    mask: MaskStatus
    mask_confidence: float
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Stay:
    """A subject at one camera without a break: one sighting, or several that follow one another.

    ``score`` and ``log10_lr`` (None without calibration) are the best of its sightings;
    ``mask_varies`` tells that both masked and unmasked sightings are among them. A stay whose
    ``verdict`` is confirmed is a **hit**.
    """

    subject: str
    address: CameraAddress
    from_ms: int
    to_ms: int
    mask: MaskStatus
    mask_confidence: float
    mask_varies: bool
    score: float
    log10_lr: float | None
    model: str
    verdict: str
    numbers: tuple[int, ...]
    sighting_ids: tuple[bytes, ...]
    contacts: tuple[Contact, ...]

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
    """A subject's hits in order of time, and apart from them the candidates not decided on."""

    subject: str
    hits: tuple[Stay, ...]
    candidates: tuple[Stay, ...]
    rejected: tuple[Stay, ...]

    @property
    def seconds(self) -> float:
        """Seconds on camera, over all hits."""
        return sum(hit.seconds for hit in self.hits)

    @property
    def contact_seconds(self) -> float:
        """Seconds within reach of others, summed over them and over all hits."""
        return sum(hit.contact_seconds for hit in self.hits)


def stays_of(candidates: Iterable[Numbered], *, max_gap_ms: int = MAX_GAP_MS) -> list[Stay]:
    """Merge candidates that directly follow one another into stays, ordered by time.

    Only candidates of one subject, one camera and one verdict are merged.
    """
    groups: dict[tuple[str, CameraAddress, str], list[Numbered]] = {}
    for item in candidates:
        key = (item.candidate.subject, item.candidate.address, item.verdict)
        groups.setdefault(key, []).append(item)
    subjects = _subjects_by_sighting(item for group in groups.values() for item in group)
    stays = [_stay(run, subjects) for group in groups.values() for run in _runs(group, max_gap_ms)]
    return sorted(stays, key=lambda stay: (stay.from_ms, stay.to_ms, stay.numbers))


def traces_of(
    subjects: Sequence[str], candidates: Iterable[Numbered], *, max_gap_ms: int = MAX_GAP_MS
) -> list[Trace]:
    """Return one trace a subject, in the order given; candidates of nobody else are kept."""
    stays = stays_of(candidates, max_gap_ms=max_gap_ms)

    def of(subject: str, verdict: str) -> tuple[Stay, ...]:
        return tuple(s for s in stays if s.subject == subject and s.verdict == verdict)

    return [Trace(name, *(of(name, verdict) for verdict in VERDICTS)) for name in subjects]


def ranked(stays: Iterable[Stay]) -> list[Stay]:
    """Return stays, the likeliest first: by likelihood ratio, then by score."""

    def rank(stay: Stay) -> tuple[float, float, int]:
        ratio = float("-inf") if stay.log10_lr is None else stay.log10_lr
        return (-ratio, -stay.score, stay.from_ms)

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


def _subjects_by_sighting(items: Iterable[Numbered]) -> dict[tuple[str, bytes], str]:
    """Which confirmed subject a sighting of a camera is; ids are unique within a camera only."""
    return {
        (item.candidate.address.camera, item.candidate.sighting_id): item.candidate.subject
        for item in items
        if item.verdict == CONFIRMED
    }


def _runs(items: Sequence[Numbered], max_gap_ms: int) -> list[list[Numbered]]:
    ordered = sorted(
        items,
        key=lambda i: (i.candidate.first_seen_ms, i.candidate.last_seen_ms, i.number),
    )
    runs: list[list[Numbered]] = []
    until = 0
    for item in ordered:
        if runs and item.candidate.first_seen_ms - until <= max_gap_ms:
            runs[-1].append(item)
            until = max(until, item.candidate.last_seen_ms)
        else:
            runs.append([item])
            until = item.candidate.last_seen_ms
    return runs


def _stay(run: Sequence[Numbered], subjects: Mapping[tuple[str, bytes], str]) -> Stay:
    seen = [item.candidate for item in run]
    best = max(seen, key=lambda c: (c.log10_lr is not None, c.log10_lr or 0.0, c.strength))
    mask, confidence = _voted_mask(seen)
    ratios = [c.log10_lr for c in seen if c.log10_lr is not None]
    return Stay(
        subject=best.subject,
        address=best.address,
        from_ms=min(c.first_seen_ms for c in seen),
        to_ms=max(c.last_seen_ms for c in seen),
        mask=mask,
        mask_confidence=confidence,
        mask_varies={MaskStatus.MASKED, MaskStatus.UNMASKED} <= {c.mask for c in seen},
        score=max(c.strength for c in seen),
        log10_lr=max(ratios) if ratios else None,
        model=best.model,
        verdict=run[0].verdict,
        numbers=tuple(sorted(item.number for item in run)),
        sighting_ids=tuple(dict.fromkeys(c.sighting_id for c in seen)),
        contacts=_contacts(seen, subjects),
    )


def _voted_mask(seen: Sequence[Candidate]) -> tuple[MaskStatus, float]:
    """Return the status with most confidence times seconds behind it, and its mean confidence.

    Unknown only if no sighting knows.
    """
    weights: dict[MaskStatus, float] = {}
    evidence: dict[MaskStatus, float] = {}
    for candidate in seen:
        weight = max(_LEAST_WEIGHT_S, (candidate.last_seen_ms - candidate.first_seen_ms) / 1000)
        weights[candidate.mask] = weights.get(candidate.mask, 0.0) + weight
        evidence[candidate.mask] = (
            evidence.get(candidate.mask, 0.0) + weight * candidate.mask_confidence
        )
    known = sorted(status for status in weights if status != MaskStatus.UNKNOWN)
    status = max(known, key=evidence.__getitem__, default=MaskStatus.UNKNOWN)
    return status, min(1.0, evidence[status] / weights[status])


def _contacts(
    seen: Sequence[Candidate], subjects: Mapping[tuple[str, bytes], str]
) -> tuple[Contact, ...]:
    """Merge encounters with one and the same sighting: shortest distance, seconds summed."""
    own = {candidate.sighting_id for candidate in seen}
    merged: dict[bytes, Contact] = {}
    for candidate in seen:
        camera = candidate.address.camera
        for met in candidate.encounters:
            who = subjects.get((camera, met.other_id))
            if met.other_id in own or who == candidate.subject:
                continue  # the subject's own sightings, split by the tracker
            mask, confidence = _mask_of(met.other_masks)
            contact = Contact(met.other_id, met.nearest_m, met.within_s, mask, confidence, who)
            known = merged.get(met.other_episode)
            merged[met.other_episode] = contact if known is None else _joined(known, contact)
    return tuple(sorted(merged.values(), key=lambda c: (-c.seconds, c.other_id)))


def _mask_of(spans: Sequence[MaskSpan]) -> tuple[MaskStatus, float]:
    """Return the status that was seen longest with most confidence; unknown if there is none."""
    weights: dict[MaskStatus, float] = {}
    for span in spans:
        weight = max(1, span.until_ms - span.from_ms) * span.confidence
        weights[span.status] = weights.get(span.status, 0.0) + weight
    known = {status: one for status, one in weights.items() if status != MaskStatus.UNKNOWN}
    if not known:
        return MaskStatus.UNKNOWN, 0.0
    status = max(sorted(known), key=known.__getitem__)
    return status, max(span.confidence for span in spans if span.status == status)


def _joined(one: Contact, other: Contact) -> Contact:
    known = [d for d in (one.distance_m, other.distance_m) if d is not None]
    surer = max(
        (one, other), key=lambda c: (c.mask != MaskStatus.UNKNOWN, c.mask_confidence, c.mask)
    )
    return replace(
        surer,
        distance_m=min(known) if known else None,
        seconds=one.seconds + other.seconds,
    )
