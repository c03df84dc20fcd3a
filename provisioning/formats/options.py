"""Options that the commands of several rooms take in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.officer import OFFICER_ENVIRONMENT

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
