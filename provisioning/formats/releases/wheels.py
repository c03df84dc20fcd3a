"""Read wheels, and unpack those that fit this machine into a folder (PEP 427, without pip).

A box may have no pip at all (its card brought the software), and an agent needs nothing that only
pip can do: no build, no script, no index. What is unpacked is put on PYTHONPATH.
"""

from __future__ import annotations

import platform
import re
import shutil
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from provisioning.formats.releases.errors import ReleaseError, ReleaseUnusable
from runtime.fsio import FileProblem

_WHEEL = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._]*[A-Za-z0-9])?)-(?P<version>[A-Za-z0-9._+!]+)"
    r"(?:-[0-9][A-Za-z0-9._]*)?"
    r"-(?P<python>[A-Za-z0-9._]+)-(?P<abi>[A-Za-z0-9._]+)-(?P<platform>[A-Za-z0-9._]+)\.whl"
)
_MAX_MEMBERS = 50_000
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
    ValueError, struct.error, OverflowError,
)  # fmt: skip
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA's header can ask for 4 GiB
_LIBRARIES = ("purelib", "platlib")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel's file, and what its name says."""

    path: Path
    distribution: str
    version: str
    pythons: tuple[str, ...]
    abis: tuple[str, ...]
    platforms: tuple[str, ...]

    def fits(self) -> bool:
        """Tell whether it is for this Python and this machine."""
        return any(_python_fits(p, a) for p in self.pythons for a in self.abis) and any(
            _platform_fits(p) for p in self.platforms
        )


def read_wheel(path: Path) -> Wheel:
    """Return what a wheel is.

    Raises:
        ReleaseError: it is not one.
    """
    match = _WHEEL.fullmatch(path.name)
    if match is None:
        raise ReleaseError(
            f"{path.name} is not the name of a wheel (NAME-VERSION-TAGS.whl); build one with"
            " `pip wheel --no-deps .`"
        )
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise ReleaseError(f"{path} is missing or not a wheel (a zip file); build it again")
    return Wheel(
        path,
        re.sub(r"[-_.]+", "-", match["name"]).lower(),
        match["version"],
        *(tuple(match[part].split(".")) for part in ("python", "abi", "platform")),
    )


def unpack_wheel(wheel: Wheel, folder: Path, *, max_bytes: int) -> int:
    """Unpack a wheel's libraries into ``folder``; return how many bytes they are.

    Scripts, headers and data of the wheel are left out.

    Raises:
        ReleaseUnusable: a name leads elsewhere, a file is there already, or it is too much.
        FileProblem: the disk refuses.
    """
    total = 0
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > max_bytes or len(members) > _MAX_MEMBERS:
                raise ReleaseUnusable(
                    f"{wheel.path.name} unpacks to {total} bytes in {len(members)} files, more than"
                    " this box takes; release a smaller one"
                )
            for member in members:
                if member.compress_type not in _PACKED:
                    raise ReleaseUnusable(
                        f"{wheel.path.name} holds {member.filename!r} packed in another way than"
                        " wheels are; build it again with `pip wheel`"
                    )
                place = _place(wheel, member.filename)
                if place is None or member.is_dir():
                    continue
                path = folder / place
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as content, path.open("xb") as stream:
                    shutil.copyfileobj(content, stream, 1 << 20)
    except FileExistsError as error:
        raise ReleaseUnusable(
            f"{wheel.path.name} brings {error.filename}, which is there already; release wheels"
            " that do not overlap"
        ) from error
    except _DAMAGED as error:
        raise ReleaseUnusable(f"{wheel.path.name} is damaged ({error}); build it again") from error
    except OSError as error:
        raise FileProblem(f"cannot unpack {wheel.path.name} into {folder}: {error}") from error
    return total


def _place(wheel: Wheel, name: str) -> PurePosixPath | None:
    """Return where a member goes, relative to the folder; None when it is left out."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise ReleaseUnusable(
            f"{wheel.path.name} holds {name!r}, which would leave its folder; build it again"
        )
    if not path.parts[0].endswith(".data"):
        return path
    if len(path.parts) > 2 and path.parts[1] in _LIBRARIES:
        return PurePosixPath(*path.parts[2:])
    return None


def _python_fits(python: str, abi: str) -> bool:
    match = re.fullmatch(r"(py|cp)(\d)(\d*)", python)
    if match is None or match[2] != str(sys.version_info.major):
        return False
    minor = int(match[3]) if match[3] else 0
    ours = sys.version_info.minor
    if match[1] == "py":
        return abi == "none" and minor <= ours
    if abi == "abi3":
        return minor <= ours
    return minor == ours and abi in {f"cp{match[2]}{match[3]}", "none"}


def _platform_fits(tag: str) -> bool:
    if tag == "any":
        return True
    return tag.startswith(("manylinux", "linux_")) and tag.endswith(f"_{platform.machine()}")
