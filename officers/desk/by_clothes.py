"""Looking for people by their clothes: whether the policy permits it, and what it means."""

from __future__ import annotations

from officers.desk.offers import Offer
from officers.desk.phrases import Phrase, phrase
from protocol.keytree import FOLLOWED
from protocol.policy import BY_WORDS, CONSENT, Policy

PICTURE, WORDS, EXAMPLE = "picture", "words", "example"
WAYS = (PICTURE, WORDS, EXAMPLE)


def clothes_offers(policy: Policy) -> dict[str, Offer]:
    """Return the ways in which clothes can be asked for, by name; what is forbidden with why."""
    grounds = grounds_for_clothes(policy)
    why_not: Phrase | None = None
    if policy.schema < 2:
        why_not = phrase("the site's policy is of the first schema, which knows no such queries")
    elif not grounds:
        why_not = phrase("the site's policy has no clothes compared, on any legal ground")
    no_words = why_not
    if no_words is None and not any(one.startswith(BY_WORDS) for one in policy.threshold_floor):
        no_words = phrase("the site's policy states no threshold for words, so it permits none")
    more = min((policy.bases[one].extra_approvals for one in grounds), default=0)

    def offer(name: str, label: Phrase, opens: Phrase, forbidden: Phrase | None) -> Offer:
        return Offer(name, label, opens, more, forbidden)

    listed = (
        offer(
            PICTURE,
            phrase("By a picture of their clothes"),
            phrase(
                "The clothes of everybody on the cameras and in the hours of the query are "
                "compared with the picture. People dressed alike are listed: it identifies nobody."
            ),
            # The first schema compares clothes too, where a legal ground has them.
            None if grounds else phrase("the site's policy has no clothes compared, on any "
                                        "legal ground"),
        ),
        offer(
            WORDS,
            phrase("By words for their clothes"),
            phrase(
                "The clothes of everybody on the cameras and in the hours of the query are "
                "compared with colours. People so dressed are ranked, roughly, and others among "
                "them and before them: whoever is found is nobody known."
            ),
            no_words,
        ),
        offer(
            EXAMPLE,
            phrase("By the clothes of a sighting that was found"),
            phrase(
                "The clothes of everybody on the cameras and in the hours of the query are "
                "compared with those of that sighting, whose quarter hour is opened too. People "
                "dressed alike are listed: it identifies nobody."
            ),
            why_not,
        ),
    )  # fmt: skip
    return {one.name: one for one in listed}


def grounds_for_clothes(policy: Policy) -> tuple[str, ...]:
    """Return the legal grounds on which clothes may be compared, consent first."""
    found = [name for name, rule in policy.bases.items() if FOLLOWED in rule.modalities]
    return tuple(sorted(found, key=lambda one: (one != CONSENT, one)))
