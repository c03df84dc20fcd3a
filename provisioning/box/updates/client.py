"""Look at a release repository through TUF: only what is signed, fresh, newest and whole is seen.

`tuf.ngclient` does the checks (TUF specification, 5). This adds that what was seen survives a
power cut, that a clock set back is noticed, and errors that say which attack it may be.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from protocol.releases import (
    MAX_ROLLOUT_BYTES,
    ROLLOUT_TARGET,
    Kind,
    Rollout,
    RolloutInvalid,
    target_path,
)
from provisioning.box.updates.fetcher import ReleaseFetcher
from provisioning.formats.releases.errors import (
    ClockWentBack,
    MirrorUnreachable,
    ReleaseForged,
    ReleaseRollback,
    ReleasesFrozen,
    ReleaseUnusable,
    UpdateError,
)
from runtime.fsio import FileProblem, fsync_folder, private_folder

# Its remarks on every signature that is not there say nothing to whoever runs a box.
logging.getLogger("tuf").setLevel(logging.WARNING)
_ROLES = (Root.type, Timestamp.type, Snapshot.type, Targets.type)
CLOCK_TOLERANCE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest metadata that a box has verified; it never accepts less under the same root."""

    versions: Mapping[str, int]
    """Role to version."""
    at: datetime
    """When."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A package that the repository offers."""

    kind: Kind
    version: str
    target: TargetFile
    unpacked_bytes: int


class ReleaseClient:
    """One look at a repository: `refresh` first, then `rollout`, `offer` and `download`."""

    def __init__(
        self,
        url: str,
        trusted_root: bytes,
        state_dir: Path,
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; nothing is fetched yet.

        Args:
            url: of the repository (``https://.../``, or ``file:///...``): holds ``metadata/`` and
                ``targets/``.
            trusted_root: the root metadata that this box was admitted with.
            state_dir: where what was seen is kept.
            context: of TLS connections.

        Raises:
            ReleaseForged: the trusted root is none.
        """
        self._metadata = private_folder(state_dir / "metadata")
        self._downloads = private_folder(state_dir / "downloads")
        for left in (*self._metadata.glob("tmp*"), *self._downloads.iterdir()):
            left.unlink()  # of an earlier run that was cut short
        self._fetcher = ReleaseFetcher(self._downloads, context)
        base = url.rstrip("/")
        self._url = base
        try:
            self._updater = Updater(
                str(self._metadata),
                f"{base}/metadata/",
                str(self._downloads),
                f"{base}/targets/",
                fetcher=self._fetcher,
                config=UpdaterConfig(max_root_rotations=64),
                bootstrap=trusted_root,
            )
        except (tuf_errors.RepositoryError, OSError) as error:
            self._fetcher.close()
            raise ReleaseForged(
                f"the trusted root of releases on this box cannot be used ({error}); install the"
                " site's trusted-root.json"
            ) from error

    def close(self) -> None:
        """Close connections."""
        self._fetcher.close()

    def refresh(self, seen: Seen | None, now: datetime) -> Seen:
        """Fetch and verify the newest metadata; return what has now been seen.

        Args:
            seen: what an earlier refresh returned.
            now: this box's clock.

        Raises:
            ReleasesFrozen: it has expired.
            ReleaseRollback: it is older than what was seen.
            ReleaseForged: signatures, hashes or lengths do not hold.
            MirrorUnreachable: it cannot be read.
            ClockWentBack: expiry cannot be judged.
        """
        if seen is not None and now < seen.at - CLOCK_TOLERANCE:
            raise ClockWentBack(
                f"this box's clock says {now:%Y-%m-%d %H:%M} UTC, before it last looked"
                f" ({seen.at:%Y-%m-%d %H:%M}): expiry cannot be judged; wait for the time service,"
                " or set the clock"
            )
        with self._explained("looking for releases"):
            self._updater.refresh()
        versions = {role: self._version(role) for role in _ROLES}
        if seen is not None and seen.versions.get(Root.type) == versions[Root.type]:
            for role, version in versions.items():
                if version < seen.versions.get(role, 0):
                    raise ReleaseRollback(
                        f"{self._url} offers {role} version {version}, but this box has seen"
                        f" version {seen.versions[role]}; nothing is installed. Compare the mirror"
                        " with headquarters (`sealtrace release verify`)"
                    )
        self._make_durable()
        return Seen(versions, now)

    def rollout(self) -> Rollout:
        """Return which group is to run what.

        Raises:
            UpdateError: see `download`.
        """
        with self._explained("reading the rollout"):
            target = self._updater.get_targetinfo(ROLLOUT_TARGET)
        if target is None:
            return Rollout()
        if target.length > MAX_ROLLOUT_BYTES:
            raise ReleaseUnusable(f"the rollout has {target.length} bytes, which is too much")
        path = self._fetch(target)
        try:
            return Rollout.parse(path.read_bytes())
        except RolloutInvalid as error:
            raise ReleaseUnusable(
                f"this version does not understand the rollout ({error}); install a newer agent by"
                " hand, or release a rollout that it does"
            ) from error
        finally:
            path.unlink()

    def offer(self, kind: Kind, version: str) -> Offer:
        """Return what the repository says of a package.

        Raises:
            ReleaseUnusable: it has none, or says something else of it.
        """
        name = target_path(kind, version)
        with self._explained(f"looking for {name}"):
            target = self._updater.get_targetinfo(name)
        if target is None:
            raise ReleaseUnusable(
                f"the rollout names {kind} {version}, but the repository has no {name}; run"
                f" `sealtrace release add-{kind}` at headquarters"
            )
        custom: Any = target.custom
        size = custom.get("unpacked_bytes") if isinstance(custom, dict) else None
        if not isinstance(size, int) or size < 0 or isinstance(size, bool):
            raise ReleaseUnusable(f"{name} has no size in its metadata; release it again")
        if (custom.get("kind"), custom.get("version")) != (kind, version):
            raise ReleaseUnusable(f"{name} is signed as something else; release it again")
        return Offer(kind, version, target, size)

    def download(self, offer: Offer) -> Path:
        """Download a package and return its file, hash and length checked.

        Raises:
            ReleaseForged: hash or length do not hold.
            MirrorUnreachable: it cannot be read.
            FileProblem: the disk is full or read-only.
        """
        return self._fetch(offer.target)

    def _fetch(self, target: TargetFile) -> Path:
        with self._explained(f"downloading {target.path}"):
            return Path(self._updater.download_target(target))

    def _version(self, role: str) -> int:
        try:
            found: Metadata[Any] = Metadata.from_file(str(self._metadata / f"{role}.json"))
        except tuf_errors.StorageError as error:
            raise FileProblem(f"cannot read back {role} metadata: {error}") from error
        return int(found.signed.version)

    def _make_durable(self) -> None:
        try:
            for path in (*self._metadata.glob("*.json"), *self._metadata.glob("*/*.json")):
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
            fsync_folder(self._metadata / "root_history")
            fsync_folder(self._metadata)
        except OSError as error:
            raise FileProblem(f"cannot keep {self._metadata}: {error.strerror}") from error

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turn TUF's errors into ours: which attack it may be, and what to do."""
        try:
            yield
        except UpdateError:
            raise
        except tuf_errors.ExpiredMetadataError as error:
            raise ReleasesFrozen(
                f"{doing}: what {self._url} offers has expired ({error}). It is cut off from"
                " headquarters or somebody withholds newer releases; nothing is installed. Run"
                " `sealtrace release timestamp` at headquarters, check the mirror and this clock"
            ) from error
        except tuf_errors.BadVersionNumberError as error:
            raise ReleaseRollback(
                f"{doing}: {self._url} offers an older or mixed state ({error}); nothing is"
                " installed. Compare the mirror with headquarters (`sealtrace release verify`)"
            ) from error
        except (tuf_errors.RepositoryError, tuf_errors.DownloadLengthMismatchError) as error:
            raise ReleaseForged(
                f"{doing}: what {self._url} offers is not what was signed ({error}); nothing is"
                " installed. Copy the repository to the mirror anew, and find out who changed it"
            ) from error
        except tuf_errors.DownloadError as error:
            raise MirrorUnreachable(
                f"{doing}: {error or 'no answer'}; check the network, the server and `repository`"
            ) from error
        except OSError as error:
            raise FileProblem(f"{doing}: {error}; check the disk") from error


def now_utc() -> datetime:
    """Return this machine's time."""
    return datetime.now(UTC)
