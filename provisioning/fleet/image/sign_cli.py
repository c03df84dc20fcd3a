"""`sealtrace image sign`: the site's authority signs what may be installed on boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provisioning.fleet.image.errors import ImageError
from provisioning.fleet.image.settings import CardFile, read_wheels
from provisioning.fleet.image.software import (
    list_of_wheels,
    read_requirements,
    sign_list,
    signature_file,
    write_signature,
)
from provisioning.formats.opened import open_site
from provisioning.formats.options import PassphraseFile, SiteFolder, reported
from provisioning.formats.secretfiles import open_authority
from runtime.keyfiles import get_passphrase
from runtime.terminal import DryRun, say


def sign(
    folder: SiteFolder,
    *,
    wheels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The wheels that go onto cards.")
    ] = None,
    requirements: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A list of wheels by hash, fetched from an index."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Have the site's authority sign the software for boxes; they install nothing else.

    Look at the list first: whatever is in it runs on every box that starts from such a card. The
    signature goes beside it, as DIR/software.sig or FILE.sig, and holds for just these wheels.
    """
    with reported():
        site = open_site(folder)
        listed, _, text = named_software(wheels, requirements)
        target = signature_file(listed)
        count = len(text.splitlines())
        if dry_run:
            say(text.rstrip("\n"))
            say(f"would sign these {count} for site '{site.plan.site}' and write {target}")
            return
        passphrase = get_passphrase(passphrase_file, what=f"the site '{site.plan.site}'")
        signed = sign_list(text, site.plan.site, open_authority(site.paths, passphrase))
        new = write_signature(signed, target)
        say(f"{count} packages are signed: {target}{'' if new else ' (there already, just so)'}")


def named_software(
    wheels: Path | None, requirements: Path | None
) -> tuple[Path, tuple[CardFile, ...], str]:
    """Return where the software is named, the wheels for the card if any, and the list of it.

    Raises:
        ImageError: neither is given or both, or the list cannot be used.
    """
    if wheels is not None and requirements is None:
        found = read_wheels(wheels)
        return wheels, found, list_of_wheels(found)
    if requirements is not None and wheels is None:
        return requirements, (), read_requirements(requirements)
    raise ImageError(
        "give the software by hash: --wheels DIR puts it on the card, --requirements FILE"
        " lists it for the site's index; a box installs nothing else"
    )
