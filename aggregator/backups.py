"""Back up an aggregator that runs, and put it back: ledger, packed segments, audit log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aggregator.config import AggregatorConfig
from aggregator.store.backing_up import (
    DUMP,
    ELSEWHERE,
    FILE,
    SERVER,
    add_ledger,
    add_objects,
    bring_up_to_date,
    check_objects,
    put_ledger_back,
    put_objects_back,
    require_room_for_ledger,
)
from protocol.names import EPOCH_MS
from protocol.signing import SigningKey
from runtime.backup.configuration import collect
from runtime.backup.databases import log_figures
from runtime.backup.manifest import Manifest, check_files, read_manifest
from runtime.backup.restoring import LOG, NotRestored, require_own_account, restoring
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
from runtime.bundle import MANIFEST_NAME, SIGNATURE_NAME
from runtime.clock import system_ms
from runtime.keyfiles import DEFAULT_COST, Cost, is_sealed, read_secret
from runtime.trust import read_policy

ROLE = "aggregator"
PURPOSE = "aggregator backup"
LEFT_OUT = "notices, leases in force, and whatever queries had in memory: resume those that ran"
_PLACES = "places.register"
_SEGMENTS = "segments"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says of a backup.

    Args:
        objects: copy packed segments; None: those of a folder, and of an S3 the list alone.
        ledger: take the ledger, where it is on a server.
    """

    objects: bool | None = None
    ledger: bool = True


@dataclass(frozen=True, slots=True)
class PutBack:
    """What was put back: by file, how many objects, and of the log."""

    files: dict[str, str]
    objects: int
    log: LogPutBack


def identity_of(config: AggregatorConfig, passphrase: bytes) -> SigningKey:
    """Return the aggregator's signing key.

    Raises:
        KeyFileError, FileProblem: it cannot be opened.
    """
    sealed = is_sealed(config.identity)
    return SigningKey(
        config.name, read_secret(config.identity, passphrase if sealed else None, "identity")
    )


def back_up(
    path: Path,
    config: AggregatorConfig,
    passphrase: bytes,
    out: Path,
    *,
    wanted: Wanted = Wanted(),
    tell: Tell,
    cost: Cost = DEFAULT_COST,
) -> Taken:
    """Back up the aggregator of the configuration at ``path`` to the new folder ``out``.

    Args:
        path: its configuration.
        config: as read from it.
        passphrase: of its identity; seals the configuration in the backup.
        out: the folder to be made.
        wanted: what is to be in it.
        tell: is told what is being done.
        cost: of sealing (lower in tests only).

    Raises:
        OperationError: something cannot be read or written; there is no backup then.
    """
    require_own_account(config.state_dir)
    key, place = identity_of(config, passphrase), config.store_place
    objects = place.objects
    without = [config.state_dir]
    if objects is not None and objects.folder is not None:
        without.append(objects.folder)
    bundle = config.bundle
    also = [] if bundle is None else [bundle / MANIFEST_NAME, bundle / SIGNATURE_NAME]
    configuration = collect(path, config, without=without, also=also)
    copied = wanted.objects
    if copied is None:
        copied = objects is not None and objects.folder is not None
    with taking(out, tell, kept=[_SEGMENTS]) as one:
        size_before = log_figures(config.state_dir / LOG)[0]
        ledger = add_ledger(place, one, without=not wanted.ledger, tell=tell)
        note = add_objects(place, one, copied=copied, tell=tell)
        papers = (*PAPERS, _PLACES)
        add_rest(one, config, configuration, passphrase, role=ROLE, papers=papers, cost=cost)
        manifest = manifest_of(
            one, config, key, role=ROLE, size_before=size_before, objects=note, ledger=ledger
        )
        one.finish(manifest, key)
    return Taken(manifest, configuration.outside)


def checked(backup: Path, config: AggregatorConfig, key: SigningKey, *, tell: Tell) -> Manifest:
    """Return the manifest of a backup of this aggregator, once all of it has been compared.

    Raises:
        BackupInvalid, StorageDamaged: it is none, or is damaged.
    """
    manifest = read_manifest(backup, key.verify_key, role=ROLE, site=config.site, name=config.name)
    check_files(backup, manifest, tell)
    check_objects(backup, manifest, tell)
    return manifest


def put_back(
    backup: Path,
    config: AggregatorConfig,
    passphrase: bytes,
    asked: Asked,
    *,
    replace: bool,
    tell: Tell,
) -> PutBack:
    """Put the state of an aggregator back from its backup; the service is stopped.

    Raises:
        OperationError: it cannot be; ledger and log on the machine are as they were.
    """
    key, place = identity_of(config, passphrase), config.store_place
    manifest = checked(backup, config, key, tell=tell)
    _require_same_kind(manifest, config)
    first_day = _first_day(config)
    with restoring(backup, manifest, config.state_dir, replace=replace, tell=tell) as one:
        into_server = manifest.ledger == SERVER and require_room_for_ledger(place)
        staged = [one.stage(name) for name in (config.database.name, *PAPERS, _PLACES)]
        if staged[0] is not None:
            bring_up_to_date(staged[0], place)
        dump = one.stage(DUMP) if into_server else None
        objects = put_objects_back(place, backup, manifest, first_day=first_day, tell=tell)

        def put() -> None:
            if dump is not None:
                put_ledger_back(place, dump, manifest.files[DUMP], tell)
            if manifest.ledger != FILE:
                one.done[place.name] = (
                    "put back" if into_server else "left as it is: the database is not empty"
                )
            for path in staged:
                one.place(path)

        log = put_back_log(one, config, key, asked, tls=config.tls, before_placing=put)
        return PutBack(one.done, objects, log)


def _first_day(config: AggregatorConfig) -> int:
    """Return the first day whose sightings are still kept (`aggregator.store.retention`)."""
    policy = read_policy(
        config.policy, config.policy_signature, authority=config.authority_key, site=config.site
    )
    return system_ms() // EPOCH_MS - policy.retention_days - 1


def _require_same_kind(manifest: Manifest, config: AggregatorConfig) -> None:
    on_server = manifest.ledger in {SERVER, ELSEWHERE}
    if on_server != bool(config.store.url):
        there = "a database of PostgreSQL" if on_server else "a file"
        raise NotRestored(
            f"the ledger in the backup is of {there}, and [store] url says otherwise: set it as it"
            " was; a ledger is moved later (`sealtrace aggregator migrate`)"
        )
