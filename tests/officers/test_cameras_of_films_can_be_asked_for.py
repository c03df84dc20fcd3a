"""A camera that no box watches, and whose films a station imports, is asked for like any."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s

from officers.desk.choosing import Wanted, cameras_known, choose
from officers.desk.notices import unheard
from protocol.directory import Directory


def test_cameras_whose_films_a_station_imports_are_cameras_of_the_site() -> None:
    directory = s.directory()
    listed = dict(directory.principals)
    listed["box-2"] = replace(listed["box-2"], recordings=("yard-9",))
    directory = replace(directory, principals=listed, form=2)
    assert meant(Wanted(("yard-9",)), directory) == ("yard-9",)
    assert "yard-9" in meant(Wanted(every=True), directory)
    gone = directory.revoke("box-2", at_ms=s.NOW_MS)
    known, in_force = cameras_known(gone)
    assert "yard-9" in known
    assert "yard-9" not in in_force
    assert meant(Wanted(("yard-9",)), gone) == ("yard-9",), "what it has imported stays"


def meant(wanted: Wanted, directory: Directory) -> tuple[str, ...]:
    return choose(wanted, directory, None, unheard)
