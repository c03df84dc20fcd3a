"""Check a whole release repository the way a box does, from its first root to every package."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Root

from provisioning.box.updates.client import ReleaseClient, now_utc
from provisioning.fleet.releases.layout import ReleasePaths
from provisioning.fleet.releases.repository import MAX_METADATA_BYTES, ReleaseRepository
from provisioning.formats.releases.errors import ReleaseError, UpdateError
from runtime.fsio import FileProblem, read_file


@dataclass(frozen=True, slots=True)
class Verified:
    """What held."""

    roots: int
    packages: int
    bytes: int


def verify(folder: Path) -> Verified:
    """Verify signatures, versions, expiry, every package's hash, and that the rollout can be met.

    Raises:
        ReleaseError: something does not hold; the message says what.
    """
    repository = ReleaseRepository(folder)
    repository.root()
    paths = ReleasePaths(folder)
    try:
        first = read_file(paths.versioned(Root.type, 1), MAX_METADATA_BYTES)
    except FileProblem as error:
        raise ReleaseError(
            f"the first root is gone, and old boxes start from it ({error}); restore it"
        ) from error
    try:
        with tempfile.TemporaryDirectory() as scratch:
            client = ReleaseClient(paths.public.absolute().as_uri(), first, Path(scratch))
            seen = client.refresh(None, now_utc())
            rollout = client.rollout()
            for kinds in rollout.groups.values():
                for kind, version in kinds.items():
                    client.offer(kind, version)
            client.close()
    except UpdateError as error:
        raise ReleaseError(f"a box would refuse {paths.public}: {error}") from error
    if seen.versions[Root.type] != paths.newest(Root.type):
        raise ReleaseError(
            f"a box stops at root version {seen.versions[Root.type]}, but {paths.metadata} has"
            f" version {paths.newest(Root.type)}: one between is missing; restore it"
        )
    targets = repository.targets().signed.targets
    for target in targets.values():
        path = repository.target_file(target)
        try:
            with path.open("rb") as stream:
                target.verify_length_and_hashes(stream)
        except (OSError, RepositoryError) as error:
            raise ReleaseError(
                f"{path} is missing or altered ({error}); add the package again or restore it"
            ) from error
    packages = [t for t in targets.values() if "/" in t.path]
    return Verified(seen.versions[Root.type], len(packages), sum(t.length for t in packages))
