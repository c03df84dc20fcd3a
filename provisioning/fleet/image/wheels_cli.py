"""`sealtrace image wheels`: the folder of wheels for boxes, from the lock and the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provisioning.fleet.image.errors import ToolMissing
from runtime.terminal import note, reported, say
from runtime.text import quoted


def wheels(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to fill.")],
    *,
    python: Annotated[
        str,
        typer.Option(metavar="3.N", help="Python of the box: Debian 12 has 3.11, Debian 13 3.13."),
    ] = "3.11",
    machine: Annotated[
        str, typer.Option(metavar="NAME", help="Its processor: x86-64, or arm64 (Raspberry Pi).")
    ] = "x86-64",
    role: Annotated[
        str, typer.Option(metavar="NAME", help="Whose lock is taken: locks/NAME.lock.")
    ] = "edge",
    checkout: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The source code; where this command is from by default."),
    ] = None,
) -> None:
    """Fetch what a box installs, by the hashes of the lock, and build our own wheel.

    Run it again after an update, or an interruption: what is there already is not fetched again,
    and what belongs there no more is removed. OUT/software.txt lists all with their hashes. The
    packages come from the index that pip is configured for; what has other hashes is refused.
    """
    with reported("stopped; what was in the folder is still there"):
        try:
            from provisioning.fleet.image.wheels import (  # noqa: PLC0415 - where one builds, it is
                LIST_NAME,
                Target,
                fill_wheels,
                find_checkout,
            )
        except ModuleNotFoundError as error:
            raise ToolMissing(
                f"{error.name} is missing, which reads locks; run the command from the environment"
                " that `make setup` makes"
            ) from None
        target = Target(python, machine)
        place = find_checkout(checkout)
        lock = place / "locks" / f"{role}.lock"
        done = fill_wheels(out, lock=lock, checkout=place, target=target, tell=note)
        size = sum(wheel.path.stat().st_size for wheel in done.wheels)
        if done.fetched or done.built:
            what = f"{done.fetched} fetched{', our own built' if done.built else ''}"
        else:
            what = "all were there, just so"
        say(
            f"{out}: {len(done.wheels)} wheels, {size / 1e6:.1f} MB, for Python {python} on"
            f" {machine}; {what}"
        )
        say(f"{out / LIST_NAME} lists them with their hashes.")
        say(f"Next:  sealtrace image sign DIR --wheels {quoted(out)}")
