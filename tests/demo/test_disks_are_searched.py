"""What must not lie on a disk in the plain is found wherever it lies, and each file read once."""

from __future__ import annotations

from pathlib import Path

from demo import wiretap
from demo.wiretap import find_in_files


def test_nothing_hides_at_the_border_of_two_pieces(tmp_path: Path) -> None:
    secret, plain = b"a template's bytes", tmp_path / "state.db"
    plain.write_bytes(b"." * (wiretap._CHUNK_BYTES - 7) + secret)
    (tmp_path / "other.log").write_bytes(b"nothing of it")
    files = sorted(tmp_path.iterdir())
    assert find_in_files([b"another", secret], files) == [(plain, 1)]


def test_a_file_of_several_names_is_told_by_the_first_and_a_copy_by_itself(tmp_path: Path) -> None:
    first, second, copy = (tmp_path / name for name in ("a", "b", "c"))
    first.write_bytes(b"plain")
    second.hardlink_to(first)
    copy.write_bytes(first.read_bytes())
    assert find_in_files([b"plain"], [first, second, copy, tmp_path / "gone"]) == [
        (first, 0),
        (copy, 0),
    ]
