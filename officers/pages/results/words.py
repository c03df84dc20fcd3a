"""Sentences of the queue in the officer's language: travel, quality, likelihood, states."""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk.fit import Contradiction
from officers.desk.queue import FAIR, GOOD, POOR, SETTLED, WAITING, Entry, Travel
from officers.desk.report.wordings import mask_text
from officers.desk.results import Results
from officers.desk.traces import Stay, likelihood_times, likelihood_words, numbers_text
from officers.desk.views import CANNOT_TELL, DIFFERENT, SAME
from officers.pages.at import At
from protocol.epoch import RECORDING
from protocol.results import CONFIRMED, REJECTED


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence, and whether it speaks against the candidate."""

    words: str
    against: bool = False


def place(here: At, results: Results, camera: str) -> str:
    """Return a camera's name with its place, in the officer's language where it has one."""
    places = results.ground.places
    one = None if places is None else places.cameras.get(camera)
    if one is None:
        return camera
    name = one.names.get(here.words.language, one.place)
    return f"{camera}, {name}, {one.room}" if one.room else f"{camera}, {name}"


def travel(here: At, one: Travel) -> Said:
    """Say how long after or before a confirmed stay it was, and whether that can be walked."""
    numbers, gap = numbers_text(one.numbers), here.words.duration(one.gap_s)
    if one.contradiction is not None:
        why = here.say(one.contradiction.why)
        return Said(
            here.text("Not together with {numbers} ({camera}), which is confirmed: {why}",
                      numbers=numbers, camera=one.camera, why=why),
            against=True,
        )  # fmt: skip
    values = {"numbers": numbers, "camera": one.camera, "gap": gap}
    if one.walk_s is None:
        known = (
            here.text("{gap} after {numbers} ({camera}); how long the way takes is not known",
                      **values)
            if one.after
            else here.text("{gap} before {numbers} ({camera}); how long the way takes is not known",
                           **values)
        )  # fmt: skip
        return Said(known)
    if one.walk_s == 0:
        return Said(
            here.text("{gap} after {numbers}, at the same camera", numbers=numbers, gap=gap)
            if one.after
            else here.text("{gap} before {numbers}, at the same camera", numbers=numbers, gap=gap)
        )
    values["walk"] = here.words.duration(one.walk_s)
    return Said(
        here.text("{gap} after {numbers} ({camera}); on foot it takes {walk}: possible", **values)
        if one.after
        else here.text("{gap} before {numbers} ({camera}); on foot it takes {walk}: possible",
                       **values)
    )  # fmt: skip


def clash(here: At, one: Contradiction) -> Said:
    """Say that two candidates cannot both be the same person."""
    others, why = numbers_text(one.others), here.say(one.why)
    return Said(here.text("Not together with {numbers}: {why}", numbers=others, why=why), True)


def quality(here: At, entry: Entry) -> str:
    """Say how much the best picture is worth."""
    return {
        GOOD: here.text("good picture"),
        FAIR: here.text("fair picture"),
        POOR: here.text("poor picture"),
    }[entry.quality]


def mask(here: At, stay: Stay) -> str:
    """Say whether a mask was worn."""
    return mask_text(stay.mask, stay.mask_confidence, here.words, varies=stay.mask_varies)


def origin(here: At, stay: Stay) -> str:
    """Say that it is from a recording; empty where it is not."""
    return here.text("from a recording") if stay.origin == RECORDING else ""


def state(here: At, entry: Entry) -> tuple[str, str]:
    """Return the kind of a candidate's state and its word, as this officer may know it."""
    return {
        WAITING: ("waiting", here.text("to decide")),
        CONFIRMED: ("confirmed", here.text("you confirmed")),
        REJECTED: ("rejected", here.text("you rejected")),
        SETTLED: ("running", here.text("decided by others")),
    }[entry.state]


def view(here: At, value: str) -> str:
    """Say an officer's view."""
    return {
        SAME: here.text("same person"),
        DIFFERENT: here.text("different person"),
        CANNOT_TELL: here.text("cannot tell"),
    }[value]


def verdict(here: At, value: str) -> str:
    """Say a signed verdict."""
    return {CONFIRMED: here.text("confirmed"), REJECTED: here.text("rejected")}[value]


def likelihood(here: At, stay: Stay) -> str:
    """Say what the score supports, and how strongly: the likelihood ratio in words."""
    said = likelihood_words(stay.log10_lr)
    return {
        "not calibrated": here.text("How much the score says is not known: it is not calibrated."),
        "no support either way": here.text("The score says nothing either way."),
        "weak for": here.text("The score weakly supports that this is the same person."),
        "moderate for": here.text("The score moderately supports that this is the same person."),
        "moderately strong for": here.text(
            "The score supports moderately strongly that this is the same person."
        ),
        "strong for": here.text("The score strongly supports that this is the same person."),
        "very strong for": here.text(
            "The score very strongly supports that this is the same person."
        ),
        "extremely strong for": here.text(
            "The score extremely strongly supports that this is the same person."
        ),
        "weak against": here.text("The score weakly supports that this is another person."),
        "moderate against": here.text("The score moderately supports that this is another person."),
        "moderately strong against": here.text(
            "The score supports moderately strongly that this is another person."
        ),
        "strong against": here.text("The score strongly supports that this is another person."),
        "very strong against": here.text(
            "The score very strongly supports that this is another person."
        ),
        "extremely strong against": here.text(
            "The score extremely strongly supports that this is another person."
        ),
    }.get(said, said)


def times(stay: Stay) -> str:
    """Return the likelihood ratio as a number: ``×400,000``, ``×1/40``; empty if unknown."""
    return likelihood_times(stay.log10_lr).replace("x ", "×")


def expected(here: At, strangers: float) -> str:
    """Say how many strangers were expected among candidates by chance, promising nothing."""
    if strangers < 0.01:
        return here.text("fewer than 0.01 strangers expected by chance when it was signed")
    shown = f"{strangers:.2f}" if strangers < 10 else f"{strangers:,.0f}"
    return here.text("{n} strangers expected by chance when it was signed", n=shown)
