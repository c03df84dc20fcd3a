"""`sealtrace site`: make a site, look at it, back it up, renew, revoke, change its policy."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from provisioning.authority import (
    addresses_cli,
    cluster_cli,
    create_site,
    load_plan,
    open_site,
    policy_cli,
    registers_cli,
    site_changes_cli,
)
from provisioning.authority.backup import backup_site, check_restore, refuse_backup, restore_site
from provisioning.authority.consequences import agreement
from provisioning.authority.create import refuse_existing, refuse_too_few
from provisioning.authority.example import example_toml
from provisioning.authority.guide import ask_plan
from provisioning.authority.inspect import Report, inspect_site
from provisioning.authority.modelbundle import check_bundle, install_bundle
from provisioning.authority.policy_text import POLICY_SCHEMA_OF_NEW_SITES
from provisioning.authority.terminal import days
from provisioning.formats.opened import Site, changing
from provisioning.formats.options import PassphraseFile, SiteFolder, reported
from provisioning.formats.plan import SitePlan
from provisioning.formats.secretfiles import PURPOSES, open_authority
from runtime import keyfiles
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.keyfiles import get_passphrase
from runtime.policy_words import confirmations_text, permitted_text, policy_json, purposes_text
from runtime.terminal import DryRun, err, note, out, plain_table, progress, say, show_table, warn
from runtime.text import quoted

app = typer.Typer(
    name="site",
    no_args_is_help=True,
    add_completion=False,
    help="Make a site: its authorities, keys and certificates, one folder a role; then keep it.",
)
app.add_typer(site_changes_cli.app)
app.add_typer(policy_cli.app)
app.add_typer(registers_cli.app)
app.command(
    epilog="Example:  sealtrace site addresses custodian.toml --also 10.2.0.0/24 --out"
    " /etc/systemd/system/sealtrace-custodian.service.d/50-addresses.conf"
)(addresses_cli.addresses)
app.command(
    epilog="Examples:  sealtrace site cluster north --scheduler 10.0.0.5:8786 --worker rack-1"
    "   |   sealtrace site cluster north --worker rack-2   |   sealtrace site cluster north"
)(cluster_cli.cluster)


@app.command(
    epilog="Examples:  sealtrace site init north --config site.toml   |   sealtrace site init north"
    "   |   sealtrace site init --example > site.toml"
)
def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder to make the site in.")
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="site.toml to make it from. Default: questions."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    role_passphrase_file: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Passphrase of a custodian, officer or the aggregator alone; may be repeated.",
        ),
    ] = None,
    example: Annotated[
        bool, typer.Option("--example", help="Print a commented site.toml and stop.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Make a site's CAs, authority, keys, certificates, directory, policy and role folders.

    Nothing is overwritten: DIR must be new or empty, and appears only when it is whole.
    """
    if example:
        typer.echo(example_toml(), nl=False)
        return
    if folder is None:
        raise typer.BadParameter("name the folder to make the site in", param_hint="DIR")
    with reported():
        refuse_existing(folder)
        plan = load_plan(config) if config is not None else ask_plan(err)
        refuse_too_few(plan)
        for line in plan.warnings():
            warn(line)
        if dry_run:
            _show_plan(plan, folder)
            return
        own = _role_passphrases(plan, role_passphrase_file or [])
        passphrase = get_passphrase(passphrase_file, what=f"the site '{plan.site}'", new=True)
        with progress(f"site {plan.site}") as notify:
            paths = create_site(plan, folder, passphrase, role_passphrases=own, notify=notify)
        say(f"site '{plan.site}' is in {paths.root}")
        _next_steps(plan, folder)


@app.command(epilog="Examples:  sealtrace site show north   |   sealtrace site show north --json")
def show(
    folder: SiteFolder,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Verify the directory and policy; list who is in the site, days left, and what is due.

    Exit code 1 when something is wrong or runs out within a week.
    """
    with reported():
        site = open_site(folder)
        report = inspect_site(site)
        if as_json:
            typer.echo(json.dumps(_site_json(site, report), indent=2))
        else:
            _show_site(site, report)
        if report.problems:
            raise typer.Exit(1)


@app.command(epilog="Example:  sealtrace site backup north --out north-2027-01-31.backup")
def backup(
    folder: SiteFolder,
    out_file: Annotated[Path, typer.Option("--out", help="File to write; must not exist.")],
    passphrase_file: PassphraseFile = None,
    *,
    dry_run: DryRun = False,
) -> None:
    """Write the site's folder, without models and state, into one encrypted file.

    The secret files in it stay under their own passphrases; the backup may have another.
    """
    with reported():
        site = open_site(folder)
        if dry_run:
            refuse_backup(out_file)
            say(f"would write the site '{site.plan.site}', without models and state, to {out_file}")
            return
        passphrase = get_passphrase(passphrase_file, what="the backup", new=True)
        size = backup_site(site, out_file, passphrase)
        say(f"{out_file}: {size:,} bytes. Keep it on another medium, in another place.")


@app.command(epilog="Example:  sealtrace site restore north-2027-01-31.backup north")
def restore(
    archive: Annotated[Path, typer.Argument(help="File made by `sealtrace site backup`.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the site.")],
    passphrase_file: PassphraseFile = None,
    *,
    dry_run: DryRun = False,
) -> None:
    """Unpack a backup into a new folder and verify it."""
    with reported():
        if dry_run:
            check_restore(archive, folder)
            say(f"would unpack {archive} into the new folder {folder}")
            return
        passphrase = get_passphrase(passphrase_file, what="the backup")
        paths = restore_site(archive, folder, passphrase)
        site = open_site(paths.root)
        say(f"site '{site.plan.site}', directory version {site.directory.version}: {paths.root}")
        say(f"Give it its models again: sealtrace site models {quoted(folder)} BUNDLE")


@app.command(epilog="Example:  sealtrace site models north .sealtrace/models")
def models(
    folder: SiteFolder,
    bundle: Annotated[Path, typer.Argument(help="Folder of a signed model bundle.")],
    signer: Annotated[
        Path | None,
        typer.Option(help="Public key file of who signed it. Default: the one beside the bundle."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    *,
    dry_run: DryRun = False,
) -> None:
    """Have the site's authority sign a model bundle, and put it into the folders that use one."""
    with reported():
        site = open_site(folder)
        if dry_run:
            loaded = check_bundle(bundle, site.authority, signer=signer)
            models_in_it = ", ".join(entry.model_id for entry in loaded.manifest.models)
            say(f"would sign {bundle} ({models_in_it}) and put it into the role folders")
            return
        passphrase = get_passphrase(passphrase_file, what=f"the site '{site.plan.site}'")
        with changing(site.paths):
            authority = open_authority(site.paths, passphrase)
            install_bundle(site.paths, bundle, authority, signer=signer)
        say(f"{site.paths.models} is signed by the site's authority and in the role folders")


@app.command(epilog="Example:  sealtrace site passphrase north/custodians/c1/identity.secret")
def passphrase(
    file: Annotated[Path, typer.Argument(help="A secret file.")],
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the new passphrase. Default: it is asked.")
    ] = None,
    *,
    dry_run: DryRun = False,
) -> None:
    """Give a secret file another passphrase, for example when a custodian receives theirs."""
    with reported():
        old = get_passphrase(passphrase_file, what=str(file))
        purpose, secret = _open_any(file, old)
        if dry_run:
            say(f"{file} opens; it would be sealed under a new passphrase")
            return
        new = get_passphrase(new_passphrase_file, what=f"{file} from now on", new=True)
        keyfiles.write_secret(file, secret, new, purpose, overwrite=True)
        say(f"{file} now opens with the new passphrase only (older copies and backups do not)")


def _role_passphrases(plan: SitePlan, options: list[str]) -> dict[str, bytes]:
    names = {"aggregator"}
    names |= {custodian.name for custodian in plan.custodians}
    names |= {officer.name for officer in plan.officers}
    found = {}
    for option in options:
        name, equals, file = option.partition("=")
        if not equals or name not in names:
            raise typer.BadParameter(
                f"'{option}' is not NAME=FILE with a name of: {', '.join(sorted(names))}",
                param_hint="--role-passphrase-file",
            )
        found[name] = get_passphrase(Path(file), what=name, new=True)
    return found


def _show_plan(plan: SitePlan, folder: Path) -> None:
    say(f"would make the site '{plan.site}' in {folder}:")
    say(f"  custodians  {agreement(len(plan.custodians), plan.threshold)}")
    for custodian in plan.custodians:
        say(f"    {custodian.name}  {custodian.url}")
    say(f"  aggregator  {plan.aggregator.url}")
    say(f"  broker      {plan.broker.kind}, {plan.broker.host}:{plan.broker.port}")
    if plan.registrar is not None:
        say(f"  registrar   {plan.registrar.url}")
    for officer in plan.officers:
        say(f"  officer     {officer.name}  {', '.join(officer.duties)}")
    for box in plan.boxes:
        say(f"  box         {box.name}  {', '.join(camera.name for camera in box.cameras)}")
    say(f"  policy      {plan.policy.approvals} approvals, {plan.policy.retention_days} days kept,")
    say(f"              programme ends {plan.policy.programme_ends:%Y-%m-%d}")


def _next_steps(plan: SitePlan, folder: Path) -> None:
    say("Next:")
    say(f"  1. sealtrace site backup {quoted(folder)} --out FILE        (keep it somewhere else)")
    say(f"  2. carry each folder in {folder} to its machine; README.txt in it says how to start")
    if plan.bundle is None:
        say(f"  3. sealtrace site models {quoted(folder)} BUNDLE           (boxes need models)")
        say(
            f"  4. sealtrace site policy upgrade {quoted(folder)}   (states a threshold_floor for "
            "them; until then no query may compare)"
        )
    say("  ca/ and authority/ stay on a machine that is off the network.")


def _show_site(site: Site, report: Report) -> None:
    directory, rules = site.directory, site.policy
    custodians = len(directory.custodians())
    out.print(
        f"[bold]Site {site.plan.site}[/]   {site.paths.root}", highlight=False, soft_wrap=True
    )
    say(
        f"directory version {directory.version}, signed by {site.authority.fingerprint} ✓"
        f"   {agreement(custodians, directory.threshold)}"
    )
    say(
        f"policy version {rules.version} ✓   {rules.approvals} approvals, at most"
        f" {rules.max_window_hours} h back, {rules.max_live_hours} h live, {rules.max_cameras}"
        f" cameras; sightings kept {rules.retention_days} days; programme ends"
        f" {datetime.fromtimestamp(rules.programme_ends_ms / 1000, UTC):%Y-%m-%d}"
    )
    say(
        f"  for {purposes_text(rules)}; permits: {permitted_text(rules)};"
        f" {confirmations_text(rules)}"
    )
    if rules.schema < POLICY_SCHEMA_OF_NEW_SITES:
        note(
            f"note: the policy is of schema {rules.schema}, which cannot say all that can be"
            " permitted by now; see"
            f" `sealtrace site policy upgrade {quoted(site.paths.root)} --dry-run`"
        )
    columns = ("name", "duties", "cameras or address", "key", "certificate", "folder")
    table = plain_table(*columns, whole={*columns} - {"cameras or address", "duties"})
    for row in report.rows:
        state = days(row.certificate_days)
        if row.revoked_at is not None:
            state = f"[red]revoked {row.revoked_at:%Y-%m-%d}[/]"
        here = "here" if row.folder else "away"
        detail = row.detail.removeprefix("https://")
        table.add_row(row.name, row.duties, detail, row.fingerprint, state, here)
    show_table(table)
    for line in report.registers:
        say(line)
    for problem in report.problems:
        warn(problem)


def _site_json(site: Site, report: Report) -> dict[str, object]:
    rows = [
        {
            "name": row.name,
            "duties": row.duties.split(", "),
            "key": row.fingerprint,
            "certificate_days": row.certificate_days,
            "revoked_at": None if row.revoked_at is None else row.revoked_at.isoformat(),
            "here": row.folder is not None,
            "passkeys": [
                {"key": one.fingerprint, "rp_id": one.rp_id, "origin": one.origin}
                for one in site.directory.principals[row.name].passkeys
            ],
        }
        for row in report.rows
    ]
    return {
        "site": site.plan.site,
        "directory_version": site.directory.version,
        "threshold": site.directory.threshold,
        "policy": policy_json(site.policy),
        "principals": rows,
        "places": None if site.directory.places is None else site.directory.places.hex(),
        "outside_witnesses": [
            {"name": one.name, "key": one.verify_key.fingerprint, "url": one.url}
            for one in site.directory.outside_witnesses
        ],
        "problems": list(report.problems),
    }


def _open_any(file: Path, passphrase: bytes) -> tuple[str, bytes]:
    """Open a secret file whatever it is for."""
    for line in read_file(file, 4 << 20).decode("ascii", "replace").splitlines()[:6]:
        name, _, value = line.partition(": ")
        if name == "purpose" and value in PURPOSES:
            return value, keyfiles.read_secret(file, passphrase, value)
    raise OperationError(f"{file} is not a secret file of a site; name an identity.secret or alike")
