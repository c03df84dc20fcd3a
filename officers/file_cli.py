"""`sealtrace query file`: ask for a trace: what it would open is shown, then it is signed."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from officers import desk
from officers.desk.infectious import infectious_days
from officers.keyboard import AsJson, Keyring, Yes, at_desk, confirm, show_facts
from officers.places_cli import AreaFile, CameraNames, PlaceNames
from protocol.keytree import APPEARANCE, FACE
from protocol.policy import CONSENT, LEGAL_BASES
from protocol.query import Asked
from runtime.errors import OperationError
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.subject_files import hash_document
from runtime.terminal import note, say

EXAMPLES = (
    "Examples:  sealtrace query file --subject patient-17.subject --camera cam-1 --camera "
    "cam-2 --from 'yesterday 14:00' --to 'yesterday 18:00' --purpose 'patient 17, measles' "
    "--legal-basis consent   |   sealtrace query file --subject patient-17.subject --all-cameras "
    "--from -2h --to +6h --live --purpose 'patient 17 left the ward' --legal-basis consent"
    "   |   sealtrace query file --example-of 3f2a91:2 --modality appearance --camera cam-1 "
    "--camera cam-2 --from -3h --to now --purpose 'where they went' "
    "--legal-basis statutory-order --reference 'order 12/31'"
)
SubjectFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--subject",
        metavar="FILE",
        help="A subject file made by `sealtrace subject enrol`; may be given several times.",
    ),
]


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
    consent_document: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Without --subject: the document of consent or the order; its hash goes into the "
            "query. Default: the candidate's.",
        ),
    ] = None,
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
    evidence_stills: Annotated[
        int,
        typer.Option(
            min=0,
            max=10_000,
            metavar="N",
            help="Ask for stills of up to N sightings: a small picture of that person, everybody "
            "else pixelated, shown to who confirms hits. The policy must permit it; a line of its "
            "own for approvers.",
        ),
    ] = 0,
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
                document=b"" if consent_document is None else hash_document(consent_document),
            ),
        )
        with closing(desk.draft(session, request, sealing)) as draft:
            show_facts(draft.facts, quiet=as_json)
            confirm(f"Sign and file this query as {session.officer.name}?", yes=yes)
            signed = desk.to_file(session, draft).by_key(keys.identity())
            try:
                summary = desk.file(session, draft, signed)
            except KeyboardInterrupt:
                note(
                    f"stopped while it was filed: whether headquarters have taken it is not known. "
                    f"`sealtrace query list` shows it as {draft.query.query_id.hex()[:12]} if they "
                    "have; then go on with `sealtrace query resume` and its subject files, or take "
                    "it back with `sealtrace query revoke`. If not, file it again"
                )
                raise typer.Exit(130) from None
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
