"""A camera that no box watches, and whose films a station imports, is asked for like any."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s

from officers.desk.scoping import cameras_left_out, cameras_of


def test_cameras_whose_films_a_station_imports_are_cameras_of_the_site() -> None:
    directory = s.directory()
    listed = dict(directory.principals)
    listed["box-2"] = replace(listed["box-2"], recordings=("yard-9",))
    directory = replace(directory, principals=listed, form=2)
    assert cameras_of(directory, ["yard-9"], every=False) == ("yard-9",)
    assert "yard-9" in cameras_of(directory, [], every=True)
    gone = directory.revoke("box-2", at_ms=s.NOW_MS)
    assert "yard-9" in cameras_left_out(gone)
    assert cameras_of(gone, ["yard-9"], every=False) == ("yard-9",), "what it has imported stays"
