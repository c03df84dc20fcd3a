"""`sealtrace subject`: turn a consenting person's photos into a sealed subject file.

It stands with the edge agent because that is the only code that sees pixels. The photos are not
kept; the template leaves this command sealed to the investigator alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edge_agent.enrolling import (
    enrolling_bundle,
    investigator_key,
    load_enrolling_models,
    seal_subject,
    without_native_chatter,
)
from edge_agent.same_pseudonym import check_pseudonym, files_of
from protocol.clothes import MAX_WORDS
from protocol.displaynames import display_name
from protocol.enrolment import WitnessSheet
from protocol.templates import SubjectFile
from runtime.calibration import calibrations_of
from runtime.clothes_words import BY_WORDS_NOTE, word_directions
from runtime.errors import OperationError
from runtime.fsio import atomic_write
from runtime.officer import OfficerConfig, load_officer
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.subject_files import (
    SUBJECT_SUFFIX,
    hash_document,
    read_sheet,
    read_subject,
    require_pseudonym,
    sheet_path,
)
from runtime.terminal import err as _err
from runtime.terminal import out as _out
from runtime.terminal import reported

if TYPE_CHECKING:
    from edge_agent.enrol import Enrolled
    from edge_agent.vision.models import VisionModels

app = typer.Typer(no_args_is_help=True)
_INTERRUPTED = "stopped; nothing was written"
_ONE_PHOTO = (
    "\nwarning: enrolled from one photo only. Two photos of different days find more, above all of "
    "masked people: enrol again with a second --photo if there is one (--force)"
)


@app.command(
    epilog="Examples:  sealtrace subject enrol --officer officer.toml --pseudonym patient-17 "
    "--consent C-2031/17 --consent-document C-2031-17.pdf --photo front.jpg --photo side.jpg   |   "
    "sealtrace subject enrol --officer officer.toml --pseudonym patient-17 --consent C-2031/17 "
    "--photo front.jpg --out /media/usb/patient-17.subject   |   sealtrace subject enrol "
    "--officer officer.toml --pseudonym sought-3 --consent order-2031/9 --words "
    '"red jacket, dark trousers"'
)
def enrol(
    *,
    officer: OfficerFile = None,
    photo: Annotated[
        list[Path] | None,
        typer.Option(
            help="A photo with exactly one face; give two or more (up to 16): one finds fewer."
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--appearance",
            metavar="PICTURE",
            help="A picture of the whole person, of today, by whose clothes people dressed alike "
            "are looked for: besides photos, or without. It identifies nobody.",
        ),
    ] = None,
    box: Annotated[
        str, typer.Option(metavar="X,Y,W,H", help="Where in that picture the person is, px.")
    ] = "",
    words: Annotated[
        str,
        typer.Option(
            metavar="CLOTHES",
            help="Clothes in words, English or Korean, in place of any picture: colours of upper "
            "and lower body. It ranks people so dressed, roughly, and identifies nobody; the "
            "site's policy must permit it.",
        ),
    ] = "",
    pseudonym: Annotated[
        str, typer.Option(help="What the subject is called in queries: never the name.")
    ],
    consent: Annotated[
        str, typer.Option(help="Reference of the recorded consent or statutory order.")
    ],
    consent_document: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The consent or order itself. Its SHA-256 is kept, so that a second officer can "
            "witness the enrolment, which the site's policy may ask for.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help=f"File to write. Default: PSEUDONYM{SUBJECT_SUFFIX} here.")
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
    masked: Annotated[
        bool, typer.Option("--masked", help="Take photos of a masked face: only if none is bare.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Even if a subject file of yours has this pseudonym for another face."
        ),
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a subject file from one or more photos of one person.

    Each photo must show one face, large, sharp and frontal. Several photos make a better template;
    photos of different people are refused. The file opens with the investigator's key alone.
    """
    with reported(_INTERRUPTED):
        settings = load_officer(officer)
        require_pseudonym(pseudonym)
        if not consent.strip():
            raise OperationError(
                "the reference of the consent is empty; without one no query can be approved"
            )
        target = out or Path(f"{pseudonym}{SUBJECT_SUFFIX}")
        for taken in (target, sheet_path(target)):
            if taken.exists() and not force:
                raise OperationError(f"{taken} exists; name another with --out, or use --force")
        photos = photo or []
        if words and (photos or picture is not None):
            raise OperationError(
                "--words describes nobody in particular, so it goes with no --photo and no "
                "--appearance: enrol those by themselves"
            )
        if not photos and picture is None and not words:
            raise OperationError(
                "give a --photo of the face, or a picture with --appearance, or clothes in --words"
            )
        document = b"" if consent_document is None else hash_document(consent_document)
        recipient = investigator_key(settings)
        made: list[Enrolled] = []
        try:
            if photos:
                made.append(_faces(photos, settings, bundle, trusted or [], masked=masked))
            if picture is not None:
                made.append(_clothes(picture, box, settings, bundle, trusted or []))
            if words:
                words = display_name(words, what="--words", max_length=MAX_WORDS)
                made.append(_described(words, settings, bundle, trusted or []))
            if not anyway:
                check_pseudonym(
                    made,
                    files_of(pseudonym, [target.parent, Path.cwd(), settings.sealing.parent]),
                    settings.sealing,
                    passphrase_file=passphrase_file,
                    calibrations=lambda: calibrations_of(
                        enrolling_bundle(settings, bundle, trusted or [], roles=()).manifest
                    ),
                )
            subject = seal_subject(
                made,
                pseudonym,
                consent,
                document,
                recipient,
                investigator=settings.name,
                words=words,
            )
        finally:
            for one in made:
                one.wipe()
        atomic_write(target, subject.to_bytes(), 0o600, overwrite=force)
        for_witness = _write_sheet(subject, sheet_path(target))
        _out.print(
            f"{target}: {pseudonym} enrolled {_from_what(made, photos, picture, words)}"
            f"\nsealed to investigator {settings.name}, "
            f"model{'s' if len(made) > 1 else ''} {' and '.join(one.model_id for one in made)}"
            + for_witness
            + (_ONE_PHOTO if len(photos) == 1 else ""),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


@app.command(epilog="Example:  sealtrace subject show patient-17.subject")
def show(
    file: Annotated[Path, typer.Argument(help="A subject file.")],
) -> None:
    """Show what a subject file says in the clear: never the template."""
    with reported(_INTERRUPTED):
        subject = read_subject(file)
        at = datetime.fromtimestamp(subject.enrolled_at_ms / 1000, UTC)
        table = Table(show_header=False)
        table.add_row("pseudonym", subject.pseudonym)
        table.add_row("consent", subject.consent_reference)
        table.add_row("enrolled", f"{at:%Y-%m-%d %H:%M:%S} UTC")
        table.add_row("models", "\n".join(subject.models))
        if subject.words:
            table.add_row("made", BY_WORDS_NOTE.format(words=subject.words))
        document = subject.consent_document.hex()
        table.add_row("document", f"SHA-256 {document}" if document else "none was given")
        table.add_row("witness", _witness_text(subject, sheet_path(file)))
        table.add_row("sealed", f"{len(subject.sealed):,} bytes")
        _out.print(table)


def _faces(
    photos: list[Path],
    settings: OfficerConfig,
    folder: Path | None,
    trusted: list[str],
    *,
    masked: bool,
) -> Enrolled:
    """The template of the face on photographs."""
    with _err.status("loading the models"):
        models = load_enrolling_models(settings, folder, trusted)
    with _err.status(f"looking at {len(photos)} photo{'s' if len(photos) > 1 else ''}"):
        return _enrol(photos, models, masked=masked)


def _clothes(
    picture: Path, box: str, settings: OfficerConfig, folder: Path | None, trusted: list[str]
) -> Enrolled:
    """The template of what the person of a picture wears."""
    from edge_agent.enrol_clothes import box_of, template_from_body  # noqa: PLC0415 - a second that --help saves
    from edge_agent.vision.models import load_clothes  # noqa: PLC0415 - a second that --help saves

    place = box_of(box) if box else None
    verified = enrolling_bundle(settings, folder, trusted, roles=("appearance_embedder",))
    with without_native_chatter():
        network = load_clothes(verified)
    if network is None:
        raise OperationError("the model bundle has no network for clothes: build one that has it")
    return template_from_body(picture, place, network)


def _described(
    words: str, settings: OfficerConfig, folder: Path | None, trusted: list[str]
) -> Enrolled:
    """The template of clothes in words."""
    from edge_agent.enrol_clothes import template_from_words  # noqa: PLC0415 - a second that --help saves

    verified = enrolling_bundle(settings, folder, trusted, roles=("appearance_embedder",))
    return template_from_words(words, word_directions(verified))


def _from_what(
    made: list[Enrolled], photos: list[Path], picture: Path | None, described: str
) -> str:
    if described:
        return BY_WORDS_NOTE.format(words=described)
    several = len(photos) > 1
    words = []
    if photos:
        agreement = f", agreement {made[0].agreement:.2f}" if several else ""
        words.append(
            f"{len(photos)} photo{'s' if several else ''}, quality {made[0].quality:.2f}{agreement}"
        )
    if picture is not None:
        words.append(f"a picture of their clothes, quality {made[-1].quality:.2f}")
    return "from " + ", and ".join(words)


def _enrol(photos: list[Path], models: VisionModels, *, masked: bool) -> Enrolled:
    from edge_agent.enrol import template_from_photos  # noqa: PLC0415 - a second that --help saves

    return template_from_photos(photos, models, masked=masked)


def _write_sheet(subject: SubjectFile, path: Path) -> str:
    """Write the sheet for the witness, if one can witness; return what to say of it."""
    if not subject.consent_document:
        path.unlink(missing_ok=True)  # of what was enrolled here before
        return (
            "\nno document of consent was given, so nobody can witness this enrolment; where the "
            "policy asks for a witness, enrol with --consent-document"
        )
    sheet = WitnessSheet.of(subject)
    atomic_write(path, sheet.to_bytes(), 0o600)
    return (
        f"\ncode for the witness: {sheet.code}\n"
        f"hand {path} to a second officer, who signs with `sealtrace subject witness`; it holds "
        "no template"
    )


def _witness_text(subject: SubjectFile, path: Path) -> str:
    if not subject.consent_document:
        return "nobody can: no document was given"
    if not path.exists():
        return f"nobody has signed ({path.name} is missing)"
    sheet = read_sheet(path)
    if sheet.code != WitnessSheet.of(subject).code:
        return f"{path.name} is of another enrolment"
    if not sheet.witness:
        return f"nobody has signed ({path.name}); code {sheet.code}"
    return f"{sheet.witness} ({path.name}; the signature is checked when a query is drafted)"
