"""The doctor looks at headquarters' store and boxes, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from packed_site import PackedSite
from postgresql_server import server
from store_backends import place_in

from aggregator.config import AggregatorConfig
from aggregator.doctor import look_at_boxes, look_at_store
from aggregator.store import StorePlace
from aggregator.store.condition import server_schema
from runtime.config import load
from runtime.database import StorageError
from runtime.doctor import Findings, Level


def config_in(folder: Path) -> AggregatorConfig:
    path = folder / "aggregator.toml"
    path.write_text(f'site = "test"\nauthority = "{"58" + "66" * 31}"\nstate_dir = "state"\n')
    return load(path, AggregatorConfig)


@pytest.fixture
def site(tmp_path: Path) -> PackedSite:
    (tmp_path / "state").mkdir()
    made = PackedSite(tmp_path / "state")
    made.fill()
    made.pack()
    return made


def looked_at(folder: Path) -> dict[str, Level]:
    found = Findings()
    look_at_store(found, config_in(folder), None)
    return {one.about: one.level for one in found.found}


def test_a_store_with_packed_segments_is_well(site: PackedSite, tmp_path: Path) -> None:
    assert looked_at(tmp_path) == {"aggregator.db": Level.WELL, "packed segments": Level.WELL}


def test_a_place_of_segments_that_is_not_mounted_is_wrong(site: PackedSite, tmp_path: Path) -> None:
    (tmp_path / "state" / "segments").rename(tmp_path / "elsewhere")
    assert looked_at(tmp_path)["packed segments"] is Level.WRONG


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    assert looked_at(tmp_path) == {}
    assert not (tmp_path / "state").exists()


@pytest.mark.processes
def test_a_server_is_asked_for_its_schema_and_gets_none_by_that(tmp_path: Path) -> None:
    empty = StorePlace(tmp_path / "aggregator.db", server().new_database())
    assert [server_schema(empty).has for _ in range(2)] == [0, 0]
    made = server_schema(place_in(tmp_path))
    assert made.has == made.known


@pytest.mark.processes
def test_a_server_that_is_away_is_an_error_for_people(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    away = type(place)(place.database, "postgresql://nobody@127.0.0.1:1/none", None, place.objects)
    with pytest.raises(StorageError):
        server_schema(away)


def box(**of: object) -> dict[str, object]:
    return {"box": "b", "state": "online", "revoked": False, "gaps": [], "clock_wrong": False} | of


@pytest.mark.parametrize(
    ("boxes", "level", "words"),
    [
        ([box()], Level.WELL, "1 box in order"),
        ([box(), box(state="offline")], Level.WARNING, "of 2: 1 not online"),
        ([box(state="offline", revoked=True)], Level.WELL, "0 boxes"),
        ([box(clock_wrong=True)], Level.WARNING, "wrong clock"),
        ([box(gaps=[{}])], Level.WARNING, "gaps"),
        ("nonsense", Level.WELL, "0 boxes"),
    ],
)
def test_boxes_are_counted_by_what_is_wrong(boxes: object, level: Level, words: str) -> None:
    found = Findings()
    look_at_boxes(found, boxes)
    assert (found.worst, words in found.found[0].what) == (level, True)
