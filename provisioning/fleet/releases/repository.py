"""The release repository on disk: read and sign its metadata (TUF specification 1.0.34).

Order of writing is what makes it safe to stop anywhere: packages, then targets, snapshot and, last,
the timestamp; a box starts at the timestamp and so sees the old release or the new one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets
from tuf.api.metadata import Timestamp as TimestampRole
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from protocol.releases import (
    NAME_PATTERN,
    ROLLOUT_TARGET,
    Kind,
    Rollout,
    RolloutInvalid,
    target_path,
)
from provisioning.fleet.releases.keys import Passphrases, key_name, signer_from
from provisioning.fleet.releases.layout import ReleasePaths
from provisioning.formats.releases.errors import ReleaseError
from provisioning.formats.releases.packages import Package, write_package
from runtime.fsio import FileProblem, atomic_write, fsync_folder, read_file

MAX_METADATA_BYTES = 5_000_000
LIFETIME_FIELD = "x-sealtrace-lifetime-days"
LIFETIME_DAYS = {Root.type: 365, Targets.type: 90, Snapshot.type: 7, TimestampRole.type: 1}
ONLINE = (Snapshot.type, TimestampRole.type)
_Role = TypeVar("_Role", Root, Targets, Snapshot, TimestampRole)


class ReleaseRepository:
    """One release repository; every change signs, writes and publishes as far as keys allow."""

    def __init__(
        self,
        folder: Path,
        passphrases: Passphrases | None = None,
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        """Open a repository made by `sealtrace release init`.

        Args:
            folder: of the repository.
            passphrases: of its key files; needed to change anything.
            now: the clock from which expiry counts.

        Raises:
            ReleaseError: there is none.
        """
        self.paths = ReleasePaths(folder)
        self._passphrases = passphrases or Passphrases()
        self._now = now or (lambda: datetime.now(UTC))
        if not self.paths.metadata.is_dir():
            raise ReleaseError(
                f"{folder} is not a release repository; make one with `sealtrace release init`"
            )

    def root(self) -> Metadata[Root]:
        """Return the root in force.

        Raises:
            ReleaseError: the first one still waits for signatures.
        """
        version = self.paths.newest(Root.type)
        if not version:
            raise ReleaseError(
                f"the first root in {self.paths.folder} waits for its officers' signatures: each"
                " runs `sealtrace release sign-root`"
            )
        return self.read(self.paths.versioned(Root.type, version), Root)

    def targets(self) -> Metadata[Targets]:
        """Return the newest list of packages."""
        return self._newest(Targets)

    def snapshot(self) -> Metadata[Snapshot]:
        """Return the newest snapshot."""
        return self._newest(Snapshot)

    def timestamp(self) -> Metadata[TimestampRole]:
        """Return the timestamp."""
        return self.read(self.paths.timestamp, TimestampRole)

    def rollout(self) -> Rollout:
        """Return which group is to run what.

        Raises:
            ReleaseError: the file is damaged.
        """
        target = self.targets().signed.targets.get(ROLLOUT_TARGET)
        if target is None:
            return Rollout()
        path = self.target_file(target)
        try:
            data = read_file(path, target.length)
            target.verify_length_and_hashes(data)
            return Rollout.parse(data)
        except (RepositoryError, RolloutInvalid) as error:
            raise ReleaseError(
                f"{path} is damaged ({error}); restore it from a mirror or a backup"
            ) from error

    def target_file(self, target: TargetFile) -> Path:
        """Return where a package lies."""
        return self.paths.targets / target.get_prefixed_paths()[0]

    def add(self, package: Package, *, dry_run: bool = False) -> list[str]:
        """Add a package and publish; return what was done, one line each.

        Raises:
            ReleaseError: the same version is there with other content, or a key is missing.
        """
        name = target_path(package.kind, package.version)
        root = self.root()
        temporary = self.paths.targets / f".{secrets.token_hex(6)}.tmp"
        try:
            write_package(package, temporary)
            target = TargetFile.from_file(name, str(temporary))
            target.unrecognized_fields["custom"] = {
                "kind": package.kind,
                "version": package.version,
                "unpacked_bytes": package.unpacked_bytes,
            }
            known = self.targets().signed.targets.get(name)
            once = [listed for _, known_name, listed in self.history() if known_name == name]
            if any(listed.hashes != target.hashes for listed in once):
                raise ReleaseError(
                    f"{name} has been released already with other content, and boxes may have it;"
                    " give the new one a new version"
                )
            if dry_run:
                return [f"{name} is there already" if known else f"would add {name}"]
            done = []
            path = self.target_file(target)
            if known is None or not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.parent.chmod(0o755)
                temporary.replace(path)
                fsync_folder(path.parent)
                done.append(f"added {name} ({target.length} bytes)")
        finally:
            temporary.unlink(missing_ok=True)
        if known is None:
            done += self._sign_targets(root, {name: target})
        return done + self.publish()

    def roll_out(self, kind: Kind, version: str, group: str, *, dry_run: bool = False) -> list[str]:
        """Let the boxes of ``group`` run ``version``; return what was done, one line each.

        Raises:
            ReleaseError: no such version has been added, or the group's name is none.
        """
        root = self.root()
        if re.fullmatch(NAME_PATTERN, group) is None:
            raise ReleaseError(
                f"{group!r} is not a name for a group: up to 32 small letters, digits, - and _"
            )
        version = self._complete(kind, version)
        old = self.rollout()
        new = old.changed(kind, version, group)
        if new == old:
            same = f"{kind} {version} is what {group} runs already"
            return [same] if dry_run else [same, *self.publish()]
        if dry_run:
            return [f"would let {group} run {kind} {version}"]
        data = new.to_bytes()
        target = TargetFile.from_data(ROLLOUT_TARGET, data)
        target.unrecognized_fields["custom"] = {"kind": "rollout"}
        atomic_write(self.target_file(target), data)
        done = [f"{group} is to run {kind} {version}"]
        return done + self._sign_targets(root, {ROLLOUT_TARGET: target}) + self.publish()

    def history(self) -> list[tuple[int, str, TargetFile]]:
        """Return every file that a list here has named: the list's version, name and file.

        Raises:
            ReleaseError: a list is damaged.
        """
        return [
            (version, name, target)
            for version in self.paths.versions(Targets.type)
            for name, target in self.read(
                self.paths.versioned(Targets.type, version), Targets
            ).signed.targets.items()
        ]

    def withdraw(self, names: Collection[str]) -> list[str]:
        """Take packages out of the list and publish; their files stay. Return what was done.

        Raises:
            ReleaseError: the key is missing.
        """
        done = [f"took {name} out of the list" for name in names]
        return done + self._sign_targets(self.root(), {}, without=names) + self.publish()

    def renew_targets(self, *, dry_run: bool = False) -> list[str]:
        """Sign the list of packages again, for a new lifetime; return what was done.

        Raises:
            ReleaseError: the key is missing.
        """
        root = self.root()
        if dry_run:
            return [f"would sign targets version {self.targets().signed.version + 1}"]
        return self._sign_targets(root, {}) + self.publish()

    def publish(self, *, force: bool = False, dry_run: bool = False) -> list[str]:
        """Renew snapshot and timestamp where content, keys or half of their life demand it.

        Without the online keys nothing is done but to say what must be done where they are.

        Args:
            force: renew both whatever their age.
            dry_run: only say what would be done.

        Raises:
            ReleaseError: a key file does not fit the root, or targets are not signed rightly.
        """
        root = self.root()
        targets, snapshot, timestamp = self.targets(), self.snapshot(), self.timestamp()
        if not self._signed(root, Targets.type, targets):
            raise ReleaseError(
                "the list of packages is not signed by the targets key that the root names; run"
                " `sealtrace release renew-targets` with that key"
            )
        listed = self.meta(Targets.type, targets.signed.version)
        due = [TimestampRole.type]
        if (
            force
            or not self._fresh(root, Snapshot.type, snapshot)
            or snapshot.signed.meta.get("targets.json") != listed
        ):
            due.insert(0, Snapshot.type)
        elif self._fresh(root, TimestampRole.type, timestamp) and (
            timestamp.signed.snapshot_meta == self.meta(Snapshot.type, snapshot.signed.version)
        ):
            return []
        if dry_run:
            return [f"would sign {role}" for role in due]
        if missing := [role for role in due if not self.key_files(root.signed, role)]:
            return [
                f"still to be signed: {', '.join(missing)}; take {self.paths.public} to the machine"
                " that has the online keys and run `sealtrace release timestamp` there"
            ]
        done = []
        if Snapshot.type in due:
            snapshot.signed.meta["targets.json"] = listed
            done.append(self._renew(root, Snapshot.type, snapshot))
        timestamp.signed.snapshot_meta = self.meta(Snapshot.type, snapshot.signed.version)
        return [*done, self._renew(root, TimestampRole.type, timestamp)]

    def write(self, role: str, metadata: Metadata[_Role]) -> None:
        """Write signed metadata under its own name.

        Raises:
            FileProblem: another file has that name, or it cannot be written.
        """
        data = metadata.to_bytes(JSONSerializer(compact=False, validate=True))
        if role == TimestampRole.type:
            atomic_write(self.paths.timestamp, data)
        else:
            path = self.paths.versioned(role, metadata.signed.version)
            atomic_write(path, data, overwrite=False)
        if role == Root.type:
            atomic_write(self.paths.trusted_root, data)

    def read(self, path: Path, kind: type[_Role]) -> Metadata[_Role]:
        """Read one metadata file; its signatures are not looked at.

        Raises:
            ReleaseError: it is missing or damaged.
        """
        try:
            metadata: Metadata[_Role] = Metadata.from_bytes(read_file(path, MAX_METADATA_BYTES))
        except (DeserializationError, FileProblem) as error:
            raise ReleaseError(
                f"{path} is missing or damaged ({error}); restore it from a mirror or a backup"
            ) from error
        if metadata.signed.type != kind.type:
            raise ReleaseError(f"{path} is {metadata.signed.type} metadata, not {kind.type}")
        return metadata

    def expiry(self, root: Root, role: str) -> datetime:
        """Return when metadata of ``role`` that is signed now ends."""
        return self._now().replace(microsecond=0) + self.lifetime(root, role)

    @staticmethod
    def lifetime(root: Root, role: str) -> timedelta:
        """Return how long metadata of ``role`` lives, as the root says."""
        days = root.unrecognized_fields.get(LIFETIME_FIELD, {}).get(role, LIFETIME_DAYS[role])
        return timedelta(days=days)

    def sign(self, root: Root, role: str, metadata: Metadata[_Role]) -> None:
        """Sign ``metadata`` with the role's key, for a new lifetime.

        Raises:
            ReleaseError: the key is not here.
            KeyFileError: it cannot be opened.
        """
        metadata.signed.expires = self.expiry(root, role)
        keys = {key_id: root.keys[key_id] for key_id in root.roles[role].keyids}
        if not (files := self.key_files(root, role)):
            expected = ", ".join(str(self.paths.role_key(role, key_id)) for key_id in sorted(keys))
            raise ReleaseError(
                f"the key that signs {role} is not here ({expected}); bring the medium it is on"
            )
        secret = self._passphrases.open(files[0], "online" if role in ONLINE else role)
        metadata.sign(signer_from(secret, keys, str(files[0])))

    def _sign_targets(
        self, root: Metadata[Root], files: dict[str, TargetFile], without: Collection[str] = ()
    ) -> list[str]:
        targets = self.targets()
        targets.signed.targets.update(files)
        for name in without:
            del targets.signed.targets[name]
        targets.signed.version += 1
        self.sign(root.signed, Targets.type, targets)
        self.write(Targets.type, targets)
        return [f"signed targets version {targets.signed.version}"]

    def _renew(self, root: Metadata[Root], role: str, metadata: Metadata[_Role]) -> str:
        metadata.signed.version += 1
        self.sign(root.signed, role, metadata)
        self.write(role, metadata)
        until = f"{metadata.signed.expires:%Y-%m-%d %H:%M} UTC"
        return f"signed {role} version {metadata.signed.version}, good until {until}"

    def key_files(self, root: Root, role: str) -> list[Path]:
        """Return the key files of ``role`` that are on this machine."""
        paths = [self.paths.role_key(role, key_id) for key_id in sorted(root.roles[role].keyids)]
        return [path for path in paths if path.exists()]

    def meta(self, role: str, version: int) -> MetaFile:
        """Return how snapshot or timestamp name a metadata file: version, length and hash."""
        data = read_file(self.paths.versioned(role, version), MAX_METADATA_BYTES)
        return MetaFile.from_data(version, data, ["sha256"])

    def _fresh(self, root: Metadata[Root], role: str, metadata: Metadata[_Role]) -> bool:
        left = metadata.signed.expires - self._now()
        return left > self.lifetime(root.signed, role) / 2 and self._signed(root, role, metadata)

    @staticmethod
    def _signed(root: Metadata[Root], role: str, metadata: Metadata[_Role]) -> bool:
        result = root.signed.get_verification_result(
            role, metadata.signed_bytes, metadata.signatures
        )
        return result.verified

    def _newest(self, kind: type[_Role]) -> Metadata[_Role]:
        return self.read(self.paths.versioned(kind.type, self.paths.newest(kind.type)), kind)

    def _complete(self, kind: Kind, version: str) -> str:
        """Return the released version that ``version`` is, or is the one beginning of."""
        names = [name for name in self.targets().signed.targets if name.startswith(f"{kind}/")]
        versions = sorted(name.removeprefix(f"{kind}/").removesuffix(".tar") for name in names)
        found = [v for v in versions if v == version] or [
            v for v in versions if kind == "models" and version and v.startswith(version)
        ]
        if len(found) != 1:
            what = "is the beginning of several" if found else "has not been added"
            raise ReleaseError(
                f"{kind} {version!r} {what}; there are: {', '.join(found or versions) or 'none'}"
            )
        return found[0]


def role_keys(root: Root, role: str) -> dict[str, Key]:
    """Return the keys that may sign for ``role``: name to key."""
    return {key_name(root.keys[key_id]): root.keys[key_id] for key_id in root.roles[role].keyids}
