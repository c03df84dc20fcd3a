"""Queries by clothes in words: what they may be asked beside, their threshold, what to expect."""

from __future__ import annotations

from collections.abc import Sequence

from officers.desk.notices import Notice
from officers.desk.option_labels import CONTINUATION
from officers.desk.phrases import phrase, theirs
from officers.desk.subjects import DraftInvalid, OpenedSubject
from protocol.keytree import FOLLOWED
from protocol.policy import BY_WORDS, Policy
from protocol.query import Asked, Subject
from runtime.bundle import load_bundle
from runtime.clothes_words import BY_WORDS_NOTE, WordDirections, WordsUnusable, word_directions
from runtime.officer import OfficerConfig

WORDS_NOTICE = Notice(
    phrase(
        "people dressed in such colours are ranked, roughly: others rank among them and before "
        "them (docs/models.md says how often). This identifies nobody"
    ),
    warning=True,
)


def words_note(subject: Subject) -> str:
    """Return what must be said wherever a subject by words is named; empty for anybody else."""
    return phrase(BY_WORDS_NOTE, words=theirs(subject.words)) if subject.words else ""


def check_by_words(
    subjects: Sequence[OpenedSubject],
    modalities: Sequence[str],
    asks: Asked,
    policy: Policy,
    *,
    examples: bool,
) -> bool:
    """Tell whether a query is by words; refuse what cannot be asked for beside them.

    Args:
        modalities: what would be compared.
        examples: whether earlier sightings serve as examples.

    Raises:
        DraftInvalid: something else is asked for in the same query.
    """
    said = [subject.file.pseudonym for subject in subjects if subject.file.words]
    if not said:
        return False
    if len(said) < len(subjects) or examples or tuple(modalities) != (FOLLOWED,):
        raise DraftInvalid(
            phrase(
                "'{subject}' is described in words, which nothing else can be compared beside: "
                "file photographs, pictures and earlier sightings as a query of their own",
                subject=said[0],
            )
        )
    if asks.continuation or asks.linked_contacts:
        raise DraftInvalid(
            phrase(
                "'{subject}' is described in words, so that whoever is found is nobody known: "
                "leave out {continuation} and linked contacts",
                subject=said[0],
                continuation=CONTINUATION,
            )
        )
    if policy.schema < 2:
        raise DraftInvalid(
            phrase(
                "the site's policy is of the first schema, which knows no queries by words: have "
                "its authority bring it to the second (`sealtrace site policy upgrade`)"
            )
        )
    return True


def thresholds_by_words(
    models: Sequence[str], asked: float | None, policy: Policy, config: OfficerConfig
) -> dict[str, float]:
    """Return each model's threshold: as asked, else the bundle's, raised to the policy's floor.

    Raises:
        DraftInvalid: none is known.
        BundleError: the officer's bundle cannot be used.
    """
    if asked is not None:
        return dict.fromkeys(models, asked)
    known = {} if (own := _directions(config)) is None else {own.model_id: own.threshold}
    found = {}
    for model in models:
        floor = policy.floor_of(model, by_words=True)
        least = [score for score in (known.get(model), floor) if score is not None]
        if not least:
            raise DraftInvalid(
                phrase(
                    "no threshold is known for words with model {model}: the policy states no "
                    '"{name}" in its [threshold_floor], so that no query by words is permitted '
                    "with it",
                    model=model,
                    name=BY_WORDS + model,
                )
            )
        found[model] = max(least)
    return found


def expected_by_words(
    sightings: int, templates: int, thresholds: dict[str, float], config: OfficerConfig
) -> float:
    """Return how many people dressed otherwise to expect: all, where it was not counted.

    Raises:
        BundleError: the officer's bundle cannot be used.
    """
    own = _directions(config)
    share = 1.0
    if own is not None and thresholds.get(own.model_id, -1.0) >= own.threshold:
        share = own.rate
    return float(sightings * templates) * share


def _directions(config: OfficerConfig) -> WordDirections | None:
    if config.bundle is None:
        return None
    try:
        return word_directions(load_bundle(config.bundle, config.bundle_signers, roles=()))
    except WordsUnusable:
        return None
