"""`sealtrace aggregator objects` tells what is packed, and names what is not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packed_site import PackedSite
from sealed_boxes import DAY
from typer.testing import CliRunner, Result

from aggregator.cli import app
from runtime.database import StorageDamaged


@pytest.fixture
def site(tmp_path: Path) -> PackedSite:
    (tmp_path / "state").mkdir()
    (tmp_path / "aggregator.toml").write_text(
        f'site = "test"\nauthority = "{"58" + "66" * 31}"\nstate_dir = "state"\n'
    )
    return PackedSite(tmp_path / "state")


def look(site: PackedSite, *words: str) -> Result:
    config = str(site.folder.parent / "aggregator.toml")
    return CliRunner().invoke(app, ["objects", *words, "--config", config])


def test_objects_are_listed_by_day_while_the_service_runs(site: PackedSite) -> None:
    assert "nothing is packed yet" in look(site).output
    site.fill((4, 8))
    site.fill((4,), day=DAY + 1)
    site.pack()
    listed = json.loads(look(site, "--json").output)
    assert [(one["epoch"], one["objects"], one["segments"]) for one in listed] == [
        (DAY, 2, 6),
        (DAY + 1, 1, 3),
    ]
    folder = site.folder / "segments"
    sizes = [(folder / name).stat().st_size for name in site.files()]
    assert sum(one["size"] for one in listed) == sum(sizes)
    assert listed[0]["day"] in look(site).output


def test_verifying_names_each_object_that_is_not_whole(site: PackedSite) -> None:
    site.fill((4, 8, 12))
    site.pack()
    assert "all 3 objects are whole" in look(site, "--verify").output
    folder = site.folder / "segments" / str(DAY) / "0000"
    (folder / "02.meta").unlink()
    index = folder / "03.idx"
    index.write_bytes(index.read_bytes()[:-1])
    done = look(site, "--verify")
    assert isinstance(done.exception, StorageDamaged)
    assert done.exception.exit_code == 4
    assert "2 of 3 objects" in str(done.exception)
    said = done.output.replace("\n", "")
    assert "0000/02: its .meta is missing" in said
    assert "0000/03: the digest of its .idx fails" in said
    assert "0000/01" not in said
