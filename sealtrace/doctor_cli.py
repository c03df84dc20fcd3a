"""`sealtrace doctor`: look whether a machine of any role is well, and say what to do next."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from runtime.doctor import Findings, Level
from runtime.doctor.machine import look_at_machine
from runtime.errors import OperationError
from runtime.terminal import err, out, progress, say
from runtime.text import quoted
from sealtrace.doctor_places import ROLES, Role, find

EXIT_WRONG = Level.WRONG.exit_code
_STYLES = {Level.WELL: "green", Level.WARNING: "yellow", Level.WRONG: "bold red"}
_NAMES = ", ".join(role.name for role in ROLES)
app = typer.Typer(name="doctor", add_completion=False)


@app.command(
    epilog="Examples:  sealtrace doctor   |   sealtrace doctor /etc/sealtrace/custodian   |   "
    "sealtrace doctor box.toml --json   |   sealtrace doctor aggregator.toml --offline --quiet"
)
def doctor(
    configs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[CONFIG]...",
            help="Configurations, or folders that hold one. Default: the one in this folder, else"
            " in /etc/sealtrace.",
            show_default=False,
        ),
    ] = None,
    *,
    role: Annotated[
        str | None,
        typer.Option(help=f"Whose configuration it is, if its name does not tell: {_NAMES}."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only what is not well.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Look at this machine alone; connect to nobody.")
    ] = False,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Read databases through, however long it takes."),
    ] = False,
) -> None:
    """Look at this machine: versions, clock, certificates, keys, disk, databases, peers, policy.

    Works beside the running service, which is not disturbed: files and databases are only read.
    Asks for no passphrase and prints no secret. Run it as the service's user, or as root: what
    another user cannot read is said.

    Exit codes, for monitoring: 0 all is well, 1 there are warnings, 2 something is wrong, or no
    configuration could be read.
    """
    try:
        places = find(configs or [], role=role, here=Path.cwd())
    except OperationError as error:
        _complain(error)
        raise typer.Exit(EXIT_WRONG) from None
    reports = []
    for path, of in places:
        reports.append(_examine(path, of, offline=offline, deep=deep))
        if not as_json:
            _show(*reports[-1], quiet=quiet)
    if as_json:
        sys.stdout.write(json.dumps([_json(*one) for one in reports], indent=2) + "\n")
    raise typer.Exit(max(found.worst.exit_code for _, _, _, found in reports))


_Report = tuple[Path, str, str, Findings]
"""A configuration, its role, who it is, and what was found."""


def _examine(path: Path, role: Role, *, offline: bool, deep: bool) -> _Report:
    with progress("looking") as tell:
        found = Findings(
            tell=tell if err.is_terminal else _silent,
            again=f"sealtrace doctor {quoted(path)}",
            network=not offline,
            deep=deep,
        )
        look_at_machine(found)
        who = role.name
        with found.looking("configuration", next="sealtrace ROLE serve --print-config shows it"):
            who = role.examine(path, found)
    return path, role.name, who, found


def _silent(_text: str) -> None:
    """Say nothing: monitoring reads what is printed."""


def _show(path: Path, _role: str, who: str, found: Findings, *, quiet: bool) -> None:
    shown = [one for one in found.found if not quiet or one.level is not Level.WELL]
    if shown or not quiet:
        say(f"{who} ({path})")
    width = max((len(one.about) for one in shown), default=0)
    for one in shown:
        out.print(
            f"{one.level:<8} {one.about:<{width}}  {one.what}",
            style=_STYLES[one.level],
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if one.next:
            say(f"{'':<8} {'':<{width}}  next: {one.next}")
    if not quiet:
        counts = {level: sum(one.level is level for one in found.found) for level in Level}
        say(", ".join(f"{count} {level}" for level, count in counts.items()))


def _json(path: Path, role: str, who: str, found: Findings) -> dict[str, object]:
    return {
        "configuration": str(path),
        "role": role,
        "who": who,
        "level": found.worst,
        "exit_code": found.worst.exit_code,
        "findings": [asdict(one) for one in found.found],
    }


def _complain(error: OperationError) -> None:
    err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
