"""Take old packages out of a release repository, without breaking a box that is just updating.

In two steps, which may be days apart: first the list of packages no longer names them; their files
go only when no snapshot that a box may still go by leads to a list that does. A box that began with
the state before (TUF specification, 5.3 to 5.7) finds everything that it was promised.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Snapshot, TargetFile, Targets

from protocol.releases import KINDS, ROLLOUT_TARGET, target_path
from provisioning.fleet.releases.repository import ReleaseRepository
from runtime.fsio import FileProblem, fsync_folder

DEFAULT_KEEP = 2
"""Packages of each kind that are kept besides those that a group runs: to go back to."""


def prune(
    repository: ReleaseRepository, keep: int, *, now: datetime, dry_run: bool = False
) -> list[str]:
    """Take out what no group runs but the last ``keep`` of each kind; return what was done.

    What was added after the newest package that a group runs is not old and stays. May be run
    again at any time; nothing to do gives no line.

    Raises:
        ReleaseError: a key or a file is missing.
        FileProblem: a file cannot be deleted.
    """
    names = _old(repository, keep)
    done = []
    if names:
        if dry_run:
            done += [f"would take {name} out of the list" for name in names]
        else:
            done += repository.withdraw(names)
    elif not dry_run:
        done += repository.publish()
    gone = _unnamed(repository, now, without=names if dry_run else ())
    if dry_run:
        done += [f"would delete {path.name} ({path.stat().st_size} bytes)" for path in gone]
    else:
        done += [_delete(path) for path in gone]
    return done


def waiting(repository: ReleaseRepository, now: datetime) -> str:
    """Say until when files stay that the list no longer names; empty if there are none."""
    listed = {target.path for target in repository.targets().signed.targets.values()}
    until = [
        expires
        for expires, targets in _reachable(repository, now)
        if any(name not in listed for name in targets if name != ROLLOUT_TARGET)
    ]
    if not until:
        return ""
    return (
        f"boxes may go by the list before until {max(until):%Y-%m-%d %H:%M} UTC: run this again"
        " after that, and its packages are deleted"
    )


def _old(repository: ReleaseRepository, keep: int) -> list[str]:
    """Return the names of the packages that are to go, oldest first."""
    listed = repository.targets().signed.targets
    used = {
        target_path(kind, version)
        for kinds in repository.rollout().groups.values()
        for kind, version in kinds.items()
    }
    first = {name: version for version, name, _ in reversed(repository.history())}
    found = []
    for kind in KINDS:
        names = sorted(
            (name for name in listed if name.startswith(f"{kind}/")), key=lambda n: (first[n], n)
        )
        newest = max((index for index, name in enumerate(names) if name in used), default=0)
        old = [name for name in names[:newest] if name not in used]
        found += old[: len(old) - keep] if keep else old
    return found


def _reachable(
    repository: ReleaseRepository, now: datetime
) -> Iterable[tuple[datetime, dict[str, TargetFile]]]:
    """Return the lists that a box may go by, each with the end of the snapshot that leads to it."""
    paths = repository.paths
    newest = paths.newest(Snapshot.type)
    for version in paths.versions(Snapshot.type):
        signed = repository.read(paths.versioned(Snapshot.type, version), Snapshot).signed
        if version == newest or not signed.is_expired(now):
            listed = paths.versioned(Targets.type, signed.meta["targets.json"].version)
            yield signed.expires, repository.read(listed, Targets).signed.targets


def _unnamed(repository: ReleaseRepository, now: datetime, *, without: Iterable[str]) -> list[Path]:
    """Return files of packages and rollouts that were named once and that no box can ask for.

    A file that no list has named yet is somebody's unfinished work, and stays.
    """
    listed = repository.targets().signed.targets
    still = {repository.target_file(t) for name, t in listed.items() if name not in set(without)}
    for _, targets in _reachable(repository, now):
        still |= {repository.target_file(target) for target in targets.values()}
    once = {repository.target_file(target) for _, _, target in repository.history()}
    return sorted(path for path in once - still if path.exists())


def _delete(path: Path) -> str:
    try:
        size = path.stat().st_size
        path.unlink()
    except OSError as error:
        raise FileProblem(f"cannot delete {path}: {error.strerror}; whose file is it?") from error
    fsync_folder(path.parent)
    return f"deleted {path.name} ({size} bytes)"
