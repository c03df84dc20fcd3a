"""`sealtrace release`: sign models and agents for the fleet, roll them out, update a box."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from tuf.api.metadata import Metadata

from protocol.releases import KINDS, ROLLOUT_TARGET, Kind
from provisioning.box.updates.update_cli import status, update
from provisioning.fleet.releases import prune as pruning
from provisioning.fleet.releases import root
from provisioning.fleet.releases.keys import Passphrases, key_name, make_key, refuse_key
from provisioning.fleet.releases.repository import ReleaseRepository
from provisioning.fleet.releases.verify import verify as verify_repository
from provisioning.formats.releases import packages
from provisioning.formats.releases.errors import ReleaseError
from runtime import model_keys
from runtime.terminal import plain_table, reported, say, show_table, warn

_STOPPED = "stopped; run the same command again to go on"
_WARN_DAYS = 30

app = typer.Typer(
    name="release",
    no_args_is_help=True,
    add_completion=False,
    help="Sign models and agents for the fleet (TUF), roll them out, install them on a box.",
)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The release repository's folder.")]
PassphraseFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--passphrase-file",
        metavar="[KEY=]FILE",
        help="File with the passphrase of a key (an officer's name, targets, online), or of all;"
        " may be repeated. Default: SEALTRACE_PASSPHRASE, else it is asked.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command(
    epilog="Examples:  sealtrace release init releases --officer ana --officer bo --officer cy   |"
    "   sealtrace release init releases --officer ana=ana.pub --officer bo=bo.pub"
)
def init(
    folder: Folder,
    *,
    officer: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[=PUB]",
            help="A release officer; with a file, the key that `release key` made for them.",
        ),
    ],
    threshold: Annotated[
        int, typer.Option(help="How many officers must sign a new root (2 or more).")
    ] = root.MIN_THRESHOLD,
    lifetime: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=DAYS",
            help="How long signatures count. Default: root=365 targets=90 snapshot=7 timestamp=1.",
        ),
    ] = None,
    seal_online: Annotated[
        bool, typer.Option(help="Seal the online keys under a passphrase as well (key `online`).")
    ] = False,
    passphrase_file: PassphraseFiles = None,
    dry_run: DryRun = False,
) -> None:
    """Make a release repository: keys, the first root, empty lists. Overwrites nothing."""
    with reported(_STOPPED):
        plan = root.InitPlan(
            officers={
                name: Path(file) if file else None
                for name, _, file in (item.partition("=") for item in officer)
            },
            threshold=threshold,
            lifetime_days=dict(_role_days(item) for item in lifetime or ()),
            seal_online=seal_online,
        )
        plan.check()
        root.refuse_taken(folder)
        names = ", ".join(plan.officers)
        if dry_run:
            say(f"would make {folder}: officers {names}, {threshold} of whom sign a new root")
            return
        _tell(root.create(folder, plan, _passphrases(passphrase_file)))
        if len(plan.officers) == threshold:
            warn("one lost officer's key is enough to lock everybody out; add an officer in time")
        say(f"made {folder}. Serve {folder / 'public'}; give boxes {folder / 'trusted-root.json'}")
        say(
            "Now take officers' and targets key files in keys/ to media of their own; only"
            " snapshot-*.secret and timestamp-*.secret stay here."
        )


@app.command(epilog="Example:  sealtrace release key ana /media/ana/officer-ana.secret")
def key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    file: Annotated[Path, typer.Argument(help="Key file to write; FILE.pub goes beside it.")],
    *,
    passphrase_file: PassphraseFiles = None,
    dry_run: DryRun = False,
) -> None:
    """Make an officer's key on their own machine; hand over only the .pub file."""
    with reported(_STOPPED):
        if dry_run:
            refuse_key(file, name)
            say(f"would make a key for {name}: {file}, and {file.with_suffix('.pub')}")
            return
        passphrases = _passphrases(passphrase_file)
        make_key(file, name, passphrases.make(name), passphrases.cost)
        say(f"made {file}; hand {file.with_suffix('.pub')} to whoever runs `release init`")


@app.command("add-models", epilog="Example:  sealtrace release add-models releases site/models")
def add_models(
    folder: Folder,
    bundle: Annotated[Path, typer.Argument(help="Folder of a signed model bundle.")],
    *,
    trusted: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Public key that must vouch for the bundle: the site authority's (64 hexadecimal"
            " digits or a file). Default: the key beside the bundle, as `models build` made it.",
        ),
    ] = None,
    passphrase_file: PassphraseFiles = None,
    dry_run: DryRun = False,
) -> None:
    """Check a model bundle and add it. Boxes take it once it is rolled out."""
    with reported(_STOPPED):
        beside = bundle.resolve().parent / "keys" / model_keys.SIGNER_PUBLIC_NAME
        keys = [model_keys.read_public_key(text) for text in trusted or [str(beside)]]
        package = packages.bundle_package(bundle, keys)
        _tell(_open(folder, passphrase_file).add(package, dry_run=dry_run))
        say(f"models {package.version}")


@app.command(
    "add-agent",
    epilog="Example:  sealtrace release add-agent releases dist/sealtrace-0.2.0-py3-none-any.whl",
)
def add_agent(
    folder: Folder,
    wheels: Annotated[
        list[Path], typer.Argument(help="The agent's wheel, and wheels of libraries it needs anew.")
    ],
    *,
    passphrase_file: PassphraseFiles = None,
    dry_run: DryRun = False,
) -> None:
    """Add an agent. Boxes take it once it is rolled out."""
    with reported(_STOPPED):
        package = packages.agent_package(wheels)
        _tell(_open(folder, passphrase_file).add(package, dry_run=dry_run))
        say(f"agent {package.version}")


@app.command(
    epilog="Examples:  sealtrace release rollout releases --kind agent --version 0.2.0 --group"
    " canary   |   sealtrace release rollout releases --kind agent --version 0.2.0 --group all"
)
def rollout(
    folder: Folder,
    *,
    kind: Annotated[str, typer.Option(help="models or agent.")],
    version: Annotated[str, typer.Option(help="Version; for models, its beginning is enough.")],
    group: Annotated[str, typer.Option(help="Group of boxes; `all` ends every group's own way.")],
    passphrase_file: PassphraseFiles = None,
    dry_run: DryRun = False,
) -> None:
    """Let a group of boxes run a version: first `canary`, then, when they are well, `all`."""
    with reported(_STOPPED):
        repository = _open(folder, passphrase_file)
        _tell(repository.roll_out(_kind(kind), version, group, dry_run=dry_run))


@app.command(epilog="Example (a timer runs it):  sealtrace release timestamp releases")
def timestamp(
    folder: Folder,
    *,
    force: Annotated[bool, typer.Option(help="Renew both, whatever their age.")] = False,
    passphrase_file: PassphraseFiles = None,
    dry_run: DryRun = False,
) -> None:
    """Renew what the online keys sign, when half its life is over or something is new."""
    with reported(_STOPPED):
        repository = _open(folder, passphrase_file)
        _tell(repository.publish(force=force, dry_run=dry_run) or ["nothing is due"])
        _warn_of_expiry(repository)


@app.command(epilog="Example:  sealtrace release prune releases --keep 2 --dry-run")
def prune(
    folder: Folder,
    *,
    keep: Annotated[
        int, typer.Option(min=0, help="Old packages of each kind that stay, to go back to.")
    ] = pruning.DEFAULT_KEEP,
    passphrase_file: PassphraseFiles = None,
    dry_run: DryRun = False,
) -> None:
    """Take out old packages that no group runs; delete those that no box can ask for any more."""
    with reported(_STOPPED):
        repository, now = _open(folder, passphrase_file), datetime.now(UTC)
        done = pruning.prune(repository, keep, now=now, dry_run=dry_run)
        _tell(done or ["nothing is old"])
        if later := pruning.waiting(repository, now):
            say(later)


@app.command("renew-targets", epilog="Example:  sealtrace release renew-targets releases")
def renew_targets(
    folder: Folder, *, passphrase_file: PassphraseFiles = None, dry_run: DryRun = False
) -> None:
    """Sign the list of packages again before it expires (needs the offline targets key)."""
    with reported(_STOPPED):
        _tell(_open(folder, passphrase_file).renew_targets(dry_run=dry_run))


@app.command(
    "sign-root",
    epilog="Example:  sealtrace release sign-root releases --key /media/ana/officer-ana.secret",
)
def sign_root(
    folder: Folder,
    *,
    key: Annotated[Path, typer.Option(help="An officer's key file.")],
    passphrase_file: PassphraseFiles = None,
    dry_run: DryRun = False,
) -> None:
    """Sign the root that waits; with enough signatures it comes into force."""
    with reported(_STOPPED):
        passphrases = _passphrases(passphrase_file)
        repository = ReleaseRepository(folder, passphrases)
        _tell(root.sign(repository, key, passphrases, dry_run=dry_run))


@app.command(
    "rotate-root",
    epilog="Examples:  sealtrace release rotate-root releases --remove bo --add dora.pub   |   "
    "sealtrace release rotate-root releases   (only a new lifetime)",
)
def rotate_root(
    folder: Folder,
    *,
    add: Annotated[
        list[Path] | None,
        typer.Option(metavar="PUB", help="Officer's public key to add, or to put for their old."),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Officer to remove.")
    ] = None,
    threshold: Annotated[int | None, typer.Option(help="How many must sign from now on.")] = None,
    new_key: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE", help="targets, snapshot or timestamp: make it a new key."),
    ] = None,
    discard: Annotated[bool, typer.Option("--discard", help="Drop the root that waits.")] = False,
    passphrase_file: PassphraseFiles = None,
    dry_run: DryRun = False,
) -> None:
    """Make the next root and lay it out for signing: by enough officers of both, old and new."""
    with reported(_STOPPED):
        passphrases = _passphrases(passphrase_file)
        repository = ReleaseRepository(folder, passphrases)
        if discard:
            _tell(root.discard(repository, dry_run=dry_run))
            return
        change = root.RootChange(
            add=tuple(add or ()),
            remove=tuple(remove or ()),
            threshold=threshold,
            new_keys=tuple(new_key or ()),
        )
        _tell(root.stage(repository, change, passphrases, dry_run=dry_run))


@app.command(epilog="Example:  sealtrace release show releases")
def show(folder: Folder) -> None:
    """Show who signs what, how long it counts, the packages, and what each group is to run."""
    with reported(_STOPPED):
        repository = ReleaseRepository(folder)
        for line in root.staged_waiting(repository):
            warn(line)
        in_force = repository.root().signed
        documents: list[Metadata[Any]] = [repository.root(), repository.targets()]
        documents += [repository.snapshot(), repository.timestamp()]
        roles = plain_table("role", "version", "expires (UTC)", "keys of", "must sign")
        for document in documents:
            role = in_force.roles[document.signed.type]
            roles.add_row(
                document.signed.type,
                str(document.signed.version),
                f"{document.signed.expires:%Y-%m-%d %H:%M}",
                ", ".join(sorted(key_name(in_force.keys[key_id]) for key_id in role.keyids)),
                f"{role.threshold} of {len(role.keyids)}",
            )
        show_table(roles)
        current = repository.rollout()
        table = plain_table("package", "bytes", "groups")
        for name, target in sorted(repository.targets().signed.targets.items()):
            if name == ROLLOUT_TARGET:
                continue
            kind, _, version = name.removesuffix(".tar").partition("/")
            users = [g for g, kinds in current.groups.items() if (kind, version) in kinds.items()]
            table.add_row(name, f"{target.length:,}", ", ".join(sorted(users)))
        say()
        show_table(table)
        _warn_of_expiry(repository)


@app.command(epilog="Example:  sealtrace release verify releases")
def verify(folder: Folder) -> None:
    """Check everything the way a box does: signatures, versions, expiry, every package."""
    with reported(_STOPPED):
        found = verify_repository(folder)
        say(
            f"{folder}: {found.roots} root versions, {found.packages} packages"
            f" ({found.bytes:,} bytes): all signatures and hashes hold, nothing has expired"
        )


app.command(
    epilog="Examples:  sealtrace release update --config updates.toml --check   |   "
    "sealtrace release update --config updates.toml"
)(update)
app.command(epilog="Example:  sealtrace release status --config updates.toml --json")(status)


def _open(folder: Path, passphrase_files: list[str] | None) -> ReleaseRepository:
    return ReleaseRepository(folder, _passphrases(passphrase_files))


def _passphrases(items: list[str] | None) -> Passphrases:
    files = {}
    for item in items or ():
        name, separator, file = item.partition("=")
        files[name if separator else ""] = Path(file if separator else item)
    return Passphrases(files)


def _kind(text: str) -> Kind:
    for kind in KINDS:
        if text == kind:
            return kind
    raise ReleaseError(f"--kind {text}: name one of {', '.join(KINDS)}")


def _role_days(item: str) -> tuple[str, int]:
    role, _, days = item.partition("=")
    if not days.isascii() or not days.isdigit():
        raise ReleaseError(f"--lifetime {item}: write ROLE=DAYS, such as timestamp=2")
    return role, int(days)


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


def _warn_of_expiry(repository: ReleaseRepository) -> None:
    now = datetime.now(UTC)
    remedies = (
        (repository.root(), "`sealtrace release rotate-root` and two officers' `sign-root`"),
        (repository.targets(), "`sealtrace release renew-targets` with the targets key"),
    )
    for document, remedy in remedies:
        left = (document.signed.expires - now).days
        if left < _WARN_DAYS:
            warn(f"{document.signed.type} expires in {max(left, 0)} days: renew it with {remedy}")
