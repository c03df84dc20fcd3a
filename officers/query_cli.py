"""`sealtrace query`: ask for a trace, approve or withdraw, and see where queries stand.

What is shown before a signature comes from the signed query, verified here against the site's
directory and policy; the aggregator's word is used only for how far a query has got.
"""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from officers import desk
from officers.desk.facts import approvals_text, case_json, state_text
from officers.desk.infectious import infectious_days
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
from officers.places_cli import EXAMPLES, AreaFile, CameraNames, PlaceNames, places
from officers.query_text import queries_table
from protocol.keytree import APPEARANCE, FACE
from protocol.policy import CONSENT, LEGAL_BASES
from protocol.query import Asked
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.policy_words import policy_json
from runtime.terminal import note, reported, say, show_table
from runtime.text import counted

app = typer.Typer(
    name="query",
    no_args_is_help=True,
    help="Ask for a trace, approve or revoke queries, and see where they stand.",
)
SubjectFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--subject",
        metavar="FILE",
        help="A subject file made by `sealtrace subject enrol`; may be given several times.",
    ),
]


@app.command(
    epilog="Examples:  sealtrace query file --subject patient-17.subject --camera cam-1 --camera "
    "cam-2 --from 'yesterday 14:00' --to 'yesterday 18:00' --purpose 'patient 17, measles' "
    "--legal-basis consent   |   sealtrace query file --subject patient-17.subject --all-cameras "
    "--from -2h --to +6h --live --purpose 'patient 17 left the ward' --legal-basis consent"
    "   |   sealtrace query file --example-of 3f2a91:2 --modality appearance --camera cam-1 "
    "--camera cam-2 --from -3h --to now --purpose 'where they went' "
    "--legal-basis statutory-order --reference 'order 12/31'"
)
def file(
    *,
    subject: SubjectFiles = None,
    example: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIGHTING",
            help="An earlier sighting to look for in place of photographs, or besides: "
            "BOX/CAMERA/QUARTER-HOUR/GENERATION/ID; may be given several times, of one subject.",
        ),
    ] = None,
    example_of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:NUMBER",
            help="The same, as a candidate of a query whose results you read.",
        ),
    ] = None,
    pseudonym: Annotated[
        str,
        typer.Option(
            help="Without --subject: under which pseudonym the example is looked for. Default: "
            "the candidate's."
        ),
    ] = "",
    reference: Annotated[
        str,
        typer.Option(
            help="Without --subject: the consent or the order that it stands on. Default: the "
            "candidate's."
        ),
    ] = "",
    camera: CameraNames = None,
    place: PlaceNames = None,
    area: AreaFile = None,
    all_cameras: Annotated[
        bool, typer.Option("--all-cameras", help="Look at every camera of the site.")
    ] = False,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="TIME",
            help="'2031-05-04 10:00' (the site's time zone), 2031-05-04T10:00+02:00, 'today "
            "10:00', now, -2h, +30m.",
        ),
    ] = "",
    end: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TIME",
            help="As --from; may lie ahead. Without --live, now is the end of the last quarter "
            "hour that is over.",
        ),
    ] = "",
    infectious: Annotated[
        str,
        typer.Option(
            metavar="PSEUDONYM",
            help="In place of --from and --to: the days on which this case was infectious, by its "
            "case file (`sealtrace subject case`).",
        ),
    ] = "",
    live: Annotated[
        bool, typer.Option("--live", help="Open the running quarter hour too, while it runs.")
    ] = False,
    purpose: Annotated[str, typer.Option(help="Why, in words that approvers and auditors read.")],
    purpose_kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Which of the policy's purposes it serves. Default: the only one, if it has one.",
        ),
    ] = "",
    legal_basis: Annotated[
        str, typer.Option(help=f"{' or '.join(sorted(LEGAL_BASES))}.")
    ] = CONSENT,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to compare: {FACE} or {APPEARANCE}; may be given twice. Default: what the "
            f"subject files hold and the legal basis permits; {APPEARANCE} only if nothing else."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Score from which a sighting is a candidate."),
    ] = None,
    contacts: Annotated[
        str,
        typer.Option(
            metavar="none|near|linked",
            help="What to ask of who was near: nothing; how long and how far; or which of those "
            "near at several cameras is one person too, as a number: faces are compared. One "
            "approval more. Default: near, if the policy permits it.",
        ),
    ] = "",
    no_contacts: Annotated[
        bool, typer.Option("--no-contacts", help="The same as --contacts none.")
    ] = False,
    continuation: Annotated[
        bool,
        typer.Option(
            "--continuation",
            help="Follow whom you confirm by their clothes, minutes before and after, over these "
            "cameras: a list of people dressed alike. One approval more.",
        ),
    ] = False,
    same_place_counts: Annotated[
        bool,
        typer.Option(
            "--same-place-counts",
            help="Ask how many people were at each camera, and how many masked: numbers, not who, "
            "and none below five. One approval more.",
        ),
    ] = False,
    afterwards: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="As --same-place-counts, but only from when you have confirmed that the subject "
            "was there until so long afterwards: 3h, 45m. Let --to reach so far.",
        ),
    ] = "",
    evidence_stills: Annotated[int, typer.Option(min=0, max=10_000, hidden=True)] = 0,
    confirmer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="An investigator who reads the results too and confirms hits with you; may be "
            "given several times. Needed where the policy has several confirm each hit.",
        ),
    ] = None,
    max_candidates: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Most candidates to keep. Default: 100.")
    ] = None,
    valid_days: Annotated[
        int | None, typer.Option(min=1, max=60, help="Days until the query expires. Default: 7.")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """File a subject query: who, which cameras, when, how, why.

    Shows what would be opened, how many sightings are in scope and how many would match by chance,
    before you sign. Nothing is opened until the approvers that the policy asks for have signed.
    The sheet beside a subject file goes along where a second officer has signed it as witness.
    """
    with at_desk(officer, passphrase_file) as (session, keys):
        now = datetime.now(UTC)
        start, end = _window(session, keys, start, end, infectious=infectious, now=now)
        asked = desk.window(session.officer, start, end, now=now, live=live, tell=session.tell)
        asks_contacts, linked = desk.contacts_asked(contacts, none=no_contacts)
        after_min = desk.afterwards_minutes(afterwards)
        counts = same_place_counts or after_min > 0
        scope = desk.scope(
            session,
            camera or [],
            asked.starts,
            asked.ends,
            every=all_cameras,
            places=place or [],
            area=area,
        )
        sealing = keys.sealing()
        request = desk.Request(
            scope=scope,
            subjects=tuple(subject or ()),
            purpose=purpose,
            legal_basis=legal_basis,
            modalities=tuple(modality or ()),
            threshold=threshold,
            live=live,
            contacts=asks_contacts,
            max_candidates=max_candidates,
            valid_days=valid_days,
            purpose_kind=purpose_kind,
            confirmers=tuple(confirmer or ()),
            asks=Asked(linked, continuation, counts, evidence_stills, after_min),
            shown=desk.shown_by(
                session,
                example or [],
                example_of or [],
                sealing,
                pseudonym=pseudonym,
                reference=reference,
            ),
        )
        with closing(desk.draft(session, request, sealing)) as draft:
            show_facts(draft.facts, quiet=as_json)
            confirm(f"Sign and file this query as {session.officer.name}?", yes=yes)
            summary = desk.file(session, draft, keys.identity())
    if as_json:
        say(json.dumps(summary.model_dump(mode="json"), indent=2))
        return
    say(f"\nfiled: {summary.id}")
    say(
        f"It needs {summary.approvals_needed} approvals before anything opens. Approvers "
        f"({', '.join(draft.approvers) or 'the site has none'}) run:\n"
        f"  sealtrace query approve {summary.id}\n"
        f"Follow it with:\n  sealtrace query wait {summary.id}\n"
        f"  sealtrace trace show {summary.id}"
    )


def _window(
    session: desk.Session, keys: Keyring, start: str, end: str, *, infectious: str, now: datetime
) -> tuple[str, str]:
    """Return from when to when to ask, as given or by a case file.

    Raises:
        OperationError: neither is said, or both are.
    """
    if infectious and not (start or end):
        starts, ends = infectious_days(
            session.officer, infectious, keys.sealing(), now=now, tell=session.tell
        )
        return starts.isoformat(), ends.isoformat()
    if infectious or not (start and end):
        raise OperationError(
            "say which days: with --from and --to, or with --infectious PSEUDONYM by a case file"
        )
    return start, end


@app.command(
    epilog="Examples:  sealtrace query show 3f2a91   |   sealtrace query show 3f2a91 --json"
)
def show(
    query_id: CaseId,
    *,
    as_json: AsJson = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show what a query would open, from the query as it was signed, and where it stands."""
    with at_desk(officer, passphrase_file) as (session, _):
        view = desk.look(session, query_id)
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
        summary = desk.approve(session, review, keys.identity())
        say(f"\napproved: {approvals_text(summary)}")
        say(f"Take it back at any time with:\n  sealtrace query revoke {summary.id} --reason 'WHY'")


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
        desk.check_reason(reason)
        me = desk.Officer.load(officer)
        found = desk.find_withdrawable(me, query_id, tell)
        role = "the query" if found.own else "your approval"
        confirm(f"Withdraw {role} ({found.case.id[:12]}) as {me.name}, for good?", yes=yes)
        key = Keyring(me, passphrase_file).identity()
        outcome = desk.withdraw(me, found, reason, key)
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
