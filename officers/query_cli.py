"""`sealtrace query`: ask for a trace, approve or withdraw, and see where queries stand.

What is shown before a signature comes from the signed query, verified here against the site's
directory and policy; the aggregator's word is used only for how far a query has got.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from officers import drafting, revocation
from officers import query_steps as steps
from officers.api_client import QuerySummary
from officers.casework import objection
from officers.drafting import Request
from officers.moments import to_milliseconds
from officers.officer import Officer
from officers.query_text import (
    case_json,
    estimate_facts,
    policy_facts,
    queries_table,
    query_facts,
    state_text,
)
from officers.session import COMPLETE, ENDED, STANDING, CaseId, open_session
from protocol.authorization import check_policy
from protocol.directory import APPROVER, INVESTIGATOR
from protocol.keytree import APPEARANCE, FACE
from protocol.policy import CONSENT, LEGAL_BASES
from protocol.query import Approval
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.officer import OfficerFile, PassphraseFile
from runtime.terminal import note, reported, say, show_table

app = typer.Typer(
    name="query",
    no_args_is_help=True,
    help="Ask for a trace, approve or revoke queries, and see where they stand.",
)
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Sign without asking.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SubjectFiles = Annotated[
    list[Path],
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
)
def file(
    *,
    subject: SubjectFiles,
    camera: Annotated[
        list[str] | None, typer.Option(help="A camera to look at; may be given several times.")
    ] = None,
    all_cameras: Annotated[
        bool, typer.Option("--all-cameras", help="Look at every camera of the site.")
    ] = False,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="TIME",
            help="2031-05-04T10:00+02:00, 'today 10:00' (local), now, -2h, +30m.",
        ),
    ],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="As --from; may lie ahead.")],
    live: Annotated[
        bool, typer.Option("--live", help="Open the running quarter hour too, while it runs.")
    ] = False,
    purpose: Annotated[str, typer.Option(help="Why, in words that approvers and auditors read.")],
    legal_basis: Annotated[
        str, typer.Option(help=f"{' or '.join(sorted(LEGAL_BASES))}.")
    ] = CONSENT,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to compare: {FACE} or {APPEARANCE}; may be given twice. Default: all that "
            "the subject files hold and the legal basis permits."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Score from which a sighting is a candidate."),
    ] = None,
    no_contacts: Annotated[
        bool, typer.Option("--no-contacts", help="Do not ask who was near.")
    ] = False,
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
    """
    with open_session(officer, passphrase_file) as session:
        me = session.officer
        me.require(INVESTIGATOR)
        policy = me.policy
        now = datetime.now(UTC)
        from_ms, to_ms = steps.window_of(start, end, now)
        cameras = drafting.cameras_of(me.directory, camera or [], every=all_cameras)
        if all_cameras and (left_out := drafting.cameras_left_out(me.directory)):
            note(
                f"left out, because their boxes are revoked: {', '.join(left_out)}; for what they "
                "saw before, name them with --camera"
            )
        with drafting.opened_subjects(subject, me.sealing()) as subjects:
            modalities = drafting.modalities_of(
                subjects, modality or [], legal_basis=legal_basis, policy=policy
            )
            drafting.check_one_person_each(subjects, modalities, me.config)
            models = drafting.models_of(subjects, modalities)
            asked = dict.fromkeys(models, threshold) if threshold is not None else {}
            estimate = session.client.estimate(cameras, from_ms, to_ms, asked)
            thresholds = drafting.thresholds_for(
                models,
                threshold,
                defaults=estimate.default_thresholds,
                floors=policy.threshold_floor,
                config=me.config,
            )
            count = sum(len(s.of(modalities)) for s in subjects)
            estimate = session.client.estimate(cameras, from_ms, to_ms, thresholds, templates=count)
            request = Request(
                cameras=cameras,
                window_from_ms=from_ms,
                window_to_ms=to_ms,
                purpose=purpose,
                legal_basis=legal_basis,
                modalities=modalities,
                thresholds=thresholds,
                live=live,
                contacts=not no_contacts,
                max_candidates=max_candidates,
                valid_days=valid_days,
            )
            query = drafting.draft(
                request,
                subjects,
                policy=policy,
                expected_false=steps.stated_false(estimate, count),
                now_ms=to_milliseconds(now),
            )
            check_policy(query, policy, now_ms=to_milliseconds(now))
            steps.show_facts(
                [
                    *query_facts(query, me.name, policy),
                    *estimate_facts(query, estimate, now_ms=system_ms()),
                    *policy_facts(query, policy, ""),
                ],
                quiet=as_json,
            )
            steps.confirm(f"Sign and file this query as {me.name}?", yes=yes)
            summary = steps.file_query(session, query, subjects)
    if as_json:
        say(json.dumps(summary.model_dump(mode="json"), indent=2))
        return
    approvers = ", ".join(p.name for p in me.directory.with_duty(APPROVER) if p.name != me.name)
    say(f"\nfiled: {summary.id}")
    say(
        f"It needs {summary.approvals_needed} approvals before anything opens. Approvers "
        f"({approvers or 'the site has none'}) run:\n  sealtrace query approve {summary.id}\n"
        f"Follow it with:\n  sealtrace query wait {summary.id}\n"
        f"  sealtrace trace show {summary.id}"
    )


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
    with open_session(officer, passphrase_file) as session:
        case = session.case(session.full_id(query_id))
        summary = session.summary(case)
        refusal = objection(case, session.officer.policy, now_ms=system_ms())
        if as_json:
            body = {"query": case_json(case, refusal), "status": summary.model_dump(mode="json")}
            say(json.dumps(body, indent=2))
            return
        steps.show_facts(steps.case_facts(session, case, summary, refusal))


@app.command(epilog="Example:  sealtrace query approve 3f2a91")
def approve(
    query_id: CaseId,
    *,
    yes: Yes = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show what a query would open, then sign your approval. Nobody approves their own."""
    with open_session(officer, passphrase_file) as session:
        me = session.officer
        me.require(APPROVER)
        case = session.case(session.full_id(query_id))
        if case.requester == me.name:
            raise OperationError(
                "this is your own query, and nobody approves their own; ask another approver"
            )
        summary = session.summary(case)
        refusal = objection(case, me.policy, now_ms=system_ms())
        steps.show_facts(steps.case_facts(session, case, summary, refusal))
        if refusal:
            raise OperationError(f"an approval would count for nothing: {refusal}")
        if summary.state in ENDED:
            raise OperationError(f"the query has ended ({state_text(summary)}); nothing to approve")
        if me.name in {approval.approver for approval in summary.approvals}:
            say(f"\nyou have approved it already: {steps.approvals_text(summary)}")
            return
        steps.confirm(f"Approve this query as {me.name}?", yes=yes)
        approval = Approval(case.digest, me.policy.digest, system_ms()).sign(me.identity())
        me.keep_query(case.query.query_id, case.signed)
        summary = session.client.approve(case.id, approval.to_bytes())
        say(f"\napproved: {steps.approvals_text(summary)}")
        say(f"Take it back at any time with:\n  sealtrace query revoke {case.id} --reason 'WHY'")


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
        revocation.check_reason(reason)
        me = Officer.load(officer, passphrase_file)
        found = revocation.find(me, query_id)
        role = "the query" if found.case.requester == me.name else "your approval"
        steps.confirm(f"Withdraw {role} ({found.case.id[:12]}) as {me.name}, for good?", yes=yes)
        outcome = revocation.withdraw(me, found, reason, now_ms=system_ms())
        for delivery in outcome.deliveries:
            mark = "✗" if delivery.problem else "✓"
            say(f"  {mark} {delivery.name}: {delivery.problem or 'has the withdrawal'}")
        if outcome.closed:
            say(revocation.effect(me, found))
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
    with open_session(officer, passphrase_file) as session:
        listed = [one for one in session.client.queries() if state in {None, one.state}]
        if as_json:
            say(json.dumps([one.model_dump(mode="json") for one in listed], indent=2))
        elif listed:
            show_table(queries_table(listed))
        else:
            say(f"no queries{f' in state {state}' if state else ''}")


@app.command(epilog="Example:  sealtrace query resume 3f2a91 --subject patient-17.subject")
def resume(
    query_id: CaseId,
    *,
    subject: SubjectFiles,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Seal the subjects' templates anew for a query whose matcher key is lost or never came.

    The aggregator keeps that key in memory only and forgets it when it restarts. Approvals stand.
    """
    with open_session(officer, passphrase_file) as session:
        me = session.officer
        case = steps.own_case(session, query_id)
        with drafting.opened_subjects(subject, me.sealing()) as subjects:
            summary = steps.send_templates(session, case, subjects)
        say(f"resumed: {summary.id}, {state_text(summary)}, {steps.approvals_text(summary)}")


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
    with open_session(officer, passphrase_file) as session:

        def done(summary: QuerySummary) -> bool:
            if summary.state in ENDED:
                return True
            if candidates is not None:
                return summary.candidates >= candidates
            return summary.state == STANDING

        summary, in_time = session.wait(session.full_id(query_id), done, timeout_s=timeout)
        say(f"{summary.id}: {state_text(summary)}, {summary.candidates} candidates")
        enough = candidates is None or summary.candidates >= candidates
        good = summary.state in {COMPLETE, STANDING} or candidates is not None
        if not in_time:
            raise OperationError(f"not reached within {timeout:g} s; wait again, or see why above")
        if not (enough and good):
            raise OperationError("the query has ended without that")
