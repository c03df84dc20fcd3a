"""`sealtrace aggregator db` shows operators what is kept, and nothing that is sealed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from boxes_v2 import make_box_v2, strangers
from intake_desk import Desk
from sealed_boxes import NOON_SLOT, make_box, sighting, unit_vector
from store_file import rows
from typer.testing import CliRunner

from aggregator.cli import app
from protocol.sealing import Envelope
from runtime.errors import OperationError

RNG = np.random.default_rng(5)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A store that is open, as that of a running service, with something in every kind of table."""
    (tmp_path / "state").mkdir()
    box = make_box(1)
    one = Desk(tmp_path / "state" / "aggregator.db", [box])
    one.take(box.announcement(), box.segment([sighting(unit_vector(RNG))] * 2), box.health(fps=5.0))
    box.next_sequence()
    one.take(
        box.live([sighting(unit_vector(RNG))], slot=NOON_SLOT),
        ("st/v1/test/box-1/cam-1/envelope", b"\x1b["),
    )
    config = tmp_path / "aggregator.toml"
    config.write_text(
        f'site = "test"\nauthority = "{"58" + "66" * 31}"\nstate_dir = "{tmp_path}/state"\n'
    )
    return one


def look(tmp_path: Path, *words: str) -> str:
    config = str(tmp_path / "aggregator.toml")
    done = CliRunner().invoke(
        app, ["db", *words, "--config", config], catch_exceptions=False, env={"COLUMNS": "400"}
    )
    assert done.exit_code == 0, done.output
    return done.output


def test_all_tables_are_listed_with_their_counts(desk: Desk, tmp_path: Path) -> None:
    listed = {one["name"]: one for one in json.loads(look(tmp_path, "--json"))}
    assert {"envelopes", "gaps", "queries", "results", "log_outbox"} <= set(listed)
    assert (listed["envelopes"]["rows"], listed["gaps"]["rows"]) == (2, 1)
    assert "received_ms" in listed["envelopes"]["columns"]
    assert "envelopes" in look(tmp_path)


@pytest.mark.slow
def test_no_table_shows_anything_sealed_or_signed(desk: Desk, tmp_path: Path) -> None:
    (payload,) = rows(desk.store, "SELECT face FROM envelopes WHERE id = 1")
    for one in json.loads(look(tmp_path, "--json")):
        text = look(tmp_path, one["name"], "--json")
        for row in json.loads(text):
            for name, value in row.items():
                is_blob = name in {
                    "salt",
                    "header",
                    "signature",
                    "face",
                    "meta",
                    "signed",
                    "sealed",
                }
                assert not is_blob or value is None or value.endswith(" bytes)")
        assert payload[0].hex()[:32] not in text
    (row,) = json.loads(look(tmp_path, "envelopes", "--json", "--limit", "1"))
    live = desk.store.segments.envelope(2)
    assert isinstance(live, Envelope)
    assert row["face"] == f"({len(live.ciphertext)} bytes)"
    assert row["meta"] is None


def test_of_segments_of_version_2_lengths_are_shown_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    box = make_box_v2(1)
    desk = Desk(tmp_path / "state" / "aggregator.db", [box])
    desk.take(box.announcement(), box.segment(strangers(2, RNG), replaces=((0, 0),)))
    config = tmp_path / "aggregator.toml"
    config.write_text(
        f'site = "test"\nauthority = "{"58" + "66" * 31}"\nstate_dir = "{tmp_path}/state"\n'
    )
    (row,) = json.loads(look(tmp_path, "sealed_rows", "--json"))
    sizes = {"cover": desk.store.segments.cover(1), "meta": desk.store.segments.meta(1)}
    assert row == {
        "id": 1,
        "counts": None,
        **{name: f"({len(block)} bytes)" for name, block in sizes.items()},
    }


def test_rows_come_last_first_and_as_many_as_asked_for(desk: Desk, tmp_path: Path) -> None:
    listed = json.loads(look(tmp_path, "envelopes", "--json"))
    assert [row["id"] for row in listed] == [2, 1]
    assert len(json.loads(look(tmp_path, "envelopes", "--json", "--limit", "1"))) == 1
    assert "2026-" in look(tmp_path, "envelopes"), "moments are shown as such"


def test_what_others_wrote_steers_no_terminal(desk: Desk, tmp_path: Path) -> None:
    with desk.store.writing() as unit:
        unit.ledger.quarantine(
            stream=None, topic="\x1b[2Jt", payload=b"", reason="r", detail="\x9b31m", received_ms=0
        )
    text = look(tmp_path, "quarantine")
    assert "\x1b[2J" not in text
    assert "\x9b" not in text
    json.loads(look(tmp_path, "quarantine", "--json"))


def test_it_neither_writes_nor_waits_for_who_writes(desk: Desk, tmp_path: Path) -> None:
    with desk.store.writing() as unit:
        unit.ledger.add_entry(b"not yet", log_size=0)
        before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "state").glob("*.db")}
        assert json.loads(look(tmp_path, "log_outbox", "--json")) == []
        assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "state").glob("*.db")} == before


def test_a_table_that_is_not_there_and_a_missing_database_are_named(
    desk: Desk, tmp_path: Path
) -> None:
    with pytest.raises(OperationError, match=r"no table 'boxen'.*boxes"):
        look(tmp_path, "boxen")
    with pytest.raises(OperationError, match="no table 'boxes; DROP TABLE boxes'"):
        look(tmp_path, "boxes; DROP TABLE boxes")
    desk.store.close()
    for path in (tmp_path / "state").iterdir():
        path.unlink()
    with pytest.raises(OperationError, match=r"aggregator\.db"):
        look(tmp_path)
    assert list((tmp_path / "state").iterdir()) == []
