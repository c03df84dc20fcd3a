"""`sealtrace subject`: enrolling, which sees pixels, witnessing, and what is kept, as one."""

from __future__ import annotations

import typer

from edge_agent.enrol_cli import app as enrolling
from officers.case_cli import app as keeping
from officers.witness_cli import app as witnessing

app = typer.Typer(
    name="subject",
    no_args_is_help=True,
    help="Enrol the subject of a query from photos, have it witnessed, keep what is known of them.",
)
app.add_typer(enrolling)
app.add_typer(witnessing)
app.add_typer(keeping)
