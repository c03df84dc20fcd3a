"""`sealtrace subject`: enrolling, which sees pixels, and witnessing, which signs, as one."""

from __future__ import annotations

import typer

from edge_agent.enrol_cli import app as enrolling
from officers.witness_cli import app as witnessing

app = typer.Typer(
    name="subject",
    no_args_is_help=True,
    help="Enrol the subject of a query from photos, have it witnessed, and show subject files.",
)
app.add_typer(enrolling)
app.add_typer(witnessing)
