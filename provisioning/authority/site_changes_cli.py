"""The part of `sealtrace site` that changes a site: officers, revocation, renewal, broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from protocol.directory_forms import SECOND
from protocol.quorum import site_quorum
from provisioning.authority import changes, open_site, proposals
from provisioning.authority.brokerfiles import broker_change, change_broker
from provisioning.authority.consequences import Consequence, Weight
from provisioning.authority.inspect import SOON_DAYS
from provisioning.authority.processes import add_process, refuse_process
from provisioning.authority.terminal import (
    Answers,
    Push,
    carry_out,
    site_passphrase,
)
from provisioning.formats.opened import Site, changing
from provisioning.formats.options import OfficerFile, PassphraseFile, SiteFolder, reported
from provisioning.formats.plan import OfficerPlan
from runtime.errors import OperationError
from runtime.keyfiles import get_passphrase
from runtime.terminal import DryRun, note, say

app = typer.Typer()
_DUTIES = {"api", "ingest", "queries", "upkeep"}
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


@app.command(epilog="Examples:  sealtrace site renew north   |   sealtrace site renew north box-1")
def renew(
    folder: SiteFolder,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Whose certificates. Default: everyone's that run out soon."),
    ] = None,
    within_days: Annotated[
        int, typer.Option(help="Without names: certificates with at most so many days left.")
    ] = SOON_DAYS,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Issue new TLS certificates and keys into the role folders; identities stay as they are."""
    with reported():
        site = open_site(folder)
        due = list(names or changes.due_for_renewal(site, within_days))
        if not due:
            say(f"nobody's certificate runs out within {within_days} days; nothing was changed")
            return
        if dry_run:
            say(f"would renew: {', '.join(due)}")
            return
        passphrase = site_passphrase(site, passphrase_file)
        for renewed in changes.renew(folder, due, passphrase):
            say(f"renewed {renewed}")
        say("Copy each folder to its machine and restart the service there.")


@app.command(epilog="Example:  sealtrace site revoke north bo --push")
def revoke(
    folder: SiteFolder,
    name: Annotated[str, typer.Argument(help="Custodian, officer, box, aggregator or broker.")],
    *,
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also if the site cannot go on without it; no question.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --dry-run: say it as JSON, for programs.")
    ] = False,
) -> None:
    """Put anyone out of the site: certificate, rights at the broker, entry in the directory.

    Says first what that will mean, and asks where it cannot simply be made good again.
    """
    if as_json and not dry_run:
        raise typer.BadParameter("goes with --dry-run", param_hint="--json")
    with reported():
        proposal = proposals.revoke(folder, name)
        if as_json:
            typer.echo(
                json.dumps(_revocation_json(proposal.site, name, proposal.effects), indent=2)
            )
            return
        carry_out(
            proposal,
            Answers(passphrase_file, push, officer, dry_run, yes, force),
            refused=f"'{name}' was not revoked; add --force if that is what you want",
        )


@app.command(
    "add-officer",
    epilog="Example:  sealtrace site add-officer north fay --duty approver --duty auditor --push",
)
def add_officer(
    folder: SiteFolder,
    name: Annotated[str, typer.Argument(help="Name of the officer.")],
    *,
    duty: Annotated[
        list[str], typer.Option(help="investigator, approver or auditor; may be repeated.")
    ],
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    own_passphrase_file: Annotated[
        Path | None, typer.Option(help="Passphrase of their secret files. Default: the site's.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Make a folder for a new officer and list them in a new version of the directory."""
    try:
        plan = OfficerPlan.model_validate({"name": name, "duties": duty})
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"]) from None
    with reported():

        def own_passphrase() -> bytes | None:
            if own_passphrase_file is None:
                return None
            return get_passphrase(own_passphrase_file, what=name, new=True)

        proposal = proposals.add_officer(folder, plan, own_passphrase)
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run))


@app.command(epilog="Example:  sealtrace site update north --push")
def update(
    folder: SiteFolder,
    *,
    push: Annotated[
        bool, typer.Option("--push", help="Also tell the custodians and the aggregator.")
    ] = False,
    sign: Annotated[
        bool,
        typer.Option(
            "--sign",
            help="Sign the directory anew, as it is: once all services of a site of version 1 have "
            "been updated, so that boxes go on to version 2.",
        ),
    ] = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Bring directory, policy and revocations in the role folders up to date."""
    with reported():
        proposal = proposals.sign_again(folder) if sign else proposals.update(folder)
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run))
        if not sign and proposal.site.directory.form < SECOND:
            note(
                "note: the directory is in the form of version 1, by which boxes seal as they have;"
                " see `sealtrace site update --help`, --sign"
            )


def _revocation_json(site: Site, name: str, effects: Sequence[Consequence]) -> dict[str, object]:
    left = site.directory
    if name in left.principals:
        left = left.revoke(name, at_ms=0)
    custodians = len(left.custodians())
    return {
        "name": name,
        "directory_version": site.directory.version + 1,
        "custodians": custodians,
        "threshold": left.threshold,
        "cosigners_needed": site_quorum(custodians, left.threshold),
        "refused": any(one.weight is Weight.REFUSED for one in effects),
        "consequences": [asdict(one) for one in effects],
    }


@app.command(
    epilog="Examples:  sealtrace site process north 2 --duty ingest --port 8451   |   "
    "sealtrace site process north 3 --duty api --port 8452 --dry-run"
)
def process(
    folder: SiteFolder,
    number: Annotated[int, typer.Argument(help="Which process: 2 to 16; the first is there.")],
    duty: Annotated[
        list[str], typer.Option(help="What it does: api, ingest, queries, upkeep; may be repeated.")
    ],
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port of its HTTP interface.")],
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Write what a further process of the aggregator needs; again, to renew its certificate.

    All processes of an aggregator work on one store. Give the first its duties in aggregator.toml
    ([processes] duties), or by `sealtrace aggregator serve --duty`.
    """
    with reported():
        site = open_site(folder)
        refuse_process(site, number)
        if unknown := sorted(set(duty) - _DUTIES):
            raise OperationError(
                f"there is no duty {', '.join(unknown)}; there are: {', '.join(sorted(_DUTIES))}"
            )
        if dry_run:
            say(f"would write aggregator-{number}.toml in {site.paths.aggregator.parent}")
            return
        passphrase = site_passphrase(site, passphrase_file)
        for path in add_process(folder, number, passphrase, duties=duty, port=port):
            say(f"wrote {path}")
        say("Have the broker read its rights again (SIGHUP), then start the process with")
        say(f"  sealtrace aggregator serve --config aggregator-{number}.toml")


@app.command(epilog="Example:  sealtrace site broker north --dry-run")
def broker(folder: SiteFolder, dry_run: DryRun = False) -> None:
    """Write the broker's configuration anew, as this version makes it, and its rights.

    For a site that an earlier version made, and after a change of the broker in site.toml. What was
    there before is kept beside it as *.before; changes of your own are not carried over.
    """
    with reported():
        site = open_site(folder)
        change = broker_change(site)
        if not change.any:
            say("the broker's configuration is the one that this version makes")
            return
        if dry_run:
            if change.config is not None:
                say(f"would write {site.paths.broker_config}")
            if change.aggregator is not None:
                port = site.plan.broker.headquarters
                say(f"would have the aggregator use port {port} of the broker")
            return
        with changing(site.paths):
            for path in change_broker(site, change):
                say(f"wrote {path}")
        say("Copy broker/ and aggregator/aggregator.toml to their machines if they run elsewhere.")
        say(f"Let the aggregator reach the broker's port {site.plan.broker.headquarters}, then")
        say("restart the broker, and after it the aggregator. Boxes connect again by themselves.")
