"""`sealtrace desk`: the officers' desk in the browser, on the officer's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from officers.desk.officer import Officer
from officers.pages import assets, running
from officers.pages.app import make_app
from officers.pages.guard import start_path
from officers.pages.house import House
from runtime.http import Ready
from runtime.lifecycle import Stop, signals
from runtime.officer_options import OfficerFile
from runtime.terminal import progress, reported, say
from runtime.text import counted

app = typer.Typer(
    name="desk",
    invoke_without_command=True,
    add_completion=False,
    epilog="Examples:  sealtrace desk   |   sealtrace desk --officer ~/ana/officer.toml "
    "--no-browser   |   sealtrace desk install",
)
NoBrowser = Annotated[
    bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
]


@app.callback()
def run(
    context: typer.Context,
    officer: OfficerFile = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1024,
            max=65535,
            help="Port of this machine to serve the pages on. Default: that of your passkeys, "
            "else desk_port in officer.toml, else one that is always the same for you.",
        ),
    ] = None,
    no_browser: NoBrowser = False,
) -> None:
    """Work at the officers' desk, in the browser of this machine.

    Serves the pages to this machine alone, opens the browser, and goes on until Ctrl-C. The
    address that is printed opens the desk once, within two minutes. While your desk is running,
    the command again opens the one that runs. Your keys stay closed until you enter their
    passphrase on the page, and are forgotten again after ten minutes without a sign of you.
    """
    if context.invoked_subcommand is not None:
        return
    with reported("the desk has ended"):
        me = Officer.load(officer)
        assets.Vendor().check()
        claim = running.claim(me)
        if claim is None:
            _hand_over(running.start_of_running(me), no_browser=no_browser, again=True)
            return
        try:
            code = _serve(me, claim, running.choose_port(me, port), no_browser=no_browser)
        finally:
            claim.close()
    raise typer.Exit(code)


@app.command(epilog="Examples:  sealtrace desk install   |   sealtrace desk install --cache ~/npm")
def install(
    *,
    cache: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where fetched packages are kept.")
    ] = Path("~/.cache/sealtrace/desk"),
    for_tests: Annotated[
        bool, typer.Option("--for-tests", help="Also what only the tests of the pages use.")
    ] = False,
) -> None:
    """Set up what the pages use of others' work: a script, a map, a font, icons.

    Fetches five packages from their registry with npm, once, checks each file against the digest
    that it is pinned by, and keeps it beside this installation of Python. The desk itself fetches
    nothing. Files that are there already stay; npm itself is fetched where the machine has none.
    """
    folder = assets.default_folder()
    with reported("stopped; what was set up so far stays"):
        with progress("setting up the desk's pages") as tell:
            count = assets.install(folder, cache.expanduser(), for_tests=for_tests, notify=tell)
        new = f"{counted(count, 'file')} set up" if count else "everything was there already"
        say(f"{new}: {folder}")


def _serve(me: Officer, claim: running.Claim, port: int, *, no_browser: bool) -> int:
    house = House(me, port)
    made = make_app(house)
    stop, ready = Stop(), Ready()

    def listening() -> None:
        claim.record(house)
        address = f"{house.origin}{start_path(house.door.new_start())}"
        _hand_over(address, no_browser=no_browser, again=False)

    try:
        with signals(stop):
            running.when_ready(ready, listening)
            running.serve_desk(made, house, stop, ready)
    finally:
        house.close()
    say("the desk has ended; your keys are forgotten")
    return stop.exit_code


def _hand_over(address: str, *, no_browser: bool, again: bool) -> None:
    """Print a start address, and open it where there is a screen."""
    say("your desk is running already; this opens it:" if again else "your desk:")
    say(f"  {address}")
    if not again:
        say("the address opens it once, within two minutes; `sealtrace desk` again gives a new one")
        say("Ctrl-C ends it")
    if not no_browser:
        running.open_browser(address)
