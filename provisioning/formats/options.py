"""Options that the commands of several rooms take in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from provisioning.formats.plan_boxes import CameraPlan
from runtime import terminal
from runtime.officer import OFFICER_ENVIRONMENT
from runtime.redaction import redact

SiteFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The site's folder.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File with the site's passphrase. Default: SEALTRACE_PASSPHRASE, else it is asked.",
    ),
]
OfficerFile = Annotated[
    Path | None,
    typer.Option(
        "--officer",
        metavar="FILE",
        help="officer.toml whose certificate is shown to custodians and aggregator. Default:"
        f" {OFFICER_ENVIRONMENT}, else an officer's folder of the site.",
    ),
]


def reported() -> AbstractContextManager[None]:
    """Report failures as `runtime.terminal.reported`; whoever stops one can run it again."""
    return terminal.reported("stopped; run the same command again to go on")


def split_camera(option: str) -> tuple[str, str]:
    """Split the ``NAME=URL`` of a ``--camera`` option; a complaint shows no password.

    Raises:
        typer.BadParameter: it is not of that form.
    """
    name, equals, source = option.partition("=")
    if not equals or not source:
        raise typer.BadParameter(
            f"'{redact(option)}' is not NAME=URL, such as door=rtsp://10.0.0.7/s1",
            param_hint="--camera",
        )
    return name, source


def cameras_of(options: Sequence[str] | None) -> tuple[CameraPlan, ...]:
    """Return the cameras of ``--camera`` options.

    Raises:
        typer.BadParameter: one is not a camera.
    """
    found = []
    for name, source in map(split_camera, options or ()):
        try:
            found.append(CameraPlan(name=name, source=source))
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise typer.BadParameter(f"{name!r}: {reason}", param_hint="--camera") from None
    return tuple(found)
