"""What a query says from its second form on: the policy's purpose that it serves, its options."""

from __future__ import annotations

import re
from collections.abc import Sequence

from officers.desk.notices import Notice
from officers.desk.option_labels import (
    AFTERWARDS,
    CONFIRMER,
    NOBODY_NEAR,
    PURPOSE,
    PURPOSE_KIND,
    WHO_WAS_NEAR,
)
from officers.desk.phrases import listed, phrase
from officers.desk.subjects import DraftInvalid
from protocol.directory import INVESTIGATOR, Directory
from protocol.keytree import NEEDS_CONSENT
from protocol.policy import CONTACTS, LINKED_CONTACTS, NO_CONTACTS, Policy
from protocol.query import MAX_AFTERWARDS_MIN, SLOT_MIN, Asked

FIRST_FORM, SECOND_FORM = 1, 2
_MINUTES = {"m": 1, "h": 60}


def form_of(policy: Policy) -> int:
    """Return the version of the queries that are written under a policy."""
    return SECOND_FORM if policy.schema > 1 else FIRST_FORM


def purpose_kind_of(asked: str, policy: Policy) -> str:
    """Return which of the policy's purposes a query serves; the only one need not be named.

    Args:
        asked: one of them, or empty.
        policy: whose list it is; of the first schema it has none, and neither has a query.

    Raises:
        DraftInvalid: it is none of them, or has to be chosen.
    """
    if policy.purposes is None:
        if asked:
            raise DraftInvalid(
                phrase(
                    "{purpose_kind_field}: the policy has no list of purposes; leave it out, and "
                    "say why in {purpose_field}",
                    purpose_kind_field=PURPOSE_KIND,
                    purpose_field=PURPOSE,
                )
            )
        return ""
    listed = sorted(policy.purposes)
    if not listed:
        raise DraftInvalid(
            phrase(
                "the policy lists no purposes, so it permits no query: have the site's authority "
                "name some (`purposes` in policy.toml), and sign that with `sealtrace site policy`"
            )
        )
    choice = phrase(
        "{purpose_kind_field} takes one of the policy's purposes: {listed}",
        purpose_kind_field=PURPOSE_KIND,
        listed=", ".join(listed),
    )
    if asked:
        if asked not in policy.purposes:
            raise DraftInvalid(
                phrase(
                    "the policy knows no purpose {asked!r}; {choice}",
                    asked=asked,
                    choice=choice,
                )
            )
        return asked
    if len(listed) > 1:
        raise DraftInvalid(
            phrase(
                "say which purpose the query serves: {choice}",
                choice=choice,
            )
        )
    return listed[0]


def contacts_asked(word: str, *, none: bool = False) -> tuple[bool | None, bool]:
    """Return whether contacts are asked for, and whether they are to be linked.

    Args:
        word: one of `CONTACTS`, or empty: then who was near is asked for if the policy permits it.
        none: the older way to say that none are.

    Raises:
        DraftInvalid: it is another word, or contradicts the older way.
    """
    if none and word not in {"", NO_CONTACTS}:
        raise DraftInvalid(
            phrase(
                "{no_contacts_field} and {contacts_field} {word} contradict each other: give one",
                no_contacts_field=NOBODY_NEAR,
                contacts_field=WHO_WAS_NEAR,
                word=word,
            )
        )
    word = NO_CONTACTS if none else word
    if not word:
        return None, False
    if word not in CONTACTS:
        raise DraftInvalid(
            phrase(
                "{contacts_field} takes {words}",
                contacts_field=WHO_WAS_NEAR,
                words=listed(CONTACTS, "or"),
            )
        )
    return word != NO_CONTACTS, word == LINKED_CONTACTS


def afterwards_minutes(text: str) -> int:
    """Return for how many minutes after a confirmed subject it is counted who came; 0 if empty.

    Args:
        text: such as 3h or 90m.

    Raises:
        DraftInvalid: it is no such time, of whole quarter hours, of at most a day.
    """
    if not text:
        return 0
    read = re.fullmatch(r"([0-9]{1,4})([mh])", text)
    minutes = int(read[1]) * _MINUTES[read[2]] if read else 0
    if not 0 < minutes <= MAX_AFTERWARDS_MIN or minutes % SLOT_MIN:
        raise DraftInvalid(
            phrase(
                "{afterwards_field} takes whole quarter hours, such as 45m or 3h, of at most "
                "{max_afterwards_min}h; not {text!r}",
                afterwards_field=AFTERWARDS,
                max_afterwards_min=MAX_AFTERWARDS_MIN // 60,
                text=text,
            )
        )
    return minutes


def linking_notices(asks: Asked, modalities: Sequence[str]) -> list[Notice]:
    """Warn where a query asks for linked contacts and opens no faces, by which they are linked."""
    if not asks.linked_contacts or not NEEDS_CONSENT.isdisjoint(modalities):
        return []
    words = phrase(
        "the query asks for linked contacts and opens no face templates: clothes link nobody "
        "with any network that was measured, so each contact will count as a person of their "
        "own"
    )
    return [Notice(words, warning=True)]


def check_confirmers(
    confirmers: Sequence[str], policy: Policy, *, requester: str, directory: Directory
) -> None:
    """Check that enough officers confirm hits, and that each named can.

    Raises:
        DraftInvalid: it says whom to name.
    """
    others = [one.name for one in directory.with_duty(INVESTIGATOR) if one.name != requester]
    able = phrase(
        "{confirmer_field} takes other investigators of the site: {others}",
        confirmer_field=CONFIRMER,
        others=", ".join(others) or phrase("it has none"),
    )
    if confirmers and policy.schema == 1:
        raise DraftInvalid(
            phrase(
                "the policy is of the first schema, under which nobody but the one who asks "
                "confirms hits: leave {confirmer_field} out, or have the site's authority run "
                "`sealtrace site policy upgrade`",
                confirmer_field=CONFIRMER,
            )
        )
    for name in confirmers:
        if name == requester:
            raise DraftInvalid(
                phrase(
                    "'{name}' asks: name other officers to confirm. {able}",
                    name=name,
                    able=able,
                )
            )
        if name not in others:
            raise DraftInvalid(
                phrase(
                    "'{name}' is no investigator of the site in force. {able}",
                    name=name,
                    able=able,
                )
            )
        if confirmers.count(name) > 1:
            raise DraftInvalid(
                phrase(
                    "'{name}' is named twice to confirm hits. {able}",
                    name=name,
                    able=able,
                )
            )
    missing = policy.confirmations - 1 - len(confirmers)
    if missing > 0:
        raise DraftInvalid(
            phrase(
                "the policy has {confirmations} officers confirm each hit, who asks among them: "
                "name {missing} more. {able}",
                confirmations=policy.confirmations,
                missing=missing,
                able=able,
            )
        )
