"""`sealtrace demo`: see the whole system work on this machine, and check what it promises."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.local_site import PASSPHRASE, LocalSite
from runtime import logs
from runtime.config import LogConfig
from runtime.errors import OperationError
from runtime.lifecycle import Stop, signals
from runtime.terminal import out as _out

app = typer.Typer(
    name="demo",
    no_args_is_help=True,
    help="A small site, seven cameras, a patient traced end to end, on this machine.",
)
_STATE = Path(".sealtrace")


@app.callback()
def group() -> None:
    """See the whole system work on this machine."""


@app.command(epilog="Examples:  sealtrace demo run   |   sealtrace demo run --keep")
def run(
    folder: Annotated[Path, typer.Option("--folder", help="Where to; emptied first.")] = _STATE
    / "demo"
    / "run",
    bundle: Annotated[Path, typer.Option(help="The model bundle.")] = _STATE / "models",
    photos: Annotated[Path, typer.Option(help="The photographs.")] = _STATE / "photos",
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running until Ctrl-C, to try commands.")
    ] = False,
) -> None:
    """Make a site, run its real processes, trace a patient, and try what must not work.

    Exit code 0 only if every promise held.
    """
    from demo.tour import Tour  # noqa: PLC0415 - loads OpenCV

    for needed, make in ((bundle, "models build"), (photos, "models photos")):
        if not needed.is_dir():
            raise OperationError(f"{needed} is not there: run `make setup`, or `sealtrace {make}`")
    logs.configure(LogConfig(level="error"), role="demo")
    began = time.monotonic()
    with Progress(
        SpinnerColumn(),
        TextColumn("[progress.description]{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=_out,
    ) as progress:
        task = progress.add_task("starting", total=Tour.STEPS, completed=-1)

        def tell(line: str) -> None:
            progress.update(task, advance=1, description=line)
            if not _out.is_terminal:
                _out.print(f"  {line}", highlight=False)

        tour = Tour(folder.absolute(), bundle.absolute(), photos.absolute(), tell)
        try:
            tour.run()
            progress.update(task, completed=Tour.STEPS, description="done")
        except BaseException as error:
            progress.stop()
            tour.stop()
            if isinstance(error, KeyboardInterrupt):
                _out.print("interrupted: every process was stopped")
            if tour.checks.listed:
                tour.checks.show(_out)
            _out.print(f"the processes' logs are in {folder / 'logs'}", highlight=False)
            raise
    try:
        for title, trace in tour.traces:
            _show_trace(title, trace)
        tour.checks.show(_out)
        took = f"{time.monotonic() - began:.0f} s"
        if tour.checks.all_held:
            _out.print(f"[bold green]All {len(tour.checks.listed)} promises held[/] ({took}).")
        else:
            _out.print(f"[bold red]Not every promise held[/] ({took}).")
        if keep:
            _wait_for_interrupt(folder, _open_desks(tour.site))
    finally:
        tour.stop()
    raise typer.Exit(0 if tour.checks.all_held else 1)


def _open_desks(site: LocalSite) -> Mapping[str, str]:
    """Start each officer's desk; return what opens it, by the officer's name and duties."""
    officers = site.plan.officers
    opened = site.start_desks(*(one.name for one in officers))
    return {f"{one.name} ({', '.join(one.duties)})": opened[one.name] for one in officers}


def _wait_for_interrupt(folder: Path, desks: Mapping[str, str]) -> None:
    officer = folder.absolute() / "site" / "officers" / "ana" / "officer.toml"
    program = "sealtrace" if shutil.which("sealtrace") else Path(sys.argv[0]).absolute()
    _out.print("Still running. Each person's desk, to open in a browser of this machine:")
    for who, address in desks.items():
        _out.print(f"  {who}: {address}", highlight=False, soft_wrap=True)
    _out.print(
        f"An address opens its desk once, within two minutes; `{program} desk` as that officer\n"
        f'gives a new one. The passphrase is "{PASSPHRASE}".\n'
        f"Or try, in another terminal:\n"
        f"  export SEALTRACE_OFFICER={shlex.quote(str(officer))}\n"
        f'  export SEALTRACE_PASSPHRASE="{PASSPHRASE}"\n'
        f"  {program} query list\n"
        f"  {program} trace show ID      (an id of the list; its first digits will do)\n"
        f"  {program} desk               (a new address of this officer's desk)\n"
        f"Ctrl-C stops everything, and so does `kill {os.getpid()}` or a closed terminal.",
        highlight=False,
        soft_wrap=True,
    )
    stop = Stop()
    with signals(stop, on_reload=lambda: stop.set("the terminal was closed")):
        stop.wait()


def _show_trace(title: str, trace: Mapping[str, Any]) -> None:
    for subject in trace["subjects"]:
        table = Table(title=title)
        for heading in ("camera", "from", "to", "mask", "score", "contacts"):
            table.add_column(heading, no_wrap=heading != "contacts")
        for hit in sorted(subject["hits"], key=lambda hit: str(hit["from"])):
            contacts = [
                f"{contact['mask']}, {contact['distance_m']} m, {contact['seconds']} s"
                for contact in hit["contacts"]
            ]
            table.add_row(
                hit["camera"],
                _clock(hit["from"]),
                _clock(hit["to"]),
                hit["mask"],
                f"{hit['score']:.2f}",
                "\n".join(contacts) or "nobody",
            )
        _out.print(table)


def _clock(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%H:%M:%S")
