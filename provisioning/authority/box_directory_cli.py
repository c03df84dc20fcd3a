"""`sealtrace box`: what only the authority's directory says of a box, in its second form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from provisioning.authority import box_versions
from provisioning.authority.known_boxes import (
    admissions_here,
    admissions_with,
    newest_of,
    with_admitted,
)
from provisioning.authority.proposals import Proposal
from provisioning.authority.push import aggregator_admissions, aggregator_boxes, officer_tls
from provisioning.authority.terminal import Answers, Push, carry_out
from provisioning.formats.opened import open_site
from provisioning.formats.options import OfficerFile, PassphraseFile, SiteFolder, reported
from runtime.errors import OperationError
from runtime.terminal import DryRun, say, warn

app = typer.Typer()


@app.command(
    "seal-version",
    epilog="Examples:  sealtrace box seal-version north box-7 --push"
    "   |   sealtrace box seal-version north --all --push",
)
def seal_version(
    folder: SiteFolder,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[BOX]...", help="Boxes; or give --all.")
    ] = None,
    *,
    everyone: Annotated[
        bool, typer.Option("--all", help="All boxes that have gone on to version 2.")
    ] = False,
    aggregator: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask this aggregator instead.")
    ] = None,
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Hold boxes to version 2 of the protocol: what they announce in version 1 later is refused.

    The aggregator is asked which boxes seal in version 2 by now, whoever brought them in. One that
    still speaks version 1 is refused by name; with --all it is left out and said.
    """
    if bool(names) == everyone:
        raise typer.BadParameter("name the boxes, or give --all", param_hint="BOX")
    with reported():
        site = open_site(folder)
        tls = officer_tls(site, officer)
        rows = aggregator_boxes(site.directory, tls, aggregator)
        admissions = newest_of(
            admissions_here(folder, site), aggregator_admissions(site.directory, tls, aggregator)
        )
        known = with_admitted(site, admissions)
        found = box_versions.sealable(known, names or (), rows, now=datetime.now(UTC))
        for name, why in found.refused.items():
            warn(f"{name}: {why}")
        if found.refused and not everyone:
            raise OperationError("nothing was changed: not all of them are at version 2")
        if not found.until_ms:
            say("nothing to do: no box has gone on to version 2 since")
            return
        listed = ", ".join(found.until_ms)
        proposal = Proposal(
            site,
            would=f"would hold to version 2: {listed}",
            done=f"held to version 2: {listed}",
            make=lambda passphrase: box_versions.seal_versions(
                folder, found.until_ms, passphrase, admissions=admissions
            ),
            needs_passphrase=True,
        )
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run))


@app.command(
    epilog="Example:  sealtrace box recordings north box-7 --camera ward-3 --camera lobby --push"
)
def recordings(
    folder: SiteFolder,
    name: Annotated[str, typer.Argument(help="The box that imports the films.")],
    *,
    camera: Annotated[
        list[str] | None,
        typer.Option("--camera", metavar="NAME", help="A camera; may be repeated."),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="None at all.")] = False,
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Say of which cameras a box may import films, instead of those that it may now.

    `sealtrace box list` shows them.
    """
    cameras = tuple(camera or ())
    if bool(cameras) == none:
        raise typer.BadParameter("name the cameras, or give --none", param_hint="--camera")
    with reported():
        site = open_site(folder)
        admissions = admissions_with(folder, site, name, officer)
        same = box_versions.check_recordings(with_admitted(site, admissions), name, cameras)
        what = ", ".join(cameras) or "no camera"
        proposal = Proposal(
            site,
            would=f"would let {name} import films of {what}",
            done=f"{name} may import films of {what}",
            make=lambda passphrase: box_versions.set_recordings(
                folder, name, cameras, passphrase, admissions=admissions
            ),
            needs_passphrase=not same,
        )
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run))
