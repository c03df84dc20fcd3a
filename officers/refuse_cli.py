"""`sealtrace query refuse`: an approver's signed no to a query, with the reason."""

from __future__ import annotations

from typing import Annotated

import typer

from officers import desk
from officers.desk.facts import state_text
from officers.keyboard import CaseId, Yes, at_desk, confirm, show_facts
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.terminal import say

EXAMPLES = "Example:  sealtrace query refuse 3f2a91 --reason 'four hours are more than you need'"


def refuse(
    query_id: CaseId,
    *,
    reason: Annotated[
        str, typer.Option(help="Why, for who asked, the other approvers and the auditors.")
    ],
    yes: Yes = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show what a query would open, then sign that you do not approve it. You may still, later.

    Other approvers can approve it all the same. When too few are left who can, it is refused.
    """
    with at_desk(officer, passphrase_file) as (session, keys):
        desk.reason_of(reason)
        review = desk.review(session, query_id)
        show_facts(review.facts)
        desk.check_refusable(session, review)
        confirm(f"Refuse this query as {session.officer.name}?", yes=yes)
        signed = desk.to_refuse(session, review, reason).by_key(keys.identity())
        summary = desk.refuse(session, review, signed)
        say(f"\nrefused: {summary.id} is {state_text(summary)}")
        say(f"If you come to another mind:\n  sealtrace query approve {summary.id}")
