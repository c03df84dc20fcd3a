"""Pack model bundles and agent wheels into tar files, the same bytes for the same content.

A package is a plain tar of regular files in one folder. Unpacking believes nothing: other kinds of
members, other names and more bytes than the signed metadata announced are refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from protocol.releases import Kind
from provisioning.formats.releases.errors import ReleaseError, ReleaseUnusable
from provisioning.formats.releases.wheels import read_wheel
from runtime.bundle import MANIFEST_NAME, MAX_MANIFEST_BYTES, SIGNATURE_NAME, load_bundle
from runtime.fsio import FileProblem, fsync_folder, read_file

DISTRIBUTION = "sealtrace"
MAX_MEMBERS = 2000
_MEMBER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!-]{0,254}")


@dataclass(frozen=True, slots=True)
class Package:
    """What goes into one tar file."""

    kind: Kind
    version: str
    files: Mapping[str, Path]
    """Name in the package to the file with its content."""

    @property
    def unpacked_bytes(self) -> int:
        """Size of all files together."""
        return sum(path.stat().st_size for path in self.files.values())


def bundle_id(folder: Path) -> str:
    """Return the id of a model bundle: 16 hexadecimal digits over its manifest and signatures.

    Raises:
        FileProblem: it has none.
    """
    digest = hashlib.sha256(read_file(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES))
    digest.update(read_file(folder / SIGNATURE_NAME, MAX_MANIFEST_BYTES))
    return digest.hexdigest()[:16]


def bundle_package(folder: Path, trusted_keys: Sequence[bytes]) -> Package:
    """Check a model bundle and return it as a package.

    Raises:
        BundleError: it is not whole, or nobody trusted has signed it.
    """
    bundle = load_bundle(folder, trusted_keys)
    names = [MANIFEST_NAME, SIGNATURE_NAME, *(entry.file for entry in bundle.manifest.models)]
    return Package("models", bundle_id(folder), {name: folder / name for name in names})


def agent_package(wheels: Sequence[Path]) -> Package:
    """Return the agent's wheel, and those of libraries that go with it, as a package.

    Raises:
        ReleaseError: a file is not a wheel, one is given twice, or the agent's own is missing.
    """
    known = [read_wheel(path) for path in wheels]
    own = [wheel for wheel in known if wheel.distribution == DISTRIBUTION]
    if len(own) != 1:
        raise ReleaseError(
            f"an agent release needs exactly one wheel of {DISTRIBUTION}, {len(own)} are given;"
            f" name {DISTRIBUTION}-VERSION-py3-none-any.whl and, if need be, wheels of libraries"
        )
    files = {wheel.path.name: wheel.path for wheel in known}
    if len(files) != len(known):
        raise ReleaseError("the same wheel is given twice; name each once")
    for wheel in known:
        if any(w.distribution == wheel.distribution and w.version != wheel.version for w in known):
            raise ReleaseError(f"two versions of {wheel.distribution} are given; give one")
    return Package("agent", own[0].version, files)


def write_package(package: Package, path: Path) -> None:
    """Write ``package`` as a tar file at ``path``: same content, same bytes; durable.

    Raises:
        FileProblem: a file cannot be read, or the tar not be written.
    """
    try:
        with path.open("wb") as stream:
            os.fchmod(stream.fileno(), 0o644)
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for name in sorted(package.files):
                    member = tarfile.TarInfo(name)
                    member.size = package.files[name].stat().st_size
                    member.mode = 0o644
                    with package.files[name].open("rb") as content:
                        tar.addfile(member, content)
            stream.flush()
            os.fsync(stream.fileno())
    except (OSError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise FileProblem(f"cannot write the package {path}: {error}") from error


def unpack(archive: Path, folder: Path, *, max_bytes: int) -> None:
    """Unpack a package into the new folder ``folder``; `settle` makes it durable.

    Args:
        archive: the tar file, its hash checked already.
        folder: created; must not exist.
        max_bytes: of all files together.

    Raises:
        ReleaseUnusable: it is not a package, or larger than that.
        FileProblem: the disk is full or read-only.
    """
    left = max_bytes
    try:
        folder.mkdir(parents=True)
        with tarfile.open(archive, mode="r:") as tar:
            for count, member in enumerate(tar):
                left -= member.size
                if (
                    member.size < 0
                    or not _is_plain(member)
                    or _MEMBER.fullmatch(member.name) is None
                ):
                    raise ReleaseUnusable(
                        f"{archive.name} holds {member.name!r}, which is no plain file; it was not"
                        " made by `sealtrace release`: release it again"
                    )
                if left < 0 or count >= MAX_MEMBERS:
                    raise ReleaseUnusable(
                        f"{archive.name} unpacks to more than the {max_bytes} bytes that were"
                        " announced; release it again"
                    )
                _extract(tar, member, folder / member.name)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise ReleaseUnusable(
            f"{archive.name} is not a tar file ({error}); release it again"
        ) from error
    except OSError as error:
        raise FileProblem(f"cannot unpack {archive.name} into {folder}: {error}") from error


def settle(folder: Path) -> None:
    """Make everything under ``folder`` readable to the agent's user, and durable.

    Raises:
        FileProblem: the disk refuses.
    """
    try:
        for parent, _, names in os.walk(folder):
            for path in (Path(parent, name) for name in names):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | 0o444)
                    with path.open("rb") as stream:
                        os.fsync(stream.fileno())
            Path(parent).chmod(0o755)
            fsync_folder(Path(parent))
    except OSError as error:
        raise FileProblem(f"cannot make {folder} durable: {error}; check the disk") from error


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Tell whether it is a file whose bytes are all there: a sparse one could fill the disk."""
    return member.isreg() and not member.issparse()


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = tar.extractfile(member)
    if content is None:
        raise ReleaseUnusable(f"{member.name!r} in the package has no content; release it again")
    with content, path.open("xb") as stream:
        shutil.copyfileobj(content, stream, 1 << 20)
