"""`sealtrace aggregator backup` and `restore`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aggregator.config import AggregatorConfig
from runtime.backup import terminal as told
from runtime.config import load
from runtime.keyfiles import get_passphrase
from runtime.terminal import progress, reported, say

app = typer.Typer()
_Config = Annotated[Path, typer.Option("--config", "-c", help="The aggregator's configuration.")]
_PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="File with the identity's passphrase; else SEALTRACE_PASSPHRASE, or asked."),
]
_DEFAULT = Path("aggregator.toml")


class Objects(StrEnum):
    """What becomes of packed segments."""

    COPY = "copy"
    REFERENCE = "reference"


@app.command(
    epilog="Examples:  sealtrace aggregator backup --out /srv/backups/hq-monday"
    " --config aggregator.toml   |   sealtrace aggregator backup --out /srv/backups/hq-monday"
    " --objects reference --config aggregator.toml"
)
def backup(
    out: told.OutFolder,
    config: _Config = _DEFAULT,
    *,
    passphrase_file: _PassphraseFile = None,
    objects: Annotated[
        Objects | None,
        typer.Option(
            help="Copy packed segments, or take the list of them alone and leave them where they"
            " are. Default: copy those of a folder, list those of an S3."
        ),
    ] = None,
    without_ledger: Annotated[
        bool,
        typer.Option(
            "--without-ledger",
            help="Leave a ledger in PostgreSQL to the server's own backup.",
        ),
    ] = False,
) -> None:
    """Back up the aggregator, while it runs or not; of several processes, beside `upkeep`.

    The ledger as it is at one moment (a file, or a dump of PostgreSQL by pg_dump), its packed
    segments, the audit log and what was cosigned go into the new folder as they are, sealed
    as they came; the configuration with its keys is sealed under the identity's passphrase, and
    the identity signs a manifest. Interrupted, it goes on with the segments that it has.
    """
    from aggregator.backups import LEFT_OUT, Wanted, back_up  # noqa: PLC0415

    with reported("stopped; there is no backup, and the next to the same place goes on"):
        settings = load(config, AggregatorConfig)
        passphrase = get_passphrase(passphrase_file, what=str(settings.identity))
        wanted = Wanted(
            None if objects is None else objects is Objects.COPY, ledger=not without_ledger
        )
        with progress("backing up") as tell:
            taken = back_up(config, settings, passphrase, out, wanted=wanted, tell=tell)
        told.show_taken(taken.manifest, out, taken.outside, LEFT_OUT)
        note = taken.manifest.objects
        if note is not None:
            where = "copied" if note.copied else f"left in {note.place}"
            say(f"packed segments: {note.objects} objects, {note.size / 1e6:,.1f} MB, {where}")


@app.command(
    epilog="Examples:  sealtrace aggregator restore /srv/backups/hq-monday"
    " --config aggregator.toml   |   sealtrace aggregator restore /srv/backups/hq-monday"
    " --log-copy /media/eve/logs   |   sealtrace aggregator restore /srv/backups/hq-monday --check"
)
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
    """Put a stopped aggregator back from its backup, and check what came out.

    Where there is no configuration, it is put back first. Databases that are whole stay, those that
    are missing or damaged are put back; a dump goes into an empty database. Custodians are asked
    how much of the audit log they have seen; where that is more than the backup has, nothing is put
    back until an auditor's copy gives the rest. Boxes send again what has no receipt.
    """
    from aggregator.backups import PURPOSE, ROLE, checked, identity_of, put_back  # noqa: PLC0415
    from aggregator.service import read_installed  # noqa: PLC0415
    from runtime.backup.role import Asked  # noqa: PLC0415

    with reported("stopped; run it again to come to its end"):
        passphrase = get_passphrase(passphrase_file, what="the aggregator's identity")
        with told.configured_from(backup_folder, config, passphrase, PURPOSE, check=check):
            settings = load(config, AggregatorConfig)
            key = identity_of(settings, passphrase)
            told.require_signed_configuration(backup_folder, key, role=ROLE, site=settings.site)
        with progress("restoring") as tell:
            if check:
                manifest = checked(backup_folder, settings, key, tell=tell)
                told.show_checked(manifest, backup_folder)
                return
            asked = Asked(log_copy, shorter=accept_shorter_log, alone=without_witnesses)
            found = put_back(backup_folder, settings, passphrase, asked, replace=replace, tell=tell)
        told.show_put_back(found.files, found.log)
        say(f"packed segments: {found.objects} objects are in their place")
        read_installed(settings, key.seed, keep_state=False)
        say(f"{config} is in order")
        say(
            "next: start it, have the site's office run `sealtrace site update DIR --push`, and"
            " officers resume the queries that were running"
        )
