"""What the commands `backup` and `restore` of any role take, and what they print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from protocol.signing import SigningKey
from runtime.backup.configuration import FILE, opened, put_back, take_away
from runtime.backup.manifest import Manifest, require_signed
from runtime.backup.restoring import require_own_account
from runtime.backup.role import LogPutBack
from runtime.errors import OperationError
from runtime.terminal import say, warn

OutFolder = Annotated[
    Path, typer.Option("--out", "-o", metavar="FOLDER", help="The folder to be made.")
]
BackupFolder = Annotated[
    Path, typer.Argument(metavar="BACKUP", help="The folder that `backup` made.")
]
CheckOnly = Annotated[
    bool, typer.Option("--check", help="Only read the backup and compare every file; then stop.")
]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Put aside databases that are whole, too. A log that goes on where the backup's ends"
        " stays all the same.",
    ),
]
LogCopyFolder = Annotated[
    Path | None,
    typer.Option(
        "--log-copy",
        metavar="FOLDER",
        help="What an auditor's `sealtrace audit fetch` wrote: has what the log told since.",
    ),
]
Shorter = Annotated[
    bool,
    typer.Option(
        "--accept-shorter-log",
        help="Go on although others have seen more of the log. Tell the auditors before: they will"
        " find it.",
    ),
]
Alone = Annotated[
    bool,
    typer.Option("--without-witnesses", help="Ask no other role how much of the log it has seen."),
]


def show_taken(manifest: Manifest, out: Path, outside: tuple[Path, ...], left_out: str) -> None:
    """Print what is in a backup that was made, and what is not."""
    size = sum(note.size for note in manifest.files.values())
    say(f"{out}: {len(manifest.files)} files, {size / 1e6:,.1f} MB, as of {_moment(manifest)}")
    say(f"audit log: {manifest.log.size} entries")
    say(f"left out: {left_out}")
    for path in outside:
        warn(f"{path} is outside the configuration's folder and not in the backup; keep a copy")
    say(f"keep it where nobody else reads or writes; {FILE} opens with the identity's passphrase")


def show_checked(manifest: Manifest, backup: Path) -> None:
    """Print that a backup is whole."""
    say(
        f"{backup} is whole: {manifest.role} '{manifest.name}' of site '{manifest.site}', as of"
        f" {_moment(manifest)}, made by version {manifest.version}"
    )


@contextmanager
def configured_from(
    backup: Path, config: Path, passphrase: bytes, purpose: str, *, check: bool
) -> Iterator[None]:
    """Put the configuration back where there is none; one that is there stays.

    In the block it is checked that the backup is what the identity in it has signed; if it raises,
    what was put back is gone again, and in any case where the backup is only checked.

    Raises:
        NotRestored: root would leave it in a folder of another account.
        OperationError: it cannot be.
    """
    if config.exists():
        yield
        return
    found = opened(backup / FILE, passphrase, purpose)
    if found.name != config.name:
        raise OperationError(
            f"the configuration in {backup} is called {found.name}: give"
            f" --config {config.with_name(found.name)}"
        )
    require_own_account(config.absolute().parent)
    written, kept = put_back(found, config.parent)
    stays = False
    try:
        if not check:
            say(f"configuration: {len(written)} files put into {config.absolute().parent}")
            for name in kept:
                say(f"configuration: {name} was there and is left as it is")
        yield
        stays = not check
    finally:
        if not stays:
            take_away(written, config.parent)


def require_signed_configuration(backup: Path, key: SigningKey, *, role: str, site: str) -> None:
    """Check that the sealed configuration is the one that the identity signed for.

    Raises:
        BackupInvalid: it is not.
    """
    require_signed(backup, FILE, key.verify_key, role=role, site=site, name=key.signer)


def show_put_back(files: Mapping[str, str], log: LogPutBack) -> None:
    """Print what was put back, what others said of the log, and what it tells since."""
    for name, how in files.items():
        say(f"{name}: {how}")
    say(f"audit log: {log.size} entries, {log.continued} of them from the auditor's copy")
    for one in log.seen:
        said = one.problem and f"could not be asked ({one.problem})"
        say(f"'{one.name}': {said or f'has cosigned {one.size} entries'}")
    for one in log.more:
        warn(
            f"'{one.name}' has seen {one.size} entries of the log, more than it has now: that role"
            " cosigns it no more, and auditors find it (log-inconsistent)"
        )
    if withdrawn := log.since.get("withdrawal", 0):
        warn(
            f"{withdrawn} withdrawals came after the backup was begun, and may be forgotten: an"
            " auditor reads which (`sealtrace audit show FOLDER --kind withdrawal`); have each"
            " withdrawn again (`sealtrace query revoke QUERY`) as soon as this serves"
        )
    opened = sum(log.since.get(kind, 0) for kind in ("rows", "evidence"))
    if opened:
        warn(
            f"{opened} answers that opened rows or stills came after the backup was begun: they no"
            " longer count against what their queries may open"
        )


def _moment(manifest: Manifest) -> str:
    return f"{datetime.fromtimestamp(manifest.taken_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
