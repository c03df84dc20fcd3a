"""`sealtrace site addresses`: write down whom a role's unit may speak to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provisioning.authority.addresses import drop_in, peers
from provisioning.formats.options import reported
from runtime.fsio import atomic_write
from runtime.terminal import DryRun, say


def addresses(
    configurations: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="The role's configuration: custodian.toml, aggregator.toml, registrar.toml,"
            " box.toml; for a box also claim.toml and updates.toml.",
        ),
    ],
    *,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NETWORK",
            help="Whom no file names, as network, address or name: officers, auditors, boxes;"
            " may be repeated.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Drop-in to write. Default: it is printed."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Write the drop-in that lets a role's unit speak to its peers and to nobody else.

    Names are looked up now: run it again, with the same words, when one moves.
    """
    with reported():
        found = peers(configurations, also or ())
        text = drop_in(found, configurations)
        if out is None:
            typer.echo(text, nl=False)
            return
        for peer in found:
            say(f"{peer.host} ({peer.named_by}): {', '.join(peer.addresses)}")
        if out.exists() and out.read_text() == text:
            say(f"{out} is there already, just so")
            return
        if dry_run:
            say(f"would write {out}")
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(out, text.encode())
        say(f"wrote {out}; then: systemctl daemon-reload, and restart the unit")
