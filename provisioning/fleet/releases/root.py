"""The root of trust for releases: made, changed and signed by a threshold of release officers.

A new root is staged until enough officers have signed it: at least the threshold of the root in
force *and* of the new one (TUF specification, 6.1). Until then nothing of it reaches a box.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, RootVerificationResult, Snapshot, Targets, Timestamp

from provisioning.fleet.releases.keys import (
    Passphrases,
    key_name,
    make_key,
    read_public,
    signer_from,
)
from provisioning.fleet.releases.layout import ReleasePaths
from provisioning.fleet.releases.repository import (
    LIFETIME_DAYS,
    LIFETIME_FIELD,
    ONLINE,
    ReleaseRepository,
    role_keys,
)
from provisioning.formats.releases.errors import ReleaseError
from runtime.fsio import FileProblem, atomic_write, fsync_folder, private_folder
from runtime.text import quoted

MIN_THRESHOLD = 2
_SIGNING_ROLES = (Targets.type, Snapshot.type, Timestamp.type)


@dataclass(frozen=True, slots=True)
class InitPlan:
    """What `init` is to make."""

    officers: Mapping[str, Path | None]
    """Release officer to the public half of a key they made; None: make one here."""
    threshold: int = MIN_THRESHOLD
    lifetime_days: Mapping[str, int] = field(default_factory=dict)
    """Role to days, where it is not to be the default."""
    seal_online: bool = False
    """Whether the online keys are sealed under a passphrase too."""

    def check(self) -> None:
        """Raise `ReleaseError` unless this can be made."""
        _check_threshold(self.threshold, len(self.officers))
        for role, days in self.lifetime_days.items():
            if role not in LIFETIME_DAYS or not 1 <= days <= 3650:
                raise ReleaseError(
                    f"--lifetime {role}={days}: name one of {', '.join(LIFETIME_DAYS)} and 1 to"
                    " 3650 days"
                )


def create(
    folder: Path,
    plan: InitPlan,
    passphrases: Passphrases,
    *,
    now: Callable[[], datetime] | None = None,
) -> list[str]:
    """Make a release repository in the new folder ``folder``, all of it or nothing.

    Returns:
        What was done and what is still to do, one line each.

    Raises:
        ReleaseError: the plan cannot be, or the folder is taken.
        KeyFileError, FileProblem: see `runtime.keyfiles`.
    """
    plan.check()
    refuse_taken(folder)
    staging = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
    private_folder(staging)
    try:
        done = _fill(staging, plan, passphrases, now or (lambda: datetime.now(UTC)))
        staging.chmod(0o755)  # only keys/ is secret
        if folder.exists():
            folder.rmdir()
        staging.rename(folder)
        fsync_folder(folder.parent)
    except OSError as error:
        raise FileProblem(f"cannot make {folder}: {error.strerror}; check its parent") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return done


def refuse_taken(folder: Path) -> None:
    """Raise `ReleaseError` if something is in ``folder`` already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ReleaseError(
            f"{folder} exists already and is left as it is;"
            f" `sealtrace release show {quoted(folder)}` tells what is in it,"
            " or choose another folder"
        )


@dataclass(frozen=True, slots=True)
class RootChange:
    """What a new root has otherwise; with nothing, it is only renewed."""

    add: tuple[Path, ...] = ()
    """Public halves of keys of officers to add (or to exchange, if the name is known)."""
    remove: tuple[str, ...] = ()
    """Officers to remove."""
    threshold: int | None = None
    new_keys: tuple[str, ...] = ()
    """Of ``targets``, ``snapshot`` and ``timestamp``: those that get a new key."""


def stage(
    repository: ReleaseRepository,
    change: RootChange,
    passphrases: Passphrases,
    *,
    dry_run: bool = False,
) -> list[str]:
    """Make the next root and lay it out for signing; return what is to be done.

    Raises:
        ReleaseError: another one waits already, or it would not have enough keys.
    """
    paths = repository.paths
    if paths.staged_root.exists():
        raise ReleaseError(
            f"a new root waits for signatures already ({paths.staged_root}); sign it, or drop it"
            " with `sealtrace release rotate-root --discard`"
        )
    root = repository.root().signed
    old = len(role_keys(root, Root.type))
    added = [read_public(path) for path in change.add]
    for name in [*change.remove, *(key_name(key) for key in added)]:
        key = role_keys(root, Root.type).get(name)
        if key is not None:
            root.revoke_key(key.keyid, Root.type)
        elif name in change.remove:
            known = ", ".join(sorted(role_keys(root, Root.type)))
            raise ReleaseError(f"{name} is not a release officer; there are: {known}")
    for key in added:
        _add_officer(root, key)
    root.roles[Root.type].threshold = change.threshold or root.roles[Root.type].threshold
    count = len(role_keys(root, Root.type))
    _check_threshold(root.roles[Root.type].threshold, count)
    if unknown := set(change.new_keys) - set(_SIGNING_ROLES):
        raise ReleaseError(
            f"--new-key {', '.join(sorted(unknown))}: name one of {', '.join(_SIGNING_ROLES)};"
            " officers' keys change with --add and --remove"
        )
    root.version += 1
    root.expires = repository.expiry(root, Root.type)
    about = (
        f"root version {root.version}: {count} officers (were {old}), "
        f"{root.roles[Root.type].threshold} must sign, until {root.expires:%Y-%m-%d}"
    )
    if dry_run:
        return [f"would stage {about}"]
    for role in sorted(set(change.new_keys)):
        sealed = role == Targets.type
        passphrase = passphrases.make(role) if sealed else None
        for key_id in list(root.roles[role].keyids):
            root.revoke_key(key_id, role)
        root.add_key(_make_role_key(paths, role, passphrase, passphrases), role)
    metadata = Metadata(root)
    _stage(paths, metadata)
    return [f"staged {about}", *_waiting(_status(repository, metadata))]


def discard(repository: ReleaseRepository, *, dry_run: bool = False) -> list[str]:
    """Drop the root that waits; the one in force stays.

    Raises:
        ReleaseError: it is the first one, and there is no other.
    """
    if not repository.paths.staged_root.exists():
        return ["no root waits for signatures"]
    repository.root()
    if dry_run:
        return [f"would drop {repository.paths.staged_root}"]
    repository.paths.staged_root.unlink()
    return ["dropped the root that waited for signatures; the one in force stays"]


def sign(
    repository: ReleaseRepository,
    key_file: Path,
    passphrases: Passphrases,
    *,
    dry_run: bool = False,
) -> list[str]:
    """Add one officer's signature to the root that waits; with enough, put it in force.

    Raises:
        ReleaseError: none waits, or the key has no say in it.
        KeyFileError: the key file cannot be opened.
    """
    paths = repository.paths
    if not paths.staged_root.exists():
        return ["no root waits for signatures"]
    metadata = repository.read(paths.staged_root, Root)
    status = _status(repository, metadata)
    keys = status.signed | status.unsigned
    who = key_file.name.removesuffix(".secret").removeprefix("officer-")
    if dry_run:
        return [f"would sign root version {metadata.signed.version} with {key_file}"]
    signer = signer_from(passphrases.open(key_file, who), keys, str(key_file))
    metadata.sign(signer, append=True)
    _stage(paths, metadata)
    done = [f"{key_name(signer.public_key)} signed root version {metadata.signed.version}"]
    return done + enforce(repository)


def enforce(repository: ReleaseRepository) -> list[str]:
    """Put the root that waits in force if enough officers have signed it; say what is missing."""
    paths = repository.paths
    metadata = repository.read(paths.staged_root, Root)
    status = _status(repository, metadata)
    if not status.verified:
        return _waiting(status)
    path = paths.versioned(Root.type, metadata.signed.version)
    if not path.exists():
        repository.write(Root.type, metadata)
    paths.staged_root.unlink()
    done = [f"root version {metadata.signed.version} is in force"]
    root = metadata.signed
    targets = repository.targets()
    result = root.get_verification_result(Targets.type, targets.signed_bytes, targets.signatures)
    if result.verified:
        return done + repository.publish()
    if repository.key_files(root, Targets.type):
        return done + repository.renew_targets()
    return [*done, "the targets key is new: run `sealtrace release renew-targets` where it is"]


def staged_waiting(repository: ReleaseRepository) -> list[str]:
    """Return what the root that waits still needs, one line each; nothing when none waits."""
    if not repository.paths.staged_root.exists():
        return []
    metadata = repository.read(repository.paths.staged_root, Root)
    return [
        f"root version {metadata.signed.version}: {line}"
        for line in _waiting(_status(repository, metadata))
    ]


def _fill(
    folder: Path, plan: InitPlan, passphrases: Passphrases, now: Callable[[], datetime]
) -> list[str]:
    paths = ReleasePaths(folder)
    for made in (paths.public, paths.metadata, paths.targets):
        made.mkdir()
        made.chmod(0o755)
    private_folder(paths.keys)
    repository = ReleaseRepository(folder, passphrases, now=now)
    root = Root(consistent_snapshot=True)
    root.unrecognized_fields[LIFETIME_FIELD] = LIFETIME_DAYS | dict(plan.lifetime_days)
    own: list[str] = []
    for name, public in sorted(plan.officers.items()):
        if public is not None:
            key = read_public(public, name)
        else:
            key = make_key(paths.officer_key(name), name, passphrases.make(name), passphrases.cost)
            own.append(name)
        _add_officer(root, key)
    root.roles[Root.type].threshold = plan.threshold
    for role in _SIGNING_ROLES:
        sealed = "online" if role in ONLINE else role
        passphrase = passphrases.make(sealed) if plan.seal_online or role not in ONLINE else None
        root.add_key(_make_role_key(paths, role, passphrase, passphrases), role)
    root.expires = repository.expiry(root, Root.type)
    _stage(paths, Metadata(root))
    targets, snapshot, timestamp = Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp())
    repository.sign(root, Targets.type, targets)
    repository.write(Targets.type, targets)
    snapshot.signed.meta["targets.json"] = repository.meta(Targets.type, 1)
    repository.sign(root, Snapshot.type, snapshot)
    repository.write(Snapshot.type, snapshot)
    timestamp.signed.snapshot_meta = repository.meta(Snapshot.type, 1)
    repository.sign(root, Timestamp.type, timestamp)
    repository.write(Timestamp.type, timestamp)
    done = [f"made keys of {', '.join([*own, *_SIGNING_ROLES])}"]
    for name in own:
        if repository.paths.staged_root.exists():
            done += sign(repository, paths.officer_key(name), passphrases)
        else:
            break
    return done


def _make_role_key(
    paths: ReleasePaths, role: str, passphrase: bytes | None, passphrases: Passphrases
) -> Key:
    """Make a key file whose name says which key it is: the id is known only afterwards."""
    temporary = paths.keys / f".{role}.{secrets.token_hex(4)}.secret"
    key = make_key(temporary, role, passphrase, passphrases.cost)
    temporary.rename(paths.role_key(role, key.keyid))
    temporary.with_suffix(".pub").unlink()
    return key


def _add_officer(root: Root, key: Key) -> None:
    if key.keyid in root.keys:
        raise ReleaseError(
            f"the key of {key_name(key)} is in the root already; every officer has one of their own"
        )
    root.add_key(key, Root.type)


def _check_threshold(threshold: int, officers: int) -> None:
    if threshold < MIN_THRESHOLD:
        raise ReleaseError(
            f"a threshold of {threshold} would let one stolen key replace the root; it must be"
            f" {MIN_THRESHOLD} or more"
        )
    if officers < threshold:
        raise ReleaseError(
            f"{officers} release officers cannot give {threshold} signatures; name more officers"
            " (three with a threshold of two can lose a key)"
        )


def _stage(paths: ReleasePaths, metadata: Metadata[Root]) -> None:
    atomic_write(paths.staged_root, metadata.to_bytes())


def _status(repository: ReleaseRepository, metadata: Metadata[Root]) -> RootVerificationResult:
    version = metadata.signed.version
    previous = repository.root().signed if version > 1 else None
    if previous is not None and previous.version == version:  # stopped just after publishing
        path = repository.paths.versioned(Root.type, version - 1)
        previous = repository.read(path, Root).signed
    if previous is not None and previous.version != version - 1:
        raise ReleaseError(
            f"{repository.paths.staged_root} is root version {version}, but version"
            f" {previous.version} is in force; drop it with `rotate-root --discard`"
        )
    return metadata.signed.get_root_verification_result(
        previous, metadata.signed_bytes, metadata.signatures
    )


def _waiting(status: RootVerificationResult) -> list[str]:
    lines = []
    if status.first.missing or status.second.missing:
        names = ", ".join(sorted(key_name(key) for key in status.unsigned.values()))
        missing = max(status.first.missing, status.second.missing)
        lines.append(
            f"waits for {missing} more signature{'s' if missing > 1 else ''}, of: {names}; each"
            " runs `sealtrace release sign-root DIR --key FILE`"
        )
    return lines
