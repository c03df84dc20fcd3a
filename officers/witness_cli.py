"""`sealtrace subject witness`: a second officer signs for whose photographs were enrolled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from officers import desk
from officers.keyboard import Keyring, Yes, confirm, show_facts
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.subject_files import SUBJECT_SUFFIX
from runtime.terminal import reported, say

app = typer.Typer(no_args_is_help=True)


@app.command(
    epilog="Examples:  sealtrace subject witness patient-17.witness --consent-document "
    "consent-17.pdf   |   sealtrace subject witness /media/usb/patient-17.witness"
)
def witness(
    file: Annotated[
        Path,
        typer.Argument(
            help="The witness's sheet that lies beside the subject file (or the subject file)."
        ),
    ],
    *,
    consent_document: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The consent or order as you hold it, to compare with the sheet."
        ),
    ] = None,
    yes: Yes = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign, as a second officer, for whose photographs were enrolled and with which consent.

    Shows what you sign for first. You are handed no template. Nobody witnesses an enrolment of
    their own.
    """
    with reported():
        me = desk.Officer.load(officer)
        enrolment = desk.look_at_enrolment(me, file, consent_document)
        show_facts(enrolment.facts)
        confirm(f"Sign this as {me.name}?", yes=yes)
        desk.witness_enrolment(enrolment, Keyring(me, passphrase_file).identity())
        sheet, back = enrolment.sheet, enrolment.path or file
        whose = sheet.investigator or "the investigator"
        say(
            f"\nsigned: {back}\nGive it back to {whose}, who keeps it beside "
            f"{back.with_suffix(SUBJECT_SUFFIX).name}; queries for {sheet.pseudonym} carry it."
        )
