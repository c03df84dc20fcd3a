"""The usual cases of a query: what an investigator begins from, and need not think of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from officers.desk.offers import CONTINUATION, COUNTS, LIVE, STILLS, offers
from officers.desk.phrases import Phrase, phrase
from protocol.policy import LINKED_CONTACTS, NEAR_CONTACTS, NO_CONTACTS, Policy

_LIVE_HOURS = 12
_MOST_STILLS = 20


@dataclass(frozen=True, slots=True)
class UsualCase:
    """A case to begin from.

    Args:
        needs: what of `protocol.policy.OPTIONS` it is nothing without.
        entered: fields of a draft (`officers.desk.drafts`).
        why_not: why it cannot be asked for; None if it can.
    """

    name: str
    label: Phrase
    words: Phrase
    needs: tuple[str, ...] = ()
    entered: Mapping[str, Any] = field(default_factory=dict)
    why_not: Phrase | None = None


def usual_cases(policy: Policy) -> tuple[UsualCase, ...]:
    """Return the usual cases; of what the policy forbids is said that it does."""
    held = offers(policy)

    def permitted(name: str) -> bool:
        return held[name].why_not is None

    near = NEAR_CONTACTS if permitted(NEAR_CONTACTS) else NO_CONTACTS
    linked = LINKED_CONTACTS if permitted(LINKED_CONTACTS) else near
    stills = {"stills": str(min(_MOST_STILLS, held[STILLS].most))} if permitted(STILLS) else {}
    cases = (
        UsualCase(
            "infectious",
            phrase("Where was the patient in the infectious days?"),
            phrase("The days come from the case file if there is one; contacts are told."),
            entered={"contacts": near, **stills},
        ),
        UsualCase(
            "contacts",
            phrase("Whom did the patient meet?"),
            phrase("Contacts, and which of those who were near several times are one person."),
            needs=(LINKED_CONTACTS,),
            entered={"contacts": linked, **stills},
        ),
        UsualCase(
            "live",
            phrase("Tell me at once when the patient is seen"),
            phrase("Watches from now on. Choose as few cameras as will do."),
            needs=(LIVE,),
            entered={"contacts": NO_CONTACTS, "live": True, **stills},
        ),
        UsualCase(
            "follow",
            phrase("Which way did the patient go?"),
            phrase("From a sighting that you confirm, people dressed alike are listed."),
            needs=(CONTINUATION,),
            entered={"contacts": NO_CONTACTS, "continuation": True, **stills},
        ),
        UsualCase(
            "afterwards",
            phrase("How many came after the patient?"),
            phrase("Numbers of people for three hours after a confirmed sighting: not who."),
            needs=(COUNTS,),
            entered={"contacts": NO_CONTACTS, "counts": "after", "afterwards": "3h"},
        ),
        UsualCase("", phrase("Something else"), phrase("Nothing is chosen beforehand.")),
    )
    return tuple(
        UsualCase(
            one.name, one.label, one.words, one.needs, one.entered,
            next((held[name].why_not for name in one.needs if not permitted(name)), None),
        )
        for one in cases
    )  # fmt: skip


def entered_by(policy: Policy, name: str, *, now: datetime) -> dict[str, Any]:
    """Return what a draft of a usual case begins with; nothing for a name that there is none of.

    Args:
        now: the present, in the site's zone: a live watch begins with it.
    """
    for one in usual_cases(policy):
        if one.name != name or one.why_not is not None:
            continue
        entered = {"case": name, **one.entered}
        if one.entered.get("live"):
            starts = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
            ends = starts + timedelta(hours=min(_LIVE_HOURS, policy.max_live_hours))
            entered |= {
                "from_day": f"{starts:%Y-%m-%d}",
                "from_time": f"{starts:%H:%M}",
                "to_day": f"{ends:%Y-%m-%d}",
                "to_time": f"{ends:%H:%M}",
            }
        return entered
    return {}
