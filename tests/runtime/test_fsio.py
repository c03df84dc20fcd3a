"""Files are written whole, with their mode, and never over another one unasked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runtime.fsio import FileProblem, atomic_write, private_folder, read_file, sha256_file


def test_writes_the_content_with_its_mode_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    atomic_write(path, b"one", 0o600)
    atomic_write(path, b"two", 0o600)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_replacing_a_file_also_tightens_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.write_bytes(b"x")
    path.chmod(0o666)
    atomic_write(path, b"y", 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_refuses_to_overwrite_when_told_so(tmp_path: Path) -> None:
    path = tmp_path / "key"
    atomic_write(path, b"first", overwrite=False)
    with pytest.raises(FileProblem, match="exists already"):
        atomic_write(path, b"second", overwrite=False)
    assert path.read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match=r"cannot write .*No such file"):
        atomic_write(tmp_path / "absent" / "file", b"")


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(FileProblem, match="larger than 4"):
        read_file(path, 4)
    with pytest.raises(FileProblem, match="not a regular file"):
        read_file(tmp_path, 4)
    with pytest.raises(FileProblem, match="No such file"):
        read_file(tmp_path / "absent", 4)


def test_hash_and_size_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    digest, size = sha256_file(path)
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert size == 3
    with pytest.raises(FileProblem):
        sha256_file(tmp_path / "absent")


def test_a_private_folder_is_its_owners_only(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(FileProblem):
        private_folder(tmp_path / "file")
