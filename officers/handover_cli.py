"""`sealtrace trace export`: what a query found, written to a file for other programs."""

from __future__ import annotations

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
from officers.keyboard import CaseId, at_desk
from protocol import hpke
from protocol.places import Places
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.terminal import note, say, warn

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
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


def register(app: typer.Typer) -> None:
    """Put the commands among those of `sealtrace trace`."""
    app.command(
        epilog="Examples:  sealtrace trace export 3f2a91 --format csv-persons --out contacts.csv   "
        "|   sealtrace trace export 3f2a91 --format fhir --out bundle.json   |   "
        "sealtrace trace export 3f2a91 --format geojson --cameras positions.csv --out trace.geojson"
    )(export)


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
            f"{to}: {written.hits} hit{'' if written.hits == 1 else 's'}"
            + (f", {written.undecided} not decided" if written.undecided else "")
        )
        if written.kept_back:
            note(f"{written.kept_back} stays are not in it: too few officers have confirmed them")
        desk.check_receipts(results.receipts)


def open_case(
    session: desk.Session,
    sealing: hpke.PrivateKey,
    query_id: str,
    places: Places | None,
) -> desk.Results:
    """Open what a query has found that is sealed to the officer; warn of what cannot be used."""
    case = desk.sealed_to_me(session, query_id)
    results = desk.open_results(session, case, sealing, places)
    for words in (*results.problems, *results.receipts.waiting):
        warn(words)
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
