"""Back up, and put back, what custodians and aggregators have alike: log, papers, configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from protocol.auditlog import origin_of
from protocol.signing import SigningKey
from runtime.auditlog import AuditLog
from runtime.backup.configuration import FILE, Configuration
from runtime.backup.databases import log_figures
from runtime.backup.logs import (
    Seen,
    continue_by_copy,
    require_nothing_missing,
    told_since,
    what_others_saw,
)
from runtime.backup.manifest import LogNote, Manifest, ObjectsNote
from runtime.backup.restoring import LOG, WITNESS, Restoring
from runtime.backup.taking import Taking
from runtime.clock import system_ms
from runtime.config import PrincipalConfig, TlsConfig
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.keyfiles import DEFAULT_COST, Cost
from runtime.trust import Trust

PAPERS = ("directory.cbor", "directory-1.cbor", "admissions.cbor")
"""What a role has received since it was installed."""
_MAX_PAPER_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that was made."""

    manifest: Manifest
    outside: tuple[Path, ...]
    """Files that the configuration names and the backup does not hold."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of the log that is put back.

    Args:
        log_copy: an auditor's copy of it.
        shorter: put it back although others have seen more of it.
        alone: do not ask others.
    """

    log_copy: Path | None = None
    shorter: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class LogPutBack:
    """How the log was put back.

    Args:
        size: its entries.
        continued: of these, how many came from an auditor's copy.
        seen: what others said of it.
        more: those who have seen more.
        since: how many entries of each kind it has since the backup was begun.
    """

    size: int
    continued: int
    seen: list[Seen]
    more: list[Seen]
    since: Mapping[str, int] = field(default_factory=dict)


def add_rest(
    taking: Taking,
    config: PrincipalConfig,
    configuration: Configuration,
    passphrase: bytes,
    *,
    role: str,
    papers: tuple[str, ...] = PAPERS,
    cost: Cost = DEFAULT_COST,
) -> None:
    """Add papers, the sealed configuration and what was cosigned; at last the log.

    The log comes last so that it tells of all that is in the rest.
    """
    for name in papers:
        if (path := config.state_dir / name).is_file():
            taking.add(name, read_file(path, _MAX_PAPER_BYTES))
    taking.add(FILE, configuration.seal(passphrase, f"{role} backup", cost=cost))
    for name in (WITNESS, LOG):
        if not (config.state_dir / name).exists():
            raise OperationError(
                f"{config.state_dir / name} does not exist: this {role} has never run here (of an"
                " aggregator of several processes, back up the one with the duty `upkeep`)"
            )
        taking.add_database(config.state_dir / name)


def manifest_of(
    taking: Taking,
    config: PrincipalConfig,
    key: SigningKey,
    *,
    role: str,
    size_before: int,
    objects: ObjectsNote | None = None,
    ledger: str = "",
) -> Manifest:
    """Return the manifest of what has been taken."""
    size, root = log_figures(taking.folder / LOG)
    log = LogNote(
        origin=origin_of(config.site, key.signer),
        size_before=size_before,
        size=size,
        root=root.hex(),
    )
    return Manifest(
        role=role,
        site=config.site,
        name=key.signer,
        version=version("sealtrace"),
        taken_ms=system_ms(),
        files=taking.files,
        log=log,
        objects=objects,
        ledger=ledger,
    )


def put_back_log(
    restoring: Restoring,
    config: PrincipalConfig,
    key: SigningKey,
    asked: Asked,
    *,
    tls: TlsConfig | None,
    before_placing: Callable[[], None],
) -> LogPutBack:
    """Put back what was cosigned, and the log, once nothing of it is missing.

    Args:
        restoring: the restoring.
        config: the role's configuration.
        key: its identity.
        asked: what the command line says.
        tls: for asking others.
        before_placing: puts everything else in its place; called when the log may be put back.

    Raises:
        LogWouldFork: others have seen more of it, or another one.
    """
    path = restoring.stage_log(key)
    witness = restoring.stage_witness(key)
    with closing(AuditLog(path, origin_of(config.site, key.signer), key, {})) as log:
        continued = continue_by_copy(log, asked.log_copy) if asked.log_copy else 0
        trust = Trust(
            site=config.site,
            authority=config.authority_key,
            installed=config.directory,
            state_dir=None,
        )
        seen = (
            []
            if asked.alone
            else what_others_saw(log, trust.directory, key.signer, key.verify_key, tls)
        )
        more = require_nothing_missing(log, seen, shorter=asked.shorter)
        if not asked.alone and not any(not one.problem for one in seen):
            reasons = "; ".join(f"{one.name}: {one.problem}" for one in seen) or "it lists none"
            raise OperationError(
                f"no other role could be asked how much of the log it has seen ({reasons}): have"
                " this machine reach one, or say --without-witnesses where none is left"
            )
        found = LogPutBack(
            log.size, continued, seen, more, told_since(log, restoring.manifest.log.size_before)
        )
    before_placing()
    restoring.place(witness)
    restoring.place(path)
    return found
