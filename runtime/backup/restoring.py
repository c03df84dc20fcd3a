"""Put a role's state back, file by file: what is whole on the machine stays, unless told otherwise.

A log, and what a witness has cosigned, never go back: a file on the machine that continues the
backup's stays whatever is asked. What is replaced is put aside beside the others, not deleted.
Killed in the middle, it is run again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from protocol.auditlog import origin_of
from protocol.signing import SigningKey
from runtime.auditlog import AuditLog
from runtime.backup.databases import BESIDE, is_whole, make_durable
from runtime.backup.manifest import BackupInvalid, FileNote, Manifest, check_file
from runtime.database import SchemaTooNew, StorageDamaged, StorageError, forget_damage
from runtime.errors import OperationError
from runtime.fsio import FileProblem, fsync_folder, private_folder
from runtime.lifecycle import FolderInUse, FolderLock
from runtime.witness import Witness

LOG, WITNESS = "audit.db", "witness.db"
_STAGING = ".restoring"
Tell = Callable[[str], None]


class NotRestored(OperationError):
    """What is on the machine would be lost, or is in use."""


def require_own_account(folder: Path) -> None:
    """Check that root does not leave files of its own where a service's account has to write.

    Raises:
        NotRestored: the folder is another account's.
    """
    here = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    owner = here.stat().st_uid
    if os.geteuid() == 0 and owner != 0 and folder.exists():
        raise NotRestored(
            f"{folder} is another account's: run this as that account, so that the service can use"
            f" what is written: sudo -u '#{owner}' sealtrace ..."
        )


class Restoring:
    """One restoring, with the state folder for itself.

    Args:
        backup: the backup's folder.
        manifest: of it, verified.
        state: the role's state folder.
        replace: put aside databases that are whole, too.
        tell: is told what is being done.
    """

    def __init__(
        self, backup: Path, manifest: Manifest, state: Path, *, replace: bool, tell: Tell
    ) -> None:
        self.manifest = manifest
        self.done: dict[str, str] = {}
        self._backup = backup
        self._state = state
        self._replace = replace
        self._tell = tell
        self._staging = state / _STAGING
        self._aside = state / f"replaced-{datetime.now(UTC):%Y%m%d-%H%M%S}"

    def stage(self, name: str) -> Path | None:
        """Copy a file of the backup beside the state, checked; None: what is there stays.

        Raises:
            BackupInvalid: the backup is damaged.
        """
        note = self.manifest.files.get(name)
        if note is None:
            return None
        target = self._state / name
        if self._stays(target, note):
            self.done[name] = "left as it is"
            return None
        self._tell(f"copying {name}")
        self._staging.mkdir(mode=0o700, exist_ok=True)
        staged = self._staging / name
        for ending in ("", *BESIDE):
            staged.with_name(f"{name}{ending}").unlink(missing_ok=True)
        shutil.copyfile(self._backup / name, staged)
        staged.chmod(0o600)
        check_file(staged, note)
        return staged

    def stage_log(self, key: SigningKey) -> Path:
        """Return the file that is to be the log: staged, or the one on the machine.

        Raises:
            NotRestored: another log is on the machine, and is not to be put aside.
        """
        target = self._state / LOG
        if is_whole(target):
            if self._continues(target, key):
                self.done[LOG] = "left as it is: it goes on where the backup's ends"
                return target
            self._require_replacing(target)
        staged = self._stage_over(LOG)
        return staged

    def stage_witness(self, key: SigningKey) -> Path | None:
        """Copy what was cosigned, unless the machine knows at least as much.

        Raises:
            NotRestored: the machine knows less, and that is not to be put aside.
        """
        target = self._state / WITNESS
        if WITNESS not in self.manifest.files:
            return None
        staged = self._stage_over(WITNESS)
        if is_whole(target):
            ours, theirs = _seen(target, key), _seen(staged, key)
            if all(ours.get(origin, 0) >= size for origin, size in theirs.items()):
                self.done[WITNESS] = "left as it is: it has cosigned as much or more"
                return None
            self._require_replacing(target)
        return staged

    def place(self, staged: Path | None) -> None:
        """Move a staged file to where it belongs; what was there is put aside."""
        if staged is None or staged.parent != self._staging:
            return
        target = self._state / staged.name
        make_durable(staged)
        # The file first: one that stays without its log would be whole, and lack what came last.
        there = [target.with_name(f"{target.name}{ending}") for ending in ("", *BESIDE)]
        moved = [one for one in there if one.exists()]
        for one in moved:
            private_folder(self._aside)
            one.rename(self._aside / one.name)
        fsync_folder(self._state)
        staged.rename(target)
        fsync_folder(self._state)
        forget_damage(target)
        self.done[staged.name] = (
            f"put back; what was there is in {self._aside}" if moved else "put back"
        )

    def _stage_over(self, name: str) -> Path:
        replace, self._replace = self._replace, True
        try:
            staged = self.stage(name)
        finally:
            self._replace = replace
        if staged is None:
            raise BackupInvalid(f"{self._backup} has no {name}; use another backup")
        return staged

    def _stays(self, target: Path, note: FileNote) -> bool:
        if not target.exists():
            return False
        if note.schema_number is None:
            return True  # a paper that was received; newer ones are taken in when they come
        return not self._replace and is_whole(target)

    def _require_replacing(self, target: Path) -> None:
        if not self._replace:
            raise NotRestored(
                f"{target} is whole, and does not continue what is in the backup: has the service"
                " been started on an empty folder since? With --replace it is put aside"
            )

    def _continues(self, path: Path, key: SigningKey) -> bool:
        note = self.manifest.log
        try:
            with closing(AuditLog(path, origin_of(self.manifest.site, key.signer), key, {})) as log:
                return log.size >= note.size and log.root_at(note.size).hex() == note.root
        except SchemaTooNew as error:
            if self._replace:
                return False
            raise NotRestored(
                f"{error}. To go back to this version's, with --replace what is there is put aside"
            ) from None
        except StorageDamaged:
            raise
        except StorageError:
            return False


@contextmanager
def restoring(
    backup: Path, manifest: Manifest, state: Path, *, replace: bool, tell: Tell
) -> Iterator[Restoring]:
    """Hold a role's state folder while its state is put back.

    Raises:
        NotRestored: the role runs, or the folder is another account's.
        FileProblem: it cannot be written.
    """
    require_own_account(state)
    private_folder(state)
    try:
        lock = FolderLock(state)
    except FolderInUse:
        raise NotRestored(
            f"the service runs on {state}: stop it first, then run this again"
        ) from None
    except OSError as error:
        raise FileProblem(f"cannot write to {state}: {error.strerror}") from error
    with closing(lock):
        try:
            yield Restoring(backup, manifest, state, replace=replace, tell=tell)
        except OSError as error:
            raise FileProblem(
                f"cannot write to {state}: {error.strerror}; check the disk, then run it again"
            ) from error
        finally:
            shutil.rmtree(state / _STAGING, ignore_errors=True)


def _seen(path: Path, key: SigningKey) -> dict[str, int]:
    with closing(Witness(path, key.signer, key)) as witness:
        return witness.sizes()
