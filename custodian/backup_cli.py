"""`sealtrace custodian backup` and `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from custodian.config import CustodianConfig
from runtime.backup import terminal as told
from runtime.config import load
from runtime.keyfiles import get_passphrase
from runtime.terminal import progress, reported, say

app = typer.Typer()
_Config = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="The custodian's custodian.toml.")
]
_PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File with the passphrase of the identity; else SEALTRACE_PASSPHRASE, else it is"
        " asked for.",
    ),
]
_DEFAULT = Path("custodian.toml")


@app.command()
def backup(
    out: told.OutFolder,
    config: _Config = _DEFAULT,
    passphrase_file: _PassphraseFile = None,
) -> None:
    """Back up this custodian, while it runs or not: everything but its day keys.

    Withdrawals, what was opened, the audit log and what was cosigned go into the new folder as they
    lie on this disk, the configuration with its keys sealed under the identity's passphrase, and
    a manifest that the identity signs. Day keys are left out: a copy of them would outlive
    their destruction, and the other custodians stand in for them.

    Examples:
      sealtrace custodian backup --out /srv/backups/c1-monday --config custodian.toml

      sealtrace custodian backup -o /srv/backups/c1 --passphrase-file /run/secrets/passphrase
    """
    from custodian.backups import LEFT_OUT, back_up  # noqa: PLC0415 - loads what `--help` needs not

    with reported("stopped; there is no backup"):
        settings = load(config, CustodianConfig)
        passphrase = get_passphrase(passphrase_file, what=str(settings.identity))
        with progress("backing up") as tell:
            taken = back_up(config, settings, passphrase, out, tell=tell)
        told.show_taken(taken.manifest, out, taken.outside, LEFT_OUT)


@app.command()
def restore(
    backup_folder: told.BackupFolder,
    config: _Config = _DEFAULT,
    *,
    passphrase_file: _PassphraseFile = None,
    check: told.CheckOnly = False,
    replace: told.Replace = False,
    log_copy: told.LogCopyFolder = None,
    accept_shorter_log: told.Shorter = False,
    without_witnesses: told.Alone = False,
) -> None:
    """Put a stopped custodian back from its backup, and check what came out.

    Where there is no configuration, it is put back first. Databases that are whole stay, those that
    are missing or damaged are put back. Other roles are asked how much of this custodian's audit
    log they have seen; where that is more than the backup has, nothing is put back until an
    auditor's copy gives the rest. No day key comes back: at its start the custodian makes new ones.

    Examples:
      sealtrace custodian restore /srv/backups/c1-monday --config custodian.toml

      sealtrace custodian restore /srv/backups/c1-monday --log-copy /media/eve/logs

      sealtrace custodian restore /srv/backups/c1-monday --check
    """
    from custodian.backups import PURPOSE, ROLE, checked, put_back  # noqa: PLC0415
    from custodian.checking import check_installed  # noqa: PLC0415
    from custodian.custodian import read_identity  # noqa: PLC0415
    from runtime.backup.role import Asked  # noqa: PLC0415

    with reported("stopped; run it again to come to its end"):
        passphrase = get_passphrase(passphrase_file, what="the custodian's identity")
        with told.configured_from(backup_folder, config, passphrase, PURPOSE, check=check):
            settings = load(config, CustodianConfig)
            key = read_identity(settings.identity, settings.name, passphrase)
            told.require_signed_configuration(backup_folder, key, role=ROLE, site=settings.site)
        with progress("restoring") as tell:
            if check:
                manifest = checked(backup_folder, settings, key, tell=tell)
                told.show_checked(manifest, backup_folder)
                return
            asked = Asked(log_copy, shorter=accept_shorter_log, alone=without_witnesses)
            found = put_back(backup_folder, settings, passphrase, asked, replace=replace, tell=tell)
        told.show_put_back(found.files, found.log)
        check_installed(settings, passphrase)
        say(f"{config} is in order")
        say(
            "next: bring it the newest directory and policy (`sealtrace site update DIR --push` by"
            " the site's office, once it runs), start it, and look at `sealtrace custodian status`"
        )
