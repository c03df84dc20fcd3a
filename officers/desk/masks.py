"""Say one mask status of many: of sightings that were voted on, and of spans of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from protocol.results import Candidate
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MaskSpan

_LEAST_WEIGHT_S = 0.1
_GAP_MS = 5_000


def voted_mask(seen: Sequence[Candidate]) -> tuple[MaskStatus, float]:
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


def mask_of_spans(spans: Iterable[MaskSpan]) -> tuple[MaskStatus, float]:
    """Return the status that was seen longest with most confidence; unknown if there is none."""
    weights: dict[MaskStatus, float] = {}
    surest: dict[MaskStatus, float] = {}
    for span in spans:
        if span.status == MaskStatus.UNKNOWN:
            continue
        weight = max(1, span.until_ms - span.from_ms) * span.confidence
        weights[span.status] = weights.get(span.status, 0.0) + weight
        surest[span.status] = max(surest.get(span.status, 0.0), span.confidence)
    if not weights:
        return MaskStatus.UNKNOWN, 0.0
    status = max(sorted(weights), key=weights.__getitem__)
    return status, surest[status]


def spans_in_a_row(spans: Iterable[MaskSpan]) -> tuple[MaskSpan, ...]:
    """Return spans in order of time; those of one status that follow one another become one.

    The one has the confidence of its parts, each weighed by how long it lasted.
    """
    joined: list[MaskSpan] = []
    for span in sorted(spans, key=lambda s: (s.from_ms, s.until_ms, s.status, s.confidence)):
        last = joined[-1] if joined else None
        if last is None or last.status != span.status or span.from_ms > last.until_ms + _GAP_MS:
            joined.append(span)
            continue
        lasted, more = (max(1, one.until_ms - one.from_ms) for one in (last, span))
        confidence = (last.confidence * lasted + span.confidence * more) / (lasted + more)
        until_ms = max(last.until_ms, span.until_ms)
        joined[-1] = replace(last, until_ms=until_ms, confidence=confidence)
    return tuple(joined)


def spans_of(candidate: Candidate) -> tuple[MaskSpan, ...]:
    """Return a sighting's mask as it went on; one span of the whole where the box tells no more."""
    if candidate.row.masks:
        return candidate.row.masks
    whole = MaskSpan(
        candidate.first_seen_ms, candidate.last_seen_ms, candidate.mask, candidate.mask_confidence
    )
    return (whole,)
