"""`sealtrace query`: ask for a trace, approve or withdraw, and see where queries stand.

What is shown before a signature comes from the signed query, verified here against the site's
directory and policy; the aggregator's word is used only for how far a query has got.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from officers import desk
from officers.desk.case_json import case_json
from officers.desk.consent_documents import MAX_DOCUMENT_BYTES, hold_against, named_documents
from officers.desk.facts import approvals_text, state_text
from officers.file_cli import EXAMPLES as FILING
from officers.file_cli import SubjectFiles, file
from officers.keyboard import (
    AsJson,
    CaseId,
    Keyring,
    Yes,
    at_desk,
    confirm,
    show_facts,
    tell,
    waiting,
)
from officers.places_cli import EXAMPLES, places
from officers.query_text import queries_table
from officers.refuse_cli import EXAMPLES as REFUSALS
from officers.refuse_cli import refuse
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.policy_words import policy_json
from runtime.terminal import note, reported, say, show_table
from runtime.text import counted

app = typer.Typer(
    name="query",
    no_args_is_help=True,
    help="Ask for a trace, approve or revoke queries, and see where they stand.",
)
app.command(epilog=FILING)(file)


@app.command(
    epilog="Examples:  sealtrace query show 3f2a91   |   sealtrace query show 3f2a91 --json   |   "
    "sealtrace query show 3f2a91 --consent-document form.pdf"
)
def show(
    query_id: CaseId,
    *,
    consent_document: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Hold this document against the query: whether it is the one that it rests on.",
        ),
    ] = None,
    as_json: AsJson = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show what a query would open, from the query as it was signed, and where it stands."""
    with at_desk(officer, passphrase_file) as (session, _):
        view = desk.look(session, query_id)
        if consent_document is not None:
            held = read_file(consent_document, MAX_DOCUMENT_BYTES)
            named = named_documents(
                view.case.query, view.case.requester, session.officer.directory, now_ms=system_ms()
            )
            subjects = ", ".join(one.pseudonym for one in hold_against(named, held))
            note(f"{consent_document} is the document on which the query looks for {subjects}")
        if as_json:
            body = {
                "query": case_json(
                    view.case, view.objection, session.officer.directory, now_ms=system_ms()
                ),
                "policy": policy_json(session.officer.policy),
                "status": view.summary.model_dump(mode="json"),
            }
            say(json.dumps(body, indent=2))
            return
        show_facts(desk.facts_of(session, view))


@app.command(epilog="Example:  sealtrace query approve 3f2a91")
def approve(
    query_id: CaseId,
    *,
    yes: Yes = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show what a query would open, then sign your approval. Nobody approves their own."""
    with at_desk(officer, passphrase_file) as (session, keys):
        review = desk.review(session, query_id)
        show_facts(review.facts)
        desk.check_useful(review)
        if review.given:
            say(f"\nyou have approved it already: {approvals_text(review.view.summary)}")
            return
        confirm(f"Approve this query as {session.officer.name}?", yes=yes)
        signed = desk.to_approve(session, review).by_key(keys.identity())
        summary = desk.approve(session, review, signed)
        say(f"\napproved: {approvals_text(summary)}")
        say(f"Take it back at any time with:\n  sealtrace query revoke {summary.id} --reason 'WHY'")


app.command(epilog=REFUSALS)(refuse)


@app.command(epilog="Example:  sealtrace query revoke 3f2a91 --reason 'the consent was taken back'")
def revoke(
    query_id: CaseId,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the auditors.")],
    yes: Yes = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Withdraw your approval, or the query that you asked for. For good.

    Goes to every custodian directly, so that it holds whatever the aggregator does.
    """
    with reported():
        desk.reason_of(reason)
        me = desk.Officer.load(officer)
        found = desk.find_withdrawable(me, query_id, tell)
        role = "the query" if found.own else "your approval"
        confirm(f"Withdraw {role} ({found.case.id[:12]}) as {me.name}, for good?", yes=yes)
        key = Keyring(me, passphrase_file).identity()
        outcome = desk.withdraw(me, found, desk.to_withdraw(me, found, reason).by_key(key))
        for delivery in outcome.deliveries:
            mark = "✗" if delivery.problem else "✓"
            say(f"  {mark} {delivery.name}: {delivery.problem or 'has the withdrawal'}")
        if outcome.closed:
            say(outcome.effect)
        if outcome.missed:
            raise OperationError(
                f"{', '.join(outcome.missed)} could not be told; run the same command again "
                "until all have it"
            )


@app.command(
    "list", epilog="Examples:  sealtrace query list   |   sealtrace query list --state standing"
)
def list_queries(
    *,
    state: Annotated[
        str | None, typer.Option(help="Only queries in this state, such as standing or complete.")
    ] = None,
    as_json: AsJson = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """List the site's queries, newest first, as the aggregator tells them."""
    with at_desk(officer, passphrase_file) as (session, _):
        listed = session.queries(state)
        if as_json:
            say(json.dumps([one.model_dump(mode="json") for one in listed], indent=2))
        elif listed:
            show_table(queries_table(listed))
        else:
            say(f"no queries{f' in state {state}' if state else ''}")


app.command(epilog=EXAMPLES)(places)


@app.command(epilog="Example:  sealtrace query resume 3f2a91 --subject patient-17.subject")
def resume(
    query_id: CaseId,
    *,
    subject: SubjectFiles = None,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Seal the subjects' templates anew for a query whose matcher key is lost or never came.

    The aggregator keeps that key in memory only and forgets it when it restarts. Approvals stand.
    """
    with at_desk(officer, passphrase_file) as (session, keys):
        case = desk.own_case(session, query_id)
        summary = desk.resume(session, case, subject or (), keys.sealing())
        say(f"resumed: {summary.id}, {state_text(summary)}, {approvals_text(summary)}")


@app.command(
    epilog="Examples:  sealtrace query wait 3f2a91   |   "
    "sealtrace query wait 3f2a91 --candidates 1 --timeout 60"
)
def wait(
    query_id: CaseId,
    *,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Give up after so long.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=1, help="Return as soon as so many are found.")
    ] = None,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Wait until a query is complete, or runs and stands by for what is still to come.

    Exit code 0 if that (or --candidates) came true, 1 if it ended otherwise or time ran out.
    """
    with at_desk(officer, passphrase_file) as (session, _):
        waited = desk.wait(
            session,
            session.full_id(query_id),
            desk.settled(candidates),
            timeout_s=timeout,
            progress=waiting,
        )
        summary = waited.summary
        say(f"{summary.id}: {state_text(summary)}, {counted(summary.candidates, 'candidate')}")
        if not summary.candidates:
            closed = desk.closed_text(summary.query, now_ms=system_ms())
            if closed is not None:
                note(closed)
        if not waited.in_time:
            raise OperationError(f"not reached within {timeout:g} s; wait again, or see why above")
        if not desk.well_settled(summary, candidates):
            raise OperationError("the query has ended without that")
