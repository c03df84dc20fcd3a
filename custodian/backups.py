"""Back up a custodian that runs, and put it back: everything but its day keys.

Day keys are in no backup: a copy that lies elsewhere would outlive their destruction. What stands
in for them are the other custodians, of whom m of n suffice; one that is put back makes new day
keys, and takes part again from each camera's next announcement.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from custodian.config import CustodianConfig
from custodian.custodian import read_identity
from custodian.store import Store
from protocol.signing import SigningKey
from runtime.backup.configuration import FILE, collect
from runtime.backup.databases import log_figures
from runtime.backup.manifest import Manifest, check_files, read_manifest
from runtime.backup.restoring import LOG, Restoring, require_own_account, restoring
from runtime.backup.role import (
    PAPERS,
    Asked,
    LogPutBack,
    Taken,
    add_rest,
    manifest_of,
    put_back_log,
)
from runtime.backup.taking import Tell, taking
from runtime.database import StorageError
from runtime.keyfiles import DEFAULT_COST, Cost

ROLE = "custodian"
PURPOSE = "custodian backup"
LEFT_OUT = "the day keys (day-keys.secret): what is destroyed here must not live on there"


@dataclass(frozen=True, slots=True)
class PutBack:
    """What was put back: by file, and of the log."""

    files: dict[str, str]
    log: LogPutBack


def back_up(
    path: Path,
    config: CustodianConfig,
    passphrase: bytes,
    out: Path,
    *,
    tell: Tell,
    cost: Cost = DEFAULT_COST,
) -> Taken:
    """Back up the custodian of the configuration at ``path`` to the new folder ``out``.

    Args:
        path: its configuration.
        config: as read from it.
        passphrase: of its identity; seals the configuration in the backup.
        out: the folder to be made.
        tell: is told what is being done.
        cost: of sealing (lower in tests only).

    Raises:
        OperationError: something cannot be read or written; there is no backup then.
    """
    require_own_account(config.state_dir)
    key = read_identity(config.identity, config.name, passphrase)
    configuration = collect(path, config, without=[config.state_dir])
    with taking(out, tell) as one:
        size_before = log_figures(config.state_dir / LOG)[0]
        one.add_database(config.database)
        add_rest(one, config, configuration, passphrase, role=ROLE, cost=cost)
        manifest = manifest_of(one, config, key, role=ROLE, size_before=size_before)
        one.finish(manifest, key)
    return Taken(manifest, configuration.outside)


def checked(backup: Path, config: CustodianConfig, key: SigningKey, *, tell: Tell) -> Manifest:
    """Return the manifest of a backup of this custodian, once every file has been compared.

    Raises:
        BackupInvalid: it is none, or is damaged.
    """
    manifest = read_manifest(backup, key.verify_key, role=ROLE, site=config.site, name=config.name)
    check_files(backup, manifest, tell)
    return manifest


def put_back(
    backup: Path,
    config: CustodianConfig,
    passphrase: bytes,
    asked: Asked,
    *,
    replace: bool,
    tell: Tell,
) -> PutBack:
    """Put the state of a custodian back from its backup; the service is stopped.

    Raises:
        OperationError: it cannot be; databases and log on the machine are as they were.
    """
    key = read_identity(config.identity, config.name, passphrase)
    manifest = checked(backup, config, key, tell=tell)
    with restoring(backup, manifest, config.state_dir, replace=replace, tell=tell) as one:
        staged = [one.stage(name) for name in (config.database.name, *PAPERS)]
        _open_once(one, staged[0])

        def place() -> None:
            for path in staged:
                one.place(path)

        log = put_back_log(one, config, key, asked, tls=config.tls, before_placing=place)
        return PutBack(one.done, log)


def _open_once(one: Restoring, database: Path | None) -> None:
    """Bring a staged database up to this version, before anything is put in its place.

    Raises:
        SchemaTooNew: a newer version made it.
    """
    if database is None:
        return
    try:
        Store(database).close()
    except StorageError:
        one.done.clear()
        raise


__all__ = ["FILE", "LEFT_OUT", "PURPOSE", "PutBack", "Taken", "back_up", "checked", "put_back"]
