"""Packages: the same content gives the same bytes; nothing but plain files ever comes out."""

from __future__ import annotations

import io
import os
import platform
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Literal

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.releases import Rollout, RolloutInvalid
from provisioning.box.updates.state import State, StateFile
from provisioning.fleet.releases.keys import read_public
from provisioning.formats.releases.errors import ReleaseError, ReleaseUnusable
from provisioning.formats.releases.packages import Package, unpack, write_package
from provisioning.formats.releases.wheels import read_wheel, unpack_wheel
from runtime.errors import OperationError

_NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,20}", fullmatch=True)
_GROUPS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,10}", fullmatch=True)
_VERSIONS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,12}", fullmatch=True)
_KINDS: st.SearchStrategy[Literal["models", "agent"]] = st.sampled_from(("models", "agent"))


@settings(max_examples=examples(40), deadline=None)
@given(st.dictionaries(_NAMES, st.binary(max_size=2000), min_size=1, max_size=5))
def test_what_is_packed_comes_out_again(contents: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {}
        for number, (member, data) in enumerate(contents.items()):
            files[member] = folder / f"in-{number}"
            files[member].write_bytes(data)
        package = Package("models", "v", files)
        write_package(package, folder / "1.tar")
        os.utime(files[next(iter(files))], (1, 1))
        write_package(Package("models", "v", dict(reversed(files.items()))), folder / "2.tar")
        assert (folder / "1.tar").read_bytes() == (folder / "2.tar").read_bytes()
        unpack(folder / "1.tar", folder / "out", max_bytes=package.unpacked_bytes)
        found = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
        assert found == contents


@settings(max_examples=examples(60), deadline=None)
@given(st.binary(max_size=3000), st.booleans())
def test_garbage_is_refused_not_unpacked(data: bytes, headed: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if headed:
            stream = io.BytesIO()
            with tarfile.open(fileobj=stream, mode="w") as tar:
                member = tarfile.TarInfo("a")
                member.size = 600
                tar.addfile(member, io.BytesIO(bytes(600)))
            data = stream.getvalue()[:512] + data
        (folder / "x.tar").write_bytes(data)
        try:
            unpack(folder / "x.tar", folder / "out", max_bytes=1000)
        except OperationError:
            return
        assert sum(path.stat().st_size for path in (folder / "out").iterdir()) <= 1000


def _tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def _member(
    name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = ""
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, size, link
    return member


@pytest.mark.parametrize(
    "member",
    [
        _member("../evil"),
        _member("/evil"),
        _member("a/b"),
        _member(".hidden"),
        _member("link", tarfile.SYMTYPE, link="/etc/passwd"),
        _member("hard", tarfile.LNKTYPE, link="good"),
        _member("fifo", tarfile.FIFOTYPE),
        _member("dir", tarfile.DIRTYPE),
        _member("device", tarfile.CHRTYPE),
    ],
    ids=lambda member: member.name,
)
def test_only_plain_files_in_one_folder_are_unpacked(
    tmp_path: Path, member: tarfile.TarInfo
) -> None:
    archive = _tar(tmp_path / "x.tar", _member("good", size=3), member)
    with pytest.raises(ReleaseUnusable, match="plain file"):
        unpack(archive, tmp_path / "out", max_bytes=100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.tar"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good"]


def test_more_than_was_announced_is_refused(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "x.tar", _member("a", size=60), _member("b", size=60))
    with pytest.raises(ReleaseUnusable, match="more than the 100 bytes"):
        unpack(archive, tmp_path / "out", max_bytes=100)


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "x.tar", _member("a", size=1), _member("a", size=1))
    with pytest.raises(OperationError):
        unpack(archive, tmp_path / "out", max_bytes=100)


@given(st.text(max_size=40))
def test_a_wheels_name_is_read_or_refused(name: str) -> None:
    with pytest.raises(ReleaseError):
        read_wheel(Path("/nowhere") / (name.replace("/", "_").replace("\0", "_") or "x"))


@given(st.lists(st.tuples(_KINDS, _VERSIONS, _GROUPS | st.just("all")), max_size=8))
def test_the_last_rollout_counts_and_all_ends_groups_own_ways(
    steps: list[tuple[Literal["models", "agent"], str, str]],
) -> None:
    rollout = Rollout()
    told: dict[str, dict[str, str]] = {"models": {}, "agent": {}}
    for kind, version, group in steps:
        rollout = rollout.changed(kind, version, group)
        if group == "all":
            told[kind] = {}
        told[kind][group] = version
    assert Rollout.parse(rollout.to_bytes()) == rollout
    assert rollout.to_bytes() == Rollout.parse(rollout.to_bytes()).to_bytes()
    for kind, _, group in steps:
        assert rollout.version(kind, group) == told[kind].get(group, told[kind].get("all"))


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_a_rollout_is_read_or_refused(data: bytes) -> None:
    try:
        rollout = Rollout.parse(data)
    except RolloutInvalid:
        return
    assert rollout.format == "sealtrace-rollout/1"


@pytest.mark.parametrize(
    "text",
    [
        '{"format": "sealtrace-rollout/2", "groups": {}}',
        '{"groups": {"all": {"models": "../../etc"}}}',
        '{"groups": {"all": {"firmware": "1"}}}',
        '{"groups": {"A": {}}}',
        '{"groups": {}, "more": 1}',
    ],
)
def test_a_rollout_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(RolloutInvalid):
        Rollout.parse(text.encode())


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_state_file_is_read_or_begun_anew(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "state.json").write_bytes(data)
        assert isinstance(StateFile(Path(name)).read(), State)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_a_public_line_is_read_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.pub"
        path.write_bytes(data)
        with pytest.raises(ReleaseError):
            read_public(path)


def test_only_the_last_failures_are_remembered() -> None:
    state = State()
    for number in range(100):
        state = state.with_bad("models", str(number), "ill " * 1000)
    assert len(state.bad["models"]) == 32
    assert "99" in state.bad["models"]
    assert "0" not in state.bad["models"]


def _wheel(folder: Path, tags: str, names: tuple[str, ...] = ("a/b.py",)) -> Path:
    path = folder / f"lib_x-1.0-{tags}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "content of " + name)
    return path


_OURS = f"cp{sys.version_info.major}{sys.version_info.minor}"
_MACHINE = platform.machine()


@pytest.mark.parametrize(
    ("tags", "fits"),
    [
        ("py3-none-any", True),
        ("py2.py3-none-any", True),
        ("py2-none-any", False),
        ("py39-none-any", True),
        ("py399-none-any", False),
        (f"{_OURS}-{_OURS}-manylinux_2_17_{_MACHINE}.manylinux2014_{_MACHINE}", True),
        (f"{_OURS}-{_OURS}-linux_{_MACHINE}", True),
        (f"cp38-abi3-manylinux_2_28_{_MACHINE}", True),
        (f"cp38-cp38-manylinux_2_28_{_MACHINE}", False),
        (f"cp399-abi3-manylinux_2_28_{_MACHINE}", False),
        (f"{_OURS}-{_OURS}-manylinux_2_17_s390", False),
        (f"{_OURS}-{_OURS}-musllinux_1_2_{_MACHINE}", False),
        (f"{_OURS}-{_OURS}-win_amd64", False),
        ("pp310-pypy310_pp73-any", False),
    ],
)
def test_only_wheels_for_this_machine_fit(tmp_path: Path, tags: str, fits: bool) -> None:
    wheel = read_wheel(_wheel(tmp_path, tags))
    assert wheel.fits() is fits
    assert (wheel.distribution, wheel.version) == ("lib-x", "1.0")


def test_a_wheels_libraries_are_unpacked_and_its_scripts_left_out(tmp_path: Path) -> None:
    names = ("a/b.py", "c-1.0.data/purelib/d.py", "c-1.0.data/scripts/run", "c-1.0.data/data/e")
    wheel = read_wheel(_wheel(tmp_path, "py3-none-any", names))
    unpack_wheel(wheel, tmp_path / "out", max_bytes=1000)
    found = sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.*"))
    assert found == [Path("a/b.py"), Path("d.py")]


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py", "a\\..\\evil.py"])
def test_a_wheel_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    wheel = read_wheel(_wheel(tmp_path, "py3-none-any", ("good.py", name)))
    with pytest.raises(ReleaseUnusable, match="leave its folder"):
        unpack_wheel(wheel, tmp_path / "in" / "out", max_bytes=1000)
    assert not list(tmp_path.rglob("*evil*"))


def test_a_wheel_that_is_too_much_is_refused(tmp_path: Path) -> None:
    wheel = read_wheel(_wheel(tmp_path, "py3-none-any"))
    with pytest.raises(ReleaseUnusable, match="more than"):
        unpack_wheel(wheel, tmp_path / "out", max_bytes=5)
    assert unpack_wheel(wheel, tmp_path / "out", max_bytes=500) < 500
    with pytest.raises(ReleaseUnusable, match="there already"):
        unpack_wheel(wheel, tmp_path / "out", max_bytes=500)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_wheel_is_refused_or_whole(place: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = _wheel(Path(name), "py3-none-any")
        data = bytearray(path.read_bytes())
        data[place % len(data)] = value
        path.write_bytes(data)
        try:
            unpack_wheel(read_wheel(path), Path(name) / "out", max_bytes=1000)
        except OperationError:
            return
        assert sum(p.is_file() for p in (Path(name) / "out").rglob("*")) <= 1
