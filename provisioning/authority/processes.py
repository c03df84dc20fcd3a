"""Give a further process of the aggregator what it needs: a certificate at the broker, its file.

The broker knows everybody by the name in their certificate, and one name has one session: so each
process has one of its own, for the broker alone. Identity and HTTP certificate are the
aggregator's, the same on each machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import tomlkit

from provisioning.authority.changes import whole_second
from provisioning.authority.office import Office
from provisioning.authority.spread import spread
from provisioning.formats import layout
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import Site, SiteError, changing, open_site
from provisioning.formats.plan import AGGREGATOR_NAME
from provisioning.registrar.broker_rights import PROCESSES, process_name
from runtime.fsio import atomic_write, read_file

_MAX_BYTES = 1 << 20


def refuse_process(site: Site, number: int) -> None:
    """Check that the aggregator may have a process of that number.

    Raises:
        SiteError: the number is none, the name is somebody's, or the folder is not here.
    """
    if not 2 <= number <= PROCESSES:
        raise SiteError(
            f"a further process has a number from 2 to {PROCESSES}: the first is the aggregator"
        )
    name = process_name(AGGREGATOR_NAME, number)
    if name in site.directory.principals:
        raise SiteError(f"'{name}' is somebody in the directory already: choose another number")
    if not site.paths.aggregator.exists():
        raise SiteError(f"{site.paths.aggregator} is not here: run this where the site's folder is")


def add_process(
    path: Path,
    number: int,
    passphrase: bytes,
    *,
    duties: Sequence[str],
    port: int,
    now: datetime | None = None,
) -> list[Path]:
    """Write the files of a further process into the aggregator's folder; return them.

    Again for one that is there: its certificate is renewed, its file written anew.

    Raises:
        SiteError: see `refuse_process`.
        KeyFileError: wrong passphrase.
    """
    with changing(SitePaths(path.absolute())):
        site = open_site(path)
        refuse_process(site, number)
        folder, name = site.paths.aggregator.parent, process_name(AGGREGATOR_NAME, number)
        document = tomlkit.parse(read_file(site.paths.aggregator, _MAX_BYTES).decode())
        document["http"]["port"] = port
        document["processes"] = {"duties": list(duties)}
        changed: list[Path] = []
        if site.plan.broker.kind == "mosquitto":
            tls = folder / f"tls-{number}"
            office = Office.open(site.paths, site.plan, passphrase)
            office.issue_process(tls, name, now=whole_second(now))
            document["mqtt"]["tls"] = {
                "ca": f"{tls.name}/{layout.CA_FILE}",
                "certificate": f"{tls.name}/{layout.CERTIFICATE_FILE}",
                "private_key": f"{tls.name}/{layout.KEY_FILE}",
            }
            changed.append(tls)
        file = folder / f"{name}.toml"
        atomic_write(file, tomlkit.dumps(document).encode(), 0o600)
        return [*changed, file, *spread(site.paths, site.plan)]
