"""The aggregator keeps the register of places that the directory in force names, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest

from aggregator.places import PlacesShelf
from protocol.directory import Directory
from protocol.directory_forms import SECOND
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.places import parse_places

REGISTER = v2.PLACES.to_bytes()
NEWER = b"camera,place\ncam-1,Elsewhere\n"


def named(register: bytes | None) -> Directory:
    digest = None if register is None else parse_places(register).digest
    return replace(s.directory(), form=SECOND, places=digest)


def test_what_was_brought_is_there_after_a_restart(tmp_path: Path) -> None:
    directory = named(REGISTER)
    shelf = PlacesShelf(tmp_path / "none", tmp_path, lambda: directory)
    assert shelf.current() is None
    assert shelf.take(REGISTER)
    assert not shelf.take(REGISTER)
    assert shelf.current() == REGISTER
    again = PlacesShelf(tmp_path / "none", tmp_path, lambda: directory)
    assert again.current() == REGISTER


def test_an_installed_copy_serves_as_long_as_it_is_the_one_that_is_named(tmp_path: Path) -> None:
    installed = tmp_path / "places.register"
    installed.write_bytes(REGISTER)
    directory = named(REGISTER)
    shelf = PlacesShelf(installed, tmp_path / "state", lambda: directory)
    assert shelf.current() == REGISTER
    directory = named(NEWER)
    assert shelf.current() is None, "the directory has moved on"
    installed.write_bytes(NEWER)
    assert shelf.current() == NEWER
    directory = named(None)
    assert shelf.current() is None


@pytest.mark.parametrize("register", [REGISTER, None])
def test_a_register_that_nobody_named_is_refused(tmp_path: Path, register: bytes | None) -> None:
    shelf = PlacesShelf(tmp_path / "none", tmp_path, lambda: named(register))
    with pytest.raises(SignatureInvalid):
        shelf.take(NEWER)
    assert list(tmp_path.iterdir()) == []


def test_what_is_named_and_is_no_register_is_refused(tmp_path: Path) -> None:
    directory = replace(named(None), places=bytes.fromhex(_SHA256_OF_X))
    shelf = PlacesShelf(tmp_path / "none", tmp_path, lambda: directory)
    with pytest.raises(MalformedMessage):
        shelf.take(b"x")


_SHA256_OF_X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
