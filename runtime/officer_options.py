"""The options with which commands name an officer and where the officer's passphrase is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.officer import OFFICER_ENVIRONMENT

OfficerFile = Annotated[
    Path | None,
    typer.Option(
        "--officer",
        "--config",
        metavar="FILE",
        help=f"Your officer.toml. Default: {OFFICER_ENVIRONMENT}, else officer.toml here.",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File with the passphrase of your keys. Default: SEALTRACE_PASSPHRASE, else asked.",
    ),
]
