"""What a query may ask for besides comparing, each with its price: to be chosen knowingly."""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk.phrases import Phrase, duration, nphrase, phrase
from protocol.policy import CONTACTS, LINKED_CONTACTS, NEAR_CONTACTS, Policy

LIVE, CONTINUATION, COUNTS, STILLS = "live", "continuation", "same_place_counts", "evidence"


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that may be asked for.

    Args:
        name: one of `protocol.policy.OPTIONS`.
        label: what it is called.
        opens: what it opens, of whom: approvers read the same.
        approvals: how many more it takes.
        why_not: why the policy forbids it; None if it permits it.
        most: of how much it may be asked; 0 where that is no question.
    """

    name: str
    label: Phrase
    opens: Phrase
    approvals: int
    why_not: Phrase | None = None
    most: int = 0

    @property
    def price(self) -> Phrase:
        """How many approvals more it takes, in words."""
        if not self.approvals:
            return phrase("no further approval")
        return nphrase("{n} approval more", "{n} approvals more", self.approvals)


def offers(policy: Policy) -> dict[str, Offer]:
    """Return all offers by name, those that the policy forbids with the reason."""
    permits = policy.permits
    furthest = CONTACTS.index(permits.contacts)
    forbidden = phrase("the site's policy does not permit it")
    stills = permits.evidence_stills

    def offer(name: str, label: Phrase, opens: Phrase, *, yes: bool, most: int = 0) -> Offer:
        price = policy.approvals_for_option(name)
        return Offer(name, label, opens, price, None if yes else forbidden, most)

    listed = (
        offer(
            LIVE,
            phrase("Watch live"),
            phrase(
                "Each quarter hour is opened while it still runs, until the window ends, of "
                "everybody who passes: for at most {hours} ahead.",
                hours=duration(policy.max_live_hours * 3600),
            ),
            yes=permits.live and policy.max_live_hours > 0,
            most=policy.max_live_hours,
        ),
        offer(
            NEAR_CONTACTS,
            phrase("Contacts: how near and how long"),
            phrase(
                "Of those who were near the patient: distance, seconds and masks. Not who they are."
            ),
            yes=furthest >= CONTACTS.index(NEAR_CONTACTS),
        ),
        offer(
            LINKED_CONTACTS,
            phrase("Contacts, and which of them are one person"),
            phrase(
                "Besides, the faces of everybody who was near a confirmed sighting are compared "
                "with one another, so that one person has one number. These are people whom nobody "
                "asked."
            ),
            yes=furthest >= CONTACTS.index(LINKED_CONTACTS),
        ),
        offer(
            CONTINUATION,
            phrase("Follow by clothes from a confirmed sighting"),
            phrase(
                "People dressed alike are listed, {minutes} before and after a confirmed sighting, "
                "over at most {cameras} cameras. It identifies nobody.",
                minutes=duration(permits.continuation_minutes * 60),
                cameras=permits.continuation_cameras,
            ),
            yes=permits.continuation,
            most=permits.continuation_cameras,
        ),
        offer(
            COUNTS,
            phrase("Count who else was there"),
            phrase(
                "How many people were at each camera and how many wore a mask: numbers, not who, "
                "and none below five."
            ),
            yes=permits.same_place_counts,
        ),
        offer(
            STILLS,
            phrase("Stills of candidates"),
            phrase(
                "For each sighting that an officer looks at, one small picture, everybody else "
                "pixelated. Of a false candidate it shows a stranger."
            ),
            yes=stills > 0,
            most=stills,
        ),
    )
    return {one.name: one for one in listed}
