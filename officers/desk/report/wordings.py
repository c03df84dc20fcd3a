"""Words that other parts have for masks, likelihood, grades and reasons, in a report's language."""

from __future__ import annotations

from officers.desk.grading import HIGH, LOW, MEDIUM, NONE
from officers.desk.ground import AT_ONCE, TOO_FAST
from officers.desk.report.words import Words, marked
from officers.desk.traces import Stay, likelihood_times, likelihood_words
from protocol.sightings import MaskStatus

_MASKS = {
    MaskStatus.MASKED: marked("mask {confidence}"),
    MaskStatus.UNMASKED: marked("no mask {confidence}"),
}
_GRADES = {
    HIGH: marked("high"),
    MEDIUM: marked("medium"),
    LOW: marked("low"),
    NONE: marked("none"),
}
_LIKELIHOODS = {
    text: text
    for text in (
        marked("not calibrated"),
        marked("no support either way"),
        marked("weak for"),
        marked("moderate for"),
        marked("moderately strong for"),
        marked("strong for"),
        marked("very strong for"),
        marked("extremely strong for"),
        marked("weak against"),
        marked("moderate against"),
        marked("moderately strong against"),
        marked("strong against"),
        marked("very strong against"),
        marked("extremely strong against"),
    )
}
_DISEASES = {
    text: text
    for text in (
        marked("COVID-19"),
        marked("Measles"),
        marked("MERS"),
        marked("Tuberculosis"),
    )
}
_REASONS: dict[str, str] = {
    AT_ONCE: marked("on two cameras at one time"),
    TOO_FAST: marked("faster than walking allows"),
}


def mask_text(status: MaskStatus, confidence: float, words: Words, *, varies: bool = False) -> str:
    """Return a mask status with its confidence; ``varies``: both were seen."""
    if status not in _MASKS:
        return words.text("unknown")
    sure = f"{confidence:.0%}"
    text = words.text(_MASKS[status], confidence=sure)
    return text + ", " + words.text("put on or off") if varies else text


def grade_text(level: str, words: Words) -> str:
    """Return a grade's level."""
    return words.text(_GRADES[level])


def disease_text(title: str, words: Words) -> str:
    """Return what a preset of ours is called; a site's own stays as it is."""
    return words.text(_DISEASES[title]) if title in _DISEASES else title


def metres_text(metres: float | None, words: Words) -> str:
    """Return a distance."""
    if metres is None:
        return words.text("not measured")
    return f"{metres:.1f} m"


def likelihood_text(stay: Stay, words: Words) -> str:
    """Return on what ground a stay is the case's."""
    if stay.by_appearance:
        return words.text("by appearance, identifies nobody")
    if stay.score is None:
        return words.text("same person by the board's word")
    said = likelihood_words(stay.log10_lr)
    told = words.text(_LIKELIHOODS[said]) if said in _LIKELIHOODS else said
    return f"{likelihood_times(stay.log10_lr)} {told}".strip()


def reason_text(why: str, words: Words) -> str:
    """Return why two sightings cannot both be one person's."""
    return words.text(_REASONS[why]) if why in _REASONS else why
