"""`sealtrace trace export`, `report`, `verify-report`: what a query found, handed over in files."""

from __future__ import annotations

import shlex
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from officers import desk
from officers.case_cli import Isolated, Onset, Preset, Tested
from officers.desk.case_files import parse_day
from officers.desk.export_forms import FORMATS
from officers.desk.graded import Said
from officers.desk.grading_rules import rules_of
from officers.desk.moments import local_text
from officers.desk.report.making import Paths, make_report
from officers.desk.report.plan import read_plan
from officers.desk.report.verifying import given_directory, signature_of, verify_file
from officers.desk.report.words import LANGUAGES
from officers.keyboard import CaseId, at_desk, show_facts, warn_of
from protocol import hpke
from protocol.places import Places
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.terminal import note, reported, say, warn
from runtime.text import counted

Format = StrEnum("Format", [(name, name) for name in FORMATS])  # type: ignore[misc]  # from FORMATS
_ABOUT = "; ".join(f"{name}: {form.about}" for name, form in FORMATS.items())
PlacesFile = Annotated[
    Path | None,
    typer.Option(
        "--places",
        metavar="FILE",
        help="Your copy of the site's register of places. Default: places.csv beside your "
        "officer.toml.",
    ),
]
Language = StrEnum("Language", [(name, name) for name in LANGUAGES])  # type: ignore[misc]  # from LANGUAGES
_ENGLISH = Language("en")
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


def register(app: typer.Typer) -> None:
    """Put the commands among those of `sealtrace trace`."""
    app.command(
        epilog="Examples:  sealtrace trace export 3f2a91 --format csv-persons --out contacts.csv   "
        "|   sealtrace trace export 3f2a91 --format fhir --out bundle.json   |   "
        "sealtrace trace export 3f2a91 --format geojson --cameras positions.csv --out trace.geojson"
    )(export)
    app.command(
        epilog="Examples:  sealtrace trace report 3f2a91 --out report   |   "
        "sealtrace trace report 3f2a91 --language ko --plan walls.geojson --out 보고서"
    )(report)
    app.command(
        "verify-report",
        epilog="Examples:  sealtrace trace verify-report report.pdf   |   sealtrace trace "
        "verify-report report.html --directory directory.cbor --authority 4ab5b84961f6bd38…",
    )(verify_report)


def export(
    query_id: CaseId,
    *,
    format: Annotated[Format, typer.Option(help=f"Form of the file. {_ABOUT}.")],
    to: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")],
    cameras: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where cameras are, if not by the register of places: CSV with columns "
            "camera,lat,lon, or TOML, a section each.",
        ),
    ] = None,
    hits_only: Annotated[
        bool, typer.Option("--hits-only", help="Leave out candidates that are not confirmed.")
    ] = False,
    preset: Preset = None,
    onset: Onset = None,
    tested: Tested = None,
    isolated: Isolated = None,
    force: Force = False,
    places: PlacesFile = None,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write the trace to a file that only you can read, without templates; the export is logged.

    Contact lists (csv-persons, go-data-contacts, fhir) hold a row a person whom a case met during
    confirmed hits, each with its case. Where several officers confirm, nothing that too few have
    confirmed is in any form. The aggregator logs who exported which form, with the SHA-256 of the
    file, before it is written.
    """
    with at_desk(officer, passphrase_file) as (session, keys):
        register_of_places = desk.places_for(session.officer, places, tell=session.tell)
        positions = desk.positions_for(format.value, cameras, register_of_places)
        desk.check_free(to, overwrite=force)
        results = open_case(session, keys.sealing(), query_id, register_of_places)
        around = desk.around_of(
            session,
            results,
            keys.sealing(),
            places=register_of_places,
            positions=positions,
            hits_only=hits_only,
            said=said(preset, onset, tested, isolated),
        )
        written = desk.export(
            session, results, format.value, to, keys.identity(), around=around, overwrite=force
        )
        if written.unplaced:
            warn(f"no position is given for {', '.join(written.unplaced)}")
        say(
            f"{to}: {counted(written.hits, 'hit')}"
            + (f", {written.undecided} not decided" if written.undecided else "")
        )
        if written.kept_back:
            note(
                "not in it, since too few officers have confirmed them: "
                + counted(written.kept_back, "stay")
            )
        desk.check_receipts(results.receipts)


def report(
    query_id: CaseId,
    *,
    to: Annotated[
        Path,
        typer.Option(
            "--out", metavar="NAME", help="Writes NAME.pdf, NAME.html and the signature NAME.sig."
        ),
    ],
    language: Annotated[Language, typer.Option(help="Of the report.")] = _ENGLISH,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="GeoJSON with walls or streets, drawn under the ways, in the coordinates of the "
            "register of places.",
        ),
    ] = None,
    preset: Preset = None,
    onset: Onset = None,
    tested: Tested = None,
    isolated: Isolated = None,
    force: Force = False,
    places: PlacesFile = None,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make the report that is handed to a health office: PDF and HTML, signed by you, and logged.

    It says in local time what was asked and approved by whom, the cases' ways on a map or plan,
    each contact with its grade, what cameras watched, and how far the logs had grown. Only what as
    many officers have confirmed as must is in it. Every page names the query, you and the moment.
    Both files stand alone, without a network.
    """
    with at_desk(officer, passphrase_file) as (session, keys):
        paths = Paths.at(to)
        paths.check(overwrite=force)
        drawn = read_plan(plan) if plan is not None else None
        known = said(preset, onset, tested, isolated)
        register_of_places = desk.places_for(session.officer, places, tell=session.tell)
        results = open_case(session, keys.sealing(), query_id, register_of_places)
        around = desk.around_of(
            session,
            results,
            keys.sealing(),
            places=register_of_places,
            hits_only=True,
            said=known,
            language=language.value,
        )
        note("setting the report ...")
        made = make_report(
            session,
            results,
            paths,
            keys.identity(),
            around=around,
            language=language.value,
            plan=drawn,
            overwrite=force,
        )
        hits = f"{made.hits} confirmed sighting{'' if made.hits == 1 else 's'}"
        say(f"{paths.pdf}\n{paths.html}\n{paths.signature}: {hits}, signed as {around.officer}")
        note(
            "hand the three files over together; whoever gets them runs: sealtrace trace "
            f"verify-report {shlex.quote(str(paths.pdf))}"
        )
        desk.check_receipts(results.receipts)


def verify_report(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The PDF or HTML as it came.")],
    *,
    signature: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The signature. Default: FILE with .sig at its end."),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The site's signed directory, for who is no officer of it: with --authority.",
        ),
    ] = None,
    authority: Annotated[
        str | None,
        typer.Option(
            metavar="HEX",
            help="The public key of the site's authority, 64 digits, with --directory.",
        ),
    ] = None,
    officer: OfficerFile = None,
) -> None:
    """Check that a report is what an investigator of the site signed; no network is asked.

    Exit code 1 if it was altered, or if nobody of the site signed it. Whoever is no officer of the
    site needs its directory and the authority's public key, which its office gives out.
    """
    with reported():
        named = (
            desk.Officer.load(officer).directory
            if directory is None and authority is None
            else given_directory(directory, authority)
        )
        found = verify_file(file, signature or signature_of(file), named)
        say(f"{file}: genuine")
        show_facts(
            [
                desk.Fact("signed by", f"{found.officer}, investigator of {named.site}"),
                desk.Fact("at", f"{local_text(found.exported_at_ms)}, by their word"),
                desk.Fact("form", found.form),
                desk.Fact("query", f"SHA-256 {found.query_digest.hex()}"),
                desk.Fact("this file", f"SHA-256 {found.sha256.hex()}"),
            ]
        )
        if found.revoked:
            warn(f"{found.officer} has been revoked since: ask the site whether this still stands")


def open_case(
    session: desk.Session,
    sealing: hpke.PrivateKey,
    query_id: str,
    places: Places | None,
) -> desk.Results:
    """Open what a query has found that is sealed to the officer; warn of what cannot be used."""
    case = desk.sealed_to_me(session, query_id)
    results = desk.open_results(session, case, sealing, places)
    warn_of(results)
    return results


def said(preset: str | None, onset: str | None, tested: str | None, isolated: str | None) -> Said:
    """Return what is said of every case's illness on the command line.

    Raises:
        CaseFileInvalid: a day is none.
        PresetInvalid: the preset cannot be used; nothing has been fetched.
    """
    if preset:
        rules_of(preset)
    return Said(
        preset or "", _day(onset, "--onset"), _day(tested, "--tested"), _day(isolated, "--isolated")
    )


def _day(text: str | None, what: str) -> date | None:
    return parse_day(text, what=what) if text else None
