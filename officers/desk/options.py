"""What a query says from its second form on: which of the policy's purposes it serves, its options.

What a policy may permit and this version cannot do yet is refused here, before anything is signed.
"""

from __future__ import annotations

from collections.abc import Sequence

from officers.desk.subjects import DraftInvalid
from protocol.directory import INVESTIGATOR, Directory
from protocol.policy import Policy
from protocol.query import Asked

FIRST_FORM, SECOND_FORM = 1, 2


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
                "--purpose-kind: the policy has no list of purposes; leave it out, and say why in "
                "--purpose"
            )
        return ""
    listed = sorted(policy.purposes)
    if not listed:
        raise DraftInvalid(
            "the policy lists no purposes, so it permits no query: have the site's authority name "
            "some (`purposes` in policy.toml), and sign that with `sealtrace site policy`"
        )
    choice = f"--purpose-kind takes one of the policy's purposes: {', '.join(listed)}"
    if asked:
        if asked not in policy.purposes:
            raise DraftInvalid(f"the policy knows no purpose {asked!r}; {choice}")
        return asked
    if len(listed) > 1:
        raise DraftInvalid(f"say which purpose the query serves: {choice}")
    return listed[0]


def check_possible(asks: Asked) -> None:
    """Check that nothing is asked for that this version cannot do yet.

    Raises:
        DraftInvalid: something is; it says what.
    """
    wanted = {
        "--linked-contacts: this version cannot name those who were near": asks.linked_contacts,
        "--evidence-stills: this version keeps no pictures": asks.evidence_stills > 0,
    }
    for words, is_wanted in wanted.items():
        if is_wanted:
            raise DraftInvalid(f"{words} yet, whatever the policy permits; leave it out")


def check_confirmers(
    confirmers: Sequence[str], policy: Policy, *, requester: str, directory: Directory
) -> None:
    """Check that enough officers confirm hits, and that each named can.

    Raises:
        DraftInvalid: it says whom to name.
    """
    others = [one.name for one in directory.with_duty(INVESTIGATOR) if one.name != requester]
    able = (
        f"--confirmer takes other investigators of the site: {', '.join(others) or 'it has none'}"
    )
    if confirmers and policy.schema == 1:
        raise DraftInvalid(
            "the policy is of the first schema, under which nobody but the one who asks confirms "
            "hits: leave --confirmer out, or have the site's authority run `sealtrace site policy "
            "upgrade`"
        )
    for name in confirmers:
        if name == requester:
            raise DraftInvalid(f"'{name}' asks: name other officers to confirm. {able}")
        if name not in others:
            raise DraftInvalid(f"'{name}' is no investigator of the site in force. {able}")
        if confirmers.count(name) > 1:
            raise DraftInvalid(f"'{name}' is named twice to confirm hits. {able}")
    missing = policy.confirmations - 1 - len(confirmers)
    if missing > 0:
        raise DraftInvalid(
            f"the policy has {policy.confirmations} officers confirm each hit, who asks among "
            f"them: name {missing} more. {able}"
        )
