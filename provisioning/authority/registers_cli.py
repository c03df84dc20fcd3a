"""`sealtrace site passkey`, `places`, `witness`: what the directory's second form has room for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocol.directory import OutsideWitness
from protocol.errors import MalformedMessage
from protocol.passkey_offers import MAX_OFFER_BYTES
from protocol.places import MAX_REGISTER_BYTES
from protocol.signing import VerifyKey
from provisioning.authority import registers, site_places
from provisioning.authority.terminal import Answers, Push, carry_out
from provisioning.formats.options import OfficerFile, PassphraseFile, SiteFolder, reported
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.terminal import DryRun

app = typer.Typer()
passkey_app = typer.Typer(
    name="passkey", no_args_is_help=True, help="List officers' passkeys, or withdraw them."
)
witness_app = typer.Typer(
    name="witness", no_args_is_help=True, help="List witnesses outside the site, or remove them."
)
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


@passkey_app.command("add", epilog="Example:  sealtrace site passkey add north bo.passkey --push")
def add_passkey(
    folder: SiteFolder,
    file: Annotated[Path, typer.Argument(help="The file that the officer's desk wrote.")],
    *,
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """List a passkey that an officer offers: it signs for them from then on, beside the key file.

    Checked: that the officer's key file and the passkey itself signed the offer, at most 30 days
    ago; that the page it is used at is exact, over https, and within its domain; that it is nobody
    else's. Compare the fingerprint with the officer's.
    """
    with reported():
        proposal = registers.add_passkey(folder, read_file(file, MAX_OFFER_BYTES))
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run))


@passkey_app.command(
    "remove", epilog="Example:  sealtrace site passkey remove north bo 0f3a9c11d27be845 --push"
)
def remove_passkey(
    folder: SiteFolder,
    name: Annotated[str, typer.Argument(help="The officer.")],
    fingerprint: Annotated[str, typer.Argument(help="Which, as `sealtrace site show` lists it.")],
    *,
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Withdraw a passkey, for example of a lost device. What it signed counts no longer."""
    with reported():
        proposal = registers.remove_passkey(folder, name, fingerprint)
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run, yes))


@app.command(
    epilog="Examples:  sealtrace site places north places.csv --push"
    "   |   sealtrace site places north places.geojson --walks walks.csv --push"
    "   |   sealtrace site places north --none"
)
def places(
    folder: SiteFolder,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="CSV with the columns camera,place and, as far as you have them, lat,lon "
            "(degrees) or x_m,y_m (metres), name_ko, name_en..., address, indoor (yes or no), "
            "room, view; or GeoJSON: Points with these as properties."
        ),
    ] = None,
    *,
    walks: Annotated[
        Path | None,
        typer.Option(
            "--walks",
            metavar="FILE",
            help="CSV with the columns from,to,seconds: how long people walk between two cameras, "
            "both ways. Without it only distances count.",
        ),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="No register at all.")] = False,
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Have the directory name a register of places: which camera is where.

    The file is checked, kept as authority/places.register, and its SHA-256 signed with the
    directory. With --push the aggregator has it, and gives it to officers.
    """
    if (file is None) != none:
        raise typer.BadParameter("name the file, or give --none", param_hint="FILE")
    if file is None and walks is not None:
        raise typer.BadParameter("goes with a register", param_hint="--walks")
    with reported():
        data = None if file is None else read_file(file, MAX_REGISTER_BYTES)
        between = None if walks is None else read_file(walks, MAX_REGISTER_BYTES)
        proposal = site_places.set_places(folder, data, walks=between)
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run))


@witness_app.command(
    "add",
    epilog="Example:  sealtrace site witness add north university --key university.pub "
    "--url https://witness.university.example --push",
)
def add_witness(
    folder: SiteFolder,
    name: Annotated[str, typer.Argument(help="Its name, in cosignatures.")],
    *,
    key: Annotated[
        Path,
        typer.Option(
            "--key", metavar="FILE", help="Its Ed25519 public key, 64 hexadecimal digits."
        ),
    ],
    url: Annotated[str, typer.Option("--url", help="Where it answers, https.")],
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """List somebody outside the site who cosigns its logs."""
    with reported():
        try:
            verify_key = VerifyKey(bytes.fromhex(read_file(key, 1024).decode().strip()))
        except (ValueError, MalformedMessage) as error:
            raise OperationError(
                f"{key} is not a public key of 64 hexadecimal digits: {error}"
            ) from error
        proposal = registers.add_witness(folder, OutsideWitness(name, verify_key, url))
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run))


@witness_app.command(
    "remove", epilog="Example:  sealtrace site witness remove north university --push"
)
def remove_witness(
    folder: SiteFolder,
    name: Annotated[str, typer.Argument(help="The name of the witness.")],
    *,
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Take a witness outside the site off the list."""
    with reported():
        proposal = registers.remove_witness(folder, name)
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run, yes))


app.add_typer(passkey_app)
app.add_typer(witness_app)
