"""Fills a folder with the wheels of one role: its lock's, by hash, and the one of this checkout.

What is fetched is decided by the lock alone: pip is told each package with its hashes, for the
target's Python and processor, and takes wheels only. What is there already, just so, is neither
fetched nor built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from protocol.textformats import parse_json, parse_toml
from provisioning.fleet.image.errors import ImageError, WheelsUnavailable
from provisioning.fleet.image.settings import CardFile
from provisioning.fleet.image.software import list_of_wheels
from runtime.fsio import atomic_write, read_file, sha256_file

LIST_NAME = "software.txt"
"""The list of the wheels with their hashes, as pip reads it and `image sign` signs it."""
_STATE_NAME = "wheels.json"
_MAX_LOCK_BYTES = 4 << 20
_EPOCH_S = "1700000000"  # so that the same checkout gives the same wheel
_OURS = "sealtrace"
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_FETCHING = re.compile(r"\s*(?:Downloading|Using cached|Processing) (\S+\.whl)")
_GLIBC = {"3.11": 36, "3.12": 39, "3.13": 41}
_MACHINES = {"x86-64": "x86_64", "arm64": "aarch64"}
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """The machine that the wheels are for: Debian 12 has Python 3.11, Debian 13 has 3.13.

    Attributes:
        python: "3.11", "3.12" or "3.13".
        machine: "x86-64" or "arm64".
    """

    python: str = "3.11"
    machine: str = "x86-64"

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.python, _GLIBC, "Python"),
            (self.machine, _MACHINES, "processor"),
        ):
            if value not in known:
                raise ImageError(
                    f"there are no wheels for {what} '{value}'; choose of {', '.join(known)}"
                )

    @property
    def platforms(self) -> list[str]:
        """Names of platforms whose wheels run there, the newest C library first."""
        name = _MACHINES[self.machine]
        named = [f"manylinux_2_{minor}_{name}" for minor in range(_GLIBC[self.python], 4, -1)]
        return [*named, f"manylinux2014_{name}", f"linux_{name}"]

    @property
    def tags(self) -> frozenset[Tag]:
        """Every tag of wheels that run there."""
        major, minor = (int(part) for part in self.python.split("."))
        found = set(cpython_tags((major, minor), platforms=self.platforms))
        found.update(compatible_tags((major, minor), f"cp{major}{minor}", self.platforms))
        return frozenset(found)

    def wants(self, marker: Marker | None) -> bool:
        """Tell whether a package with this marker belongs on that machine."""
        environment = {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": _MACHINES[self.machine],
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }
        return marker is None or marker.evaluate({**environment, "extra": ""})


@dataclass(frozen=True, slots=True)
class Locked:
    """A package of a lock: ``NAME==VERSION`` and the SHA-256 of every file that it may be."""

    requirement: str
    hashes: frozenset[str]

    def line(self) -> str:
        """Return it as a line of requirements."""
        return " ".join(
            [self.requirement, *(f"--hash=sha256:{one}" for one in sorted(self.hashes))]
        )


@dataclass(frozen=True, slots=True)
class Filled:
    """A folder of wheels: all that are in it, and how many are new."""

    wheels: tuple[CardFile, ...]
    fetched: int
    built: bool


def read_lock(path: Path, target: Target) -> list[Locked]:
    """Return the packages of a lock that belong on ``target``.

    Raises:
        ImageError: it is no lock with a hash for each package.
        FileProblem: it cannot be read.
    """
    text = read_file(path, _MAX_LOCK_BYTES).decode("utf-8", "replace").replace("\\\n", " ")
    found = []
    for line in (line.split(" #")[0].strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        try:
            named = Requirement(line.split(" --hash=")[0])
        except InvalidRequirement:
            raise ImageError(
                f"{path}: {line[:80]!r} is no locked package; run `make lock`"
            ) from None
        hashes = frozenset(_HASH.findall(line))
        if not hashes or not str(named.specifier).startswith("=="):
            raise ImageError(f"{path}: {named.name} has no version or no hash; run `make lock`")
        if target.wants(named.marker):
            found.append(Locked(f"{named.name}{named.specifier}", hashes))
    return found


def fill_wheels(
    out: Path, *, lock: Path, checkout: Path, target: Target, tell: Tell = lambda _line: None
) -> Filled:
    """Bring ``out`` to what ``lock`` and ``checkout`` say; do nothing if it is there, just so.

    Files of others in the folder are refused; wheels that an earlier run put there and that belong
    there no more are removed.

    Args:
        tell: told what is going on, a line each.

    Raises:
        ImageError: the folder, the lock or the checkout cannot be used.
        WheelsUnavailable: pip could not get or build a wheel; what had been there stays.
    """
    wanted = read_lock(lock, target)
    out.mkdir(parents=True, exist_ok=True)
    state = _read_state(out)
    present = _present(out, state, {digest for package in wanted for digest in package.hashes})
    keep: dict[str, str] = {}
    missing = []
    for package in wanted:
        name = _found(package, present, target)
        if name is None:
            missing.append(package)
        else:
            keep[name] = present[name]
    with _sources(checkout) as (tree, digest):
        ours = _ours(state, digest, present)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=out) as made:
            partial = Path(made)
            if missing:
                tell(f"{len(keep)} of {len(wanted)} packages are there; fetching the others")
                _fetch(missing, target, partial, tell)
                for package in missing:
                    _require(package, _hashes(partial), target)
            if ours is None:
                tell(f"building the wheel of {checkout}")
                _build(tree, partial)
            fresh = _hashes(partial)
            if ours is not None:
                keep[ours] = present[ours]
            _write_state(out, {"version": 1, "wheels": present | fresh})
            for name in sorted(set(present) - set(keep) - set(fresh)):
                tell(f"{name} belongs there no more and is removed")
                (out / name).unlink()
            for name in sorted(fresh):
                (partial / name).replace(out / name)
    keep |= fresh
    own = next(name for name in keep if name.startswith(f"{_OURS}-"))
    _write_state(out, {"version": 1, "source": digest, "own": own, "wheels": keep})
    wheels = tuple(CardFile(out / name, digest) for name, digest in sorted(keep.items()))
    atomic_write(out / LIST_NAME, list_of_wheels(wheels).encode())
    return Filled(wheels, len(missing), ours is None)


def find_checkout(given: Path | None) -> Path:
    """Return the folder of the source code: the one that was given, or that this runs from.

    Raises:
        ImageError: it is none.
    """
    place = given or Path(__file__).resolve().parents[3]
    if (place / "pyproject.toml").is_file() and (place / "locks").is_dir():
        return place
    raise ImageError(
        f"{place} is not a checkout of Sealtrace (no pyproject.toml and locks/), and the wheels are"
        " made from one; name it with --checkout DIR"
    )


def _present(out: Path, state: dict[str, object], locked: set[str]) -> dict[str, str]:
    """Return name and SHA-256 of the wheels in the folder: of an earlier run, or of the lock."""
    found = _hashes(out)
    ours = state.get("wheels")
    known = set(ours) if isinstance(ours, dict) else set()
    foreign = [name for name in found if name not in known and found[name] not in locked]
    if foreign:
        raise ImageError(
            f"{out} holds {foreign[0]}, which neither the lock names nor this command put there;"
            " choose an empty folder, or take it out"
        )
    return found


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path)[0] for path in sorted(folder.glob("*.whl"))}


def _found(package: Locked, present: dict[str, str], target: Target) -> str | None:
    """Return the name of a wheel that is this package and runs on ``target``."""
    for name, digest in present.items():
        if digest in package.hashes and _runs(name, target):
            return name
    return None


def _runs(name: str, target: Target) -> bool:
    try:
        return not parse_wheel_filename(name)[3].isdisjoint(target.tags)
    except InvalidWheelFilename:
        return False


def _require(package: Locked, fresh: dict[str, str], target: Target) -> None:
    if _found(package, fresh, target) is None:
        raise WheelsUnavailable(
            f"what pip fetched for {package.requirement} is not what the lock names by hash; "
            "nothing was put into the folder: look at the package index that pip is configured for"
        )


def _fetch(missing: Sequence[Locked], target: Target, folder: Path, tell: Tell) -> None:
    listed = folder / "requirements.txt"
    listed.write_text("".join(f"{package.line()}\n" for package in missing))
    platforms = [word for name in target.platforms for word in ("--platform", name)]
    major, minor = target.python.split(".")
    count = 0

    def heard(line: str) -> None:
        nonlocal count
        if found := _FETCHING.match(line):
            count += 1
            tell(f"[{count}/{len(missing)}] {found[1].rsplit('/', 1)[-1]}")

    try:
        _pip(
            ["download", "--no-deps", "--require-hashes", "--only-binary", ":all:",
             "--progress-bar", "off", "--implementation", "cp", "--python-version", target.python,
             "--abi", f"cp{major}{minor}", "--abi", "abi3", "--abi", "none", *platforms,
             "--dest", str(folder), "--requirement", str(listed)],
            heard,
            f"a wheel for Python {target.python} on {target.machine} cannot be had",
        )  # fmt: skip
    finally:
        listed.unlink()


def _build(tree: Path, folder: Path) -> None:
    if find_spec("setuptools") is None:  # fetched by pip it would be whatever the index has
        raise WheelsUnavailable(
            "this Python has no setuptools, which builds our wheel; run the command from the"
            " environment that `make setup` makes"
        )
    words = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(tree)]
    _pip(words, lambda _line: None, "the wheel of this checkout cannot be built")


def _pip(words: Sequence[str], heard: Callable[[str], None], failure: str) -> None:
    if find_spec("pip") is None:
        raise WheelsUnavailable(
            "this Python has no pip, which fetches the wheels; run the command from the environment"
            " that `make setup` makes"
        )
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH_S}
    # Isolated: nothing of the folder that somebody stands in, or of PYTHONPATH, gets to run.
    pip = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    lines: list[str] = []
    with subprocess.Popen(
        [*pip, *words], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as process:  # fmt: skip
        try:
            for line in process.stdout or ():
                heard(line)
                lines = [*lines[-40:], line.strip()]
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        why = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "")
        raise WheelsUnavailable(
            f"{failure}: {why.removeprefix('ERROR: ')}; run it again, what is there stays"
        )


@contextmanager
def _sources(checkout: Path) -> Iterator[tuple[Path, str]]:
    """Copy what the wheel is built from, so that no earlier build gets in; give its digest too."""
    with tempfile.TemporaryDirectory(prefix="sealtrace-source-") as made:
        tree = Path(made) / "source"
        tree.mkdir()
        try:
            settings = parse_toml((checkout / "pyproject.toml").read_text())
            find = settings["tool"]["setuptools"]["packages"]["find"]["include"]
        except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
            raise ImageError(f"{checkout}/pyproject.toml is not Sealtrace's ({error})") from error
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            if (checkout / name).exists():
                shutil.copy(checkout / name, tree / name)
        for pattern in find:
            name = pattern.rstrip("*")
            if (checkout / name).is_dir():
                shutil.copytree(
                    checkout / name, tree / name, ignore=shutil.ignore_patterns("__pycache__")
                )
        hashing = hashlib.sha256()
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            digest, _ = sha256_file(path)
            hashing.update(f"{digest}  {path.relative_to(tree)}\n".encode())
        yield tree, hashing.hexdigest()


def _ours(state: dict[str, object], digest: str, present: dict[str, str]) -> str | None:
    """Return the name of our own wheel if it was built from just this source."""
    own, listed = state.get("own"), state.get("wheels")
    if state.get("source") != digest or not isinstance(own, str) or not isinstance(listed, dict):
        return None
    return own if present.get(own) is not None and present[own] == listed.get(own) else None


def _read_state(out: Path) -> dict[str, object]:
    path = out / _STATE_NAME
    if not path.exists():
        return {}
    try:
        values = parse_json(read_file(path, _MAX_LOCK_BYTES))
    except ValueError:
        values = None
    if not isinstance(values, dict) or values.get("version") != 1:
        raise ImageError(f"{path} is not what this version wrote; choose an empty folder")
    return values


def _write_state(out: Path, values: dict[str, object]) -> None:
    atomic_write(out / _STATE_NAME, f"{json.dumps(values, indent=1, sort_keys=True)}\n".encode())
