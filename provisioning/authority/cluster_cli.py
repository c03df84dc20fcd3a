"""`sealtrace site cluster`: certify the machines that match, and nobody else, for their cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from provisioning.authority import open_site
from provisioning.authority.cluster import make_cluster, plan_cluster
from provisioning.authority.inspect import SOON_DAYS
from provisioning.authority.terminal import site_passphrase
from provisioning.formats.options import PassphraseFile, SiteFolder, reported
from runtime.terminal import DryRun, note, say


def cluster(
    folder: SiteFolder,
    *,
    worker: Annotated[
        list[str] | None,
        typer.Option(help="Name of a machine that matches; may be repeated."),
    ] = None,
    scheduler: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where its scheduler is; the first time.")
    ] = "",
    within_days: Annotated[
        int, typer.Option(help="Renew certificates with at most so many days left.")
    ] = SOON_DAYS,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Make another CA and all certificates: a machine was lost."),
    ] = False,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Make a CA for the machines that match, and a certificate for each; renew what runs out.

    The CA stands beside the site's own: no certificate of the site is worth anything in the
    cluster. Run it again to add a machine or to renew.
    """
    with reported():
        site = open_site(folder)
        plan = plan_cluster(
            site, worker or (), address=scheduler, within_days=within_days, anew=anew
        )
        if not plan.needs:
            say("everybody of the cluster has a certificate that lasts; nothing was changed")
            return
        names = ", ".join(need.name for need in plan.needs)
        if dry_run:
            if plan.founds:
                say("would make a CA for the cluster")
            say(f"would issue certificates for: {names}")
            return
        passphrase = site_passphrase(site, passphrase_file)
        for made in make_cluster(folder, plan, passphrase):
            say(f"certified {made}")
        say("Copy each folder to its machine and restart the service there.")
        if plan.founds and anew:
            note("note: until all of them have the new certificates, they refuse one another")
