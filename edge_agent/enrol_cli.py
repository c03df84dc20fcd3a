"""`sealtrace subject`: turn a consenting person's photos into a sealed subject file.

It stands with the edge agent because that is the only code that sees pixels. The photos are not
kept; the template leaves this command sealed to the investigator alone.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ConfigDict
from rich.console import Console
from rich.table import Table

from protocol import hpke
from protocol.directory import INVESTIGATOR, open_directory
from protocol.errors import MalformedMessage, ProtocolError
from protocol.keytree import FACE
from protocol.query import SALT_BYTES, SubjectFile, Template
from protocol.sightings import quantise_template
from protocol.signing import VerifyKey
from runtime.bundle import load_bundle
from runtime.config import Section, load
from runtime.errors import OperationError
from runtime.fsio import atomic_write, read_file

if TYPE_CHECKING:
    from edge_agent.enrol import Enrolled
    from edge_agent.vision.models import VisionModels

SUFFIX = ".subject"
MAX_SUBJECT_FILE_BYTES = 1 << 20
MAX_DIRECTORY_BYTES = 256 << 20
_PSEUDONYM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

app = typer.Typer(
    name="subject",
    no_args_is_help=True,
    help="Enrol the subject of a query from photos, and show subject files.",
)
_out = Console()
_err = Console(stderr=True)


class EnrolConfig(Section):
    """What enrolment needs of an officer's ``officer.toml``; its other keys are not read."""

    model_config = ConfigDict(extra="ignore")

    site: str
    """Name of the site."""
    name: str
    """The investigator's name in the site's directory."""
    authority: str
    """Public key of the site's authority, 64 hexadecimal digits."""
    directory: Path
    """The signed directory: it names the key that the subject file is sealed to."""
    bundle: Path | None = None
    """Folder of the signed model bundle."""
    bundle_keys: tuple[str, ...] = ()
    """Public keys, beside the authority's, that may sign the model bundle."""


@app.command(
    epilog="Examples:  sealtrace subject enrol --config officer.toml --pseudonym patient-17 "
    "--consent C-2031/17 --photo front.jpg --photo side.jpg   |   "
    "sealtrace subject enrol --config officer.toml --pseudonym patient-17 --consent C-2031/17 "
    "--photo front.jpg --out /media/usb/patient-17.subject"
)
def enrol(
    *,
    config: Annotated[Path, typer.Option(help="The investigator's officer.toml.")],
    photo: Annotated[
        list[Path],
        typer.Option(help="A photo with exactly one face; may be given up to 16 times."),
    ],
    pseudonym: Annotated[
        str, typer.Option(help="What the subject is called in queries: never the name.")
    ],
    consent: Annotated[
        str, typer.Option(help="Reference of the recorded consent or statutory order.")
    ],
    out: Annotated[
        Path | None, typer.Option(help=f"File to write. Default: PSEUDONYM{SUFFIX} here.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Model bundle, instead of the configuration's.")
    ] = None,
    trusted: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="One more public key (64 hexadecimal digits) that may vouch for the bundle.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Make a subject file from one or more photos of one person.

    Each photo must show one face, large, sharp and frontal. Several photos make a better template;
    photos of different people are refused. The file opens with the investigator's key alone.
    """
    with _reported():
        settings = load(config, EnrolConfig)
        if not _PSEUDONYM.fullmatch(pseudonym):
            raise OperationError(
                f"the pseudonym {pseudonym!r} is not 1 to 64 letters, digits, dots, hyphens or "
                "underscores beginning with a letter or digit; choose another"
            )
        if not consent.strip():
            raise OperationError(
                "the reference of the consent is empty; without one no query can be approved"
            )
        target = out or Path(f"{pseudonym}{SUFFIX}")
        if target.exists() and not force:
            raise OperationError(f"{target} exists; name another with --out, or use --force")
        recipient = _investigator_key(settings)
        with _err.status("loading the models"):
            models = _models(settings, bundle, trusted or [])
        with _err.status(f"looking at {len(photo)} photo{'s' if len(photo) > 1 else ''}"):
            enrolled = _enrol(photo, models)
        try:
            subject = _seal(enrolled, pseudonym, consent, recipient)
        finally:
            enrolled.wipe()
        atomic_write(target, subject.to_bytes(), 0o600, overwrite=force)
        _out.print(
            f"{target}: {pseudonym} enrolled from {len(photo)} photo"
            f"{'s' if len(photo) > 1 else ''}, quality {enrolled.quality:.2f}"
            + (f", agreement {enrolled.agreement:.2f}" if len(photo) > 1 else "")
            + f"\nsealed to investigator {settings.name}, model {enrolled.model_id}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


@app.command(epilog="Example:  sealtrace subject show patient-17.subject")
def show(
    file: Annotated[Path, typer.Argument(help="A subject file.")],
) -> None:
    """Show what a subject file says in the clear: never the template."""
    with _reported():
        data = read_file(file, MAX_SUBJECT_FILE_BYTES)
        try:
            subject = SubjectFile.parse(data)
        except MalformedMessage as error:
            raise OperationError(f"{file} is not a subject file: {error}") from error
        at = datetime.fromtimestamp(subject.enrolled_at_ms / 1000, UTC)
        table = Table(show_header=False)
        table.add_row("pseudonym", subject.pseudonym)
        table.add_row("consent", subject.consent_reference)
        table.add_row("enrolled", f"{at:%Y-%m-%d %H:%M:%S} UTC")
        table.add_row("models", "\n".join(subject.models))
        table.add_row("sealed", f"{len(subject.sealed):,} bytes")
        _out.print(table)


def _investigator_key(settings: EnrolConfig) -> hpke.PublicKey:
    """The sealing key that the verified directory lists for this investigator."""
    data = read_file(settings.directory, MAX_DIRECTORY_BYTES)
    directory = open_directory(data, _authority(settings), site=settings.site)
    key = directory.require(settings.name, INVESTIGATOR).seal_key
    if key is None:
        raise OperationError(
            f"the directory lists no sealing key for investigator '{settings.name}'; "
            "ask the site's administrator to issue one"
        )
    return key


def _authority(settings: EnrolConfig) -> VerifyKey:
    try:
        return VerifyKey(bytes.fromhex(settings.authority))
    except ValueError as error:
        raise OperationError(
            "authority: an Ed25519 public key is 64 hexadecimal digits; correct the configuration"
        ) from error


def _models(settings: EnrolConfig, folder: Path | None, trusted: list[str]) -> VisionModels:
    from edge_agent.vision.models import load_models  # noqa: PLC0415 - a second that --help saves

    folder = folder or settings.bundle
    if folder is None:
        raise OperationError(
            "the configuration names no model bundle; give one with --bundle "
            "(`sealtrace models build` makes one)"
        )
    try:
        keys = [bytes.fromhex(key) for key in (*settings.bundle_keys, *trusted)]
    except ValueError as error:
        raise OperationError("--trusted takes a public key of 64 hexadecimal digits") from error
    verified = load_bundle(
        folder,
        [_authority(settings).raw, *keys],
        roles=("face_detector", "face_embedder", "mask_status"),
    )
    with _without_native_chatter():
        return load_models(verified)


def _enrol(photos: list[Path], models: VisionModels) -> Enrolled:
    from edge_agent.enrol import template_from_photos  # noqa: PLC0415 - see _models

    return template_from_photos(photos, models)


def _seal(
    enrolled: Enrolled, pseudonym: str, consent: str, recipient: hpke.PublicKey
) -> SubjectFile:
    row, scale = quantise_template(enrolled.vector)
    try:
        template = Template(FACE, enrolled.model_id, secrets.token_bytes(SALT_BYTES), row, scale)
        return SubjectFile.enrol(
            pseudonym,
            consent,
            [template],
            recipient,
            enrolled_at_ms=time.time_ns() // 1_000_000,
        )
    finally:
        row.fill(0)


@contextmanager
def _without_native_chatter() -> Iterator[None]:
    """Keep what the model runtimes' C++ code prints off the terminal while they load."""
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn failures a person can act on into one message and exit code 1."""
    try:
        yield
    except (OperationError, ProtocolError) as error:
        _err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _err.print("stopped; nothing was written")
        raise typer.Exit(130) from None
