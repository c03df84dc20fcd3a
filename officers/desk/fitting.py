"""Hold a subject's stays against one another on the ground, and say how each fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from officers.desk.fit import Contradiction, Fit
from officers.desk.ground import AT_ONCE, TOO_FAST, TWO_AT_ONCE, Ground
from officers.desk.option_labels import ANYWAY
from officers.desk.phrases import Phrase, duration, nphrase, phrase, together
from officers.desk.ranking import Scope, Sightings, Weighed, weigh
from officers.desk.traces import UNDECIDED, Numbered, Stay, Trace, numbers_text, stays_of
from protocol.results import CONFIRMED, REJECTED
from runtime.errors import OperationError

_LISTED = 5
_DECIDED = {CONFIRMED: 1, UNDECIDED: 0, REJECTED: -1}


class TraceImpossible(OperationError):
    """What is to be confirmed cannot all be true."""


def fitted(trace: Trace, ground: Ground) -> Trace:
    """Return a trace with the fit of each stay, and with what of its hits cannot be true together.

    Hits count as certain, what is rejected counts for nothing. What was found by clothes has no
    fit and makes nobody's: it was looked for near a hit, so that it lies near says nothing. As a
    hit it can still make the trace impossible.
    """
    parts = (trace.hits, trace.candidates, trace.rejected)
    stays = [stay for part in parts for stay in part if not stay.by_appearance]
    fits: dict[tuple[int, ...], Fit] = {}
    if stays:
        weighed = _weighed(stays, ground)
        fits = {
            stay.numbers: _fit(number, stays, weighed, ground) for number, stay in enumerate(stays)
        }
    hits, candidates, rejected = (
        tuple(replace(stay, fit=fits.get(stay.numbers)) for stay in part) for part in parts
    )
    return replace(
        trace,
        hits=hits,
        candidates=candidates,
        rejected=rejected,
        contradictions=contradictions_of(trace.hits, ground),
    )


def contradictions_of(stays: Sequence[Stay], ground: Ground) -> tuple[Contradiction, ...]:
    """Return, of each of one subject's stays that contradicts others, the likeliest of these."""
    if not stays:
        return ()
    sure = [replace(stay, verdict=CONFIRMED) for stay in stays]
    rivals = _weighed(sure, ground).rival.tolist()
    pairs = {(min(pair), max(pair)) for pair in enumerate(rivals) if pair[1] >= 0}
    return tuple(_between(stays[one], stays[other], ground) for one, other in sorted(pairs))


def contradictions_with(
    chosen: Iterable[Numbered], candidates: Iterable[Numbered], ground: Ground
) -> tuple[Contradiction, ...]:
    """Return what could not be true together if the chosen were confirmed besides the hits."""
    numbers = {item.number for item in chosen}
    kept = [
        replace(item, verdict=CONFIRMED)
        for item in candidates
        if item.verdict == CONFIRMED or item.number in numbers
    ]
    stays = stays_of(kept)
    found: list[Contradiction] = []
    for subject in dict.fromkeys(stay.subject for stay in stays):
        own = [stay for stay in stays if stay.subject == subject]
        found += contradictions_of(own, ground)
    return tuple(one for one in found if numbers & {*one.numbers, *one.others})


def contradiction_text(one: Contradiction) -> Phrase:
    """Return both and the reason: ``3 and 5-6: on two cameras at one time``."""
    return phrase(
        "{numbers} and {others}: {why}",
        numbers=numbers_text(one.numbers),
        others=numbers_text(one.others),
        why=one.why,
    )


def fit_text(fit: Fit | None) -> str:
    """Return in short how a stay fits; empty where there is nothing to say."""
    if fit is None:
        return ""
    said = []
    if fit.others:
        said.append(nphrase("fits {n} other", "fits {n} others", fit.others))
    if fit.rival is not None:
        numbers, why = numbers_text(fit.rival.others), fit.rival.why
        said.append(
            phrase(
                "not together with {numbers} and {more} more: {why}",
                numbers=numbers,
                more=fit.against - 1,
                why=why,
            )
            if fit.against > 1
            else phrase("not together with {numbers}: {why}", numbers=numbers, why=why)
        )
    return together(said, "; ")


def check_possible(contradictions: Sequence[Contradiction]) -> None:
    """Check that nothing is to be confirmed that cannot be true together.

    Raises:
        TraceImpossible: something is.
    """
    if not contradictions:
        return
    said: list[str] = [contradiction_text(one) for one in contradictions[:_LISTED]]
    if (more := len(contradictions) - _LISTED) > 0:
        said.append(phrase("and {more} more", more=more))
    raise TraceImpossible(
        phrase(
            "these cannot all be {subject}: {listed}. Confirm by number those that are, or all "
            "with {anyway}",
            subject=contradictions[0].subject,
            listed=together(said, "; "),
            anyway=ANYWAY,
        )
    )


def _weighed(stays: Sequence[Stay], ground: Ground) -> Weighed:
    names = sorted({stay.address.camera for stay in stays})
    row = {name: number for number, name in enumerate(names)}
    words = [ground.place(name) for name in names]
    known = {word: number for number, word in enumerate(sorted({w for w in words if w}))}
    views = {(stay.address, stay.origin): 0 for stay in stays}
    view = {one: number for number, one in enumerate(views)}
    ratios = [np.nan if stay.log10_lr is None else stay.log10_lr for stay in stays]
    seen = Sightings(
        camera=np.array([row[stay.address.camera] for stay in stays], np.int64),
        begins_s=np.array([stay.from_ms / 1000 for stay in stays]),
        ends_s=np.array([stay.to_ms / 1000 for stay in stays]),
        log10_lr=np.array(ratios, np.float64),
        decided=np.array([_DECIDED[stay.verdict] for stay in stays], np.int64),
        points=ground.points(names),
        walks=ground.walks(names),
        places=np.array([-1 if word is None else known[word] for word in words], np.int64),
        view=np.array([view[stay.address, stay.origin] for stay in stays], np.int64),
    )
    scope = Scope(ground.placed, len(ground.cameras), ground.window_s, ground.compared)
    return weigh(seen, scope)


def _fit(number: int, stays: Sequence[Stay], weighed: Weighed, ground: Ground) -> Fit:
    odds, rival = float(weighed.log10_odds[number]), int(weighed.rival[number])
    return Fit(
        0.0 if np.isnan(odds) else odds,
        float(weighed.log10_support[number]),
        int(weighed.fitting[number]),
        int(weighed.against[number]),
        None if rival < 0 else _between(stays[number], stays[rival], ground),
    )


def _between(one: Stay, other: Stay, ground: Ground) -> Contradiction:
    first, second = sorted((one, other), key=lambda stay: (stay.from_ms, stay.to_ms))
    seconds = (second.from_ms - first.to_ms) / 1000
    if seconds < 0:
        why = TWO_AT_ONCE if first.address.camera == second.address.camera else AT_ONCE
    else:
        cameras = (first.address.camera, second.address.camera)
        walk_s, metres = ground.walk_s(*cameras), ground.metres(*cameras) or 0.0
        way = (
            phrase("{metres:,.0f} m", metres=metres)
            if walk_s is None
            else phrase("a walk of {time}", time=duration(walk_s))
        )
        why = phrase("{why} ({way} in {time})", why=TOO_FAST, way=way, time=duration(seconds))
    return Contradiction(one.subject, one.numbers, other.numbers, why)
