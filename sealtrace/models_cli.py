"""`sealtrace models`: building bundles, and measuring them, which sees pixels, as one."""

from __future__ import annotations

import typer

from edge_agent.measuring.cli import app as measuring
from models.cli import app as building

app = typer.Typer(
    name="models",
    no_args_is_help=True,
    help="Build, check, show and measure the model bundle that boards and enrolment use.",
)
app.add_typer(building)
app.add_typer(measuring)
