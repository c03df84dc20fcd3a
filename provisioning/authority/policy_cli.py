"""`sealtrace site policy`: have a changed policy signed, or bring it to the present schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from protocol.policy import parse_policy
from provisioning.authority import changes, open_site
from provisioning.authority.consequences import of_policy
from provisioning.authority.policy_holders import (
    Holder,
    officers,
    require_readers,
    services,
    unknown,
)
from provisioning.authority.policy_upgrade import has_models, upgrade_of
from provisioning.authority.push import officer_tls
from provisioning.authority.terminal import agree, say_consequences, site_passphrase
from provisioning.formats.opened import Site
from provisioning.formats.options import OfficerFile, PassphraseFile, SiteFolder, reported
from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.terminal import DryRun, note, say, warn
from runtime.text import quoted

_MAX_POLICY = 1 << 20
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Also if a role says that its software would refuse the policy."),
]


class _SignByDefault(TyperGroup):
    """Takes `site policy DIR FILE` for `site policy sign DIR FILE`, as it was called alone once."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put the command's name first where none is."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["sign", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="policy",
    cls=_SignByDefault,
    no_args_is_help=True,
    help="Sign a changed policy, or bring it to the present schema.",
)


@app.command(epilog="Example:  sealtrace site policy sign north policy-2.toml")
def sign(
    folder: SiteFolder,
    file: Annotated[Path, typer.Argument(help="The changed policy.toml, with a higher version.")],
    *,
    officer: OfficerFile = None,
    yes: Yes = False,
    force: Force = False,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Sign a changed policy and bring it to the role folders.

    Queries that refer to the old one are refused from then on. `site policy DIR FILE` is the same.
    """
    with reported():
        site = _opened(folder, finish=not dry_run)
        text = read_file(file, _MAX_POLICY)
        effects = changes.check_policy_change(site, text)
        say_consequences(effects)
        if effects:
            _check_software(site, text, officer, force=force)
        if dry_run:
            say(f"{file} can be signed; the policy in force is version {site.policy.version}")
            return
        agree(f"Sign {file} as the site's policy?", effects, yes=yes)
        _sign(site, text, passphrase_file)


@app.command(
    epilog="Examples:  sealtrace site policy upgrade north --dry-run > policy-2.toml"
    "   |   sealtrace site policy upgrade north"
)
def upgrade(
    folder: SiteFolder,
    *,
    officer: OfficerFile = None,
    yes: Yes = False,
    force: Force = False,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Bring the policy to the present schema, sign it, and say who still holds the old one.

    Keys that are missing are written out at their closed values; a threshold_floor that is missing,
    or below what the installed models recommend, is raised to that. Nothing is opened by it: with
    --dry-run the policy is printed, so that you can open in it what is needed and have it signed.
    """
    with reported():
        site = _opened(folder, finish=not dry_run)
        found = upgrade_of(site)
        if found is None:
            if not dry_run:  # an earlier run may have been stopped before it was everywhere
                changes.change_policy(folder, read_file(site.paths.policy, _MAX_POLICY), b"")
            say(
                f"policy version {site.policy.version} is of schema {site.policy.schema} and states"
                " every key; nothing is to do"
            )
            _say_models(site)
            _say_holders(site, services(site, *_caller(site, officer)))
            return
        effects = of_policy(site.directory, site.policy, found.policy)
        say_consequences(effects)
        if found.added:
            note(f"note: written out, closed: {', '.join(found.added)}")
        _say_models(site)
        _check_software(site, found.text, officer, force=force)
        if dry_run:
            typer.echo(found.text.decode(), nl=False)
            return
        agree("Sign this as the site's policy?", effects, yes=yes)
        _sign(site, found.text, passphrase_file)
        after = open_site(folder)
        say(
            f"To permit more: copy {after.paths.policy}, open what is needed, raise its version,"
            f" then: sealtrace site policy sign {quoted(after.paths.root)} FILE"
        )
        _say_holders(after, services(after, *_caller(after, officer)))


def _opened(folder: Path, *, finish: bool) -> Site:
    if finish:
        changes.finish_policy(folder)
    return open_site(folder)


def _caller(site: Site, officer: Path | None) -> tuple[TlsConfig | None, str]:
    """Return the certificates to ask with, or none and why."""
    try:
        return officer_tls(site, officer), ""
    except OperationError as error:
        if officer is not None:
            raise
        return None, str(error)


def _check_software(site: Site, text: bytes, officer: Path | None, *, force: bool) -> None:
    """Check that nobody who can be asked would refuse the policy; warn of those who cannot.

    Raises:
        SiteError: somebody would, and it is not forced.
    """
    schema = parse_policy(text).schema
    if schema == 1:
        return
    asked = services(site, *_caller(site, officer))
    reasons: dict[str, list[str]] = {}
    for one in unknown(asked):
        reasons.setdefault(one.problem, []).append(one.name)
    for problem, names in reasons.items():
        warn(
            f"nobody knows which software {', '.join(names)} runs: {problem}; update it before you"
            " put this policy there"
        )
    if not force:
        require_readers(asked, schema)


def _sign(site: Site, text: bytes, passphrase_file: Path | None) -> None:
    passphrase = site_passphrase(site, passphrase_file)
    changed = changes.change_policy(site.paths.root, text, passphrase)
    version = open_site(site.paths.root).policy.version
    say(f"policy version {version} is {'signed' if changed else 'in force already'}")
    say("Copy policy.toml and policy.toml.sig to every custodian, officer and the aggregator.")


def _say_models(site: Site) -> None:
    if not has_models(site.paths):
        note(
            "note: no models are installed here, so no threshold_floor was looked at; after"
            f" `sealtrace site models {quoted(site.paths.root)} BUNDLE` run this again"
        )


def _say_holders(site: Site, asked: Sequence[Holder]) -> None:
    """Say who is known to hold the policy in force, and what to do about everybody else."""
    policy = site.policy
    say(f"Policy version {policy.version} ({policy.digest.hex()[:16]}):")
    for one in (*asked, *officers(site)):
        if one.holds(policy.digest):
            say(f"  ✓ {one.name}: has it")
        elif one.problem:
            say(f"  ? {one.name}: {one.problem}; {one.to_do}")
        else:
            held = f"version {one.version}" if one.version else "another one"
            say(f"  ✗ {one.name}: has {held}; {one.to_do}")
