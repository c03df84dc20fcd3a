"""The folder of wheels for boxes holds what the lock names by hash, and is filled once."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from provisioning.fleet.image.errors import ImageError, WheelsUnavailable
from provisioning.fleet.image.settings import read_wheels
from provisioning.fleet.image.software import list_of_wheels
from provisioning.fleet.image.wheels import Filled, Target, fill_wheels, find_checkout, read_lock
from provisioning.fleet.image_cli import app

NATIVE = "native-2.0-cp311-cp311-manylinux_2_28_x86_64.whl"
ARM = "native-2.0-cp313-cp313-manylinux_2_28_aarch64.whl"


def make_wheel(folder: Path, name: str, text: str = "") -> str:
    """Put a wheel into a folder of the index; return its SHA-256."""
    project, version = name.split("-")[:2]
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{project}-{version}.dist-info"
    tag = name.removesuffix(".whl").split("-", 2)[2]
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr(zipfile.ZipInfo(f"{project}.py"), text)
        wheel.writestr(
            zipfile.ZipInfo(f"{info}/METADATA"),
            f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n",
        )
        wheel.writestr(zipfile.ZipInfo(f"{info}/WHEEL"), f"Wheel-Version: 1.0\nTag: {tag}\n")
        wheel.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "")
    return hashlib.sha256((folder / name).read_bytes()).hexdigest()


class Desk:
    """A checkout, a package index in a folder, and a folder to fill."""

    def __init__(self, folder: Path) -> None:
        self.index, self.out = folder / "index", folder / "wheels"
        self.checkout = folder / "checkout"
        (self.checkout / "sealtrace").mkdir(parents=True)
        self.source = self.checkout / "sealtrace" / "__init__.py"
        self.source.write_text("VERSION = 1\n")
        (self.checkout / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
            '[project]\nname = "sealtrace"\nversion = "0.1.0"\n'
            '[tool.setuptools.packages.find]\ninclude = ["sealtrace*"]\n'
        )
        self.lock = self.checkout / "locks" / "edge.lock"
        self.lock.parent.mkdir()
        names = ["pip-26.3-py3-none-any.whl", NATIVE, ARM]
        digests = {name: make_wheel(self.index / name.split("-")[0], name) for name in names}
        self.lock.write_text(
            "# made for a test\n"
            f"pip==26.3 \\\n    --hash=sha256:{digests[names[0]]}\n    # via nobody\n"
            f"native==2.0 ; sys_platform == 'linux' \\\n    --hash=sha256:{digests[NATIVE]} \\\n"
            f"    --hash=sha256:{digests[ARM]}\n"
            f"other==1 ; sys_platform == 'win32' \\\n    --hash=sha256:{'0' * 64}\n"
        )

    def fill(self, target: Target | None = None) -> tuple[Filled, list[str]]:
        told: list[str] = []
        done = fill_wheels(
            self.out,
            lock=self.lock,
            checkout=self.checkout,
            target=target or Target(),
            tell=told.append,
        )
        return done, told

    def names(self) -> list[str]:
        return sorted(path.name for path in self.out.glob("*.whl"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(tmp_path)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    links = " ".join(str(folder) for folder in made.index.iterdir())
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "nothing").as_uri())
    monkeypatch.setenv("PIP_FIND_LINKS", links)
    return made


@pytest.mark.processes
def test_a_folder_is_filled_from_lock_and_checkout_and_a_second_time_nothing_is_fetched(
    desk: Desk,
) -> None:
    done, told = desk.fill()
    assert (done.fetched, done.built) == (2, True)
    assert desk.names() == [NATIVE, "pip-26.3-py3-none-any.whl", "sealtrace-0.1.0-py3-none-any.whl"]
    assert any(NATIVE in line for line in told)
    assert list_of_wheels(read_wheels(desk.out)) == (desk.out / "software.txt").read_text()
    before = {path: path.stat().st_mtime_ns for path in desk.out.glob("*.whl")}
    for folder in desk.index.iterdir():
        for wheel in folder.iterdir():
            wheel.unlink()
    again, told = desk.fill()
    assert (again.fetched, again.built, told) == (0, False, [])
    assert again.wheels == done.wheels
    assert {path: path.stat().st_mtime_ns for path in desk.out.glob("*.whl")} == before


@pytest.mark.processes
def test_what_was_damaged_comes_anew_what_changed_is_built_and_what_the_lock_dropped_goes(
    desk: Desk,
) -> None:
    first, _ = desk.fill()
    (desk.out / "pip-26.3-py3-none-any.whl").write_bytes(b"cut short")
    desk.source.write_text("VERSION = 2\n")
    text = desk.lock.read_text()
    desk.lock.write_text("".join(text.partition("native==")[:1]))
    done, told = desk.fill()
    assert (done.fetched, done.built) == (1, True)
    assert done.wheels[0] == first.wheels[1]
    assert desk.names() == ["pip-26.3-py3-none-any.whl", "sealtrace-0.1.0-py3-none-any.whl"]
    assert f"{NATIVE} belongs there no more and is removed" in told
    ours = {wheel.path.name: wheel.sha256 for wheel in first.wheels}
    assert done.wheels[-1].sha256 != ours[done.wheels[-1].path.name]


@pytest.mark.processes
def test_a_wheel_that_the_lock_does_not_name_by_hash_is_refused(desk: Desk) -> None:
    make_wheel(desk.index / "native", NATIVE, "import evil\n")
    with pytest.raises(WheelsUnavailable, match="run it again"):
        desk.fill()
    assert desk.names() == []


def test_wheels_of_somebody_else_are_left_alone(desk: Desk) -> None:
    make_wheel(desk.out, "mine-1.0-py3-none-any.whl")
    with pytest.raises(ImageError, match=r"mine-1\.0.*choose an empty"):
        desk.fill()
    assert desk.names() == ["mine-1.0-py3-none-any.whl"]


def test_a_target_decides_what_of_the_lock_is_wanted(tmp_path: Path) -> None:
    lock = tmp_path / "edge.lock"
    lock.write_text(
        f"numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:{'1' * 64}\n"
        f"numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:{'2' * 64}\n"
    )
    named = {
        python: [one.requirement for one in read_lock(lock, Target(python, "arm64"))]
        for python in ("3.11", "3.13")
    }
    assert named == {"3.11": ["numpy==2.4.6"], "3.13": ["numpy==2.5.5"]}


@pytest.mark.parametrize("line", ["numpy>=2", "numpy==2.4.6", "--index-url https://evil.example"])
def test_a_lock_with_anything_but_versions_and_hashes_is_refused(tmp_path: Path, line: str) -> None:
    lock = tmp_path / "edge.lock"
    lock.write_text(line + "\n")
    with pytest.raises(ImageError, match="make lock"):
        read_lock(lock, Target())


def test_the_lock_of_boards_has_pip_which_a_blank_box_installs_with() -> None:
    place = find_checkout(None)
    for python in ("3.11", "3.13"):
        names = [one.requirement for one in read_lock(place / "locks/edge.lock", Target(python))]
        assert sum(name.startswith("pip==") for name in names) == 1


def test_machines_without_wheels_are_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["wheels", str(tmp_path / "w"), "--machine", "riscv"])
    assert done.exit_code == 1
    assert "choose of x86-64, arm64" in " ".join(done.output.split())
