"""What matching finds is the same in rows, in objects, and in some of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes_v2 import person, strangers
from packed_site import RNG, WAIT_MS, PackedSite, end_of_hour_ms
from sealed_boxes import DIMENSION, MODEL, near, sighting, unit_vector

from aggregator.matching.coverage import Portion, tell_portions
from aggregator.matching.probes import Probes
from aggregator.matching.scopes import MatchReport, match_scopes
from protocol.keytree import FACE
from runtime.database import StorageDamaged

ANA = unit_vector(RNG)


def match(site: PackedSite, *, after: int = 0) -> MatchReport:
    matrix = np.asarray(ANA, np.float32).reshape(-1, DIMENSION)
    wanted = Probes(FACE, MODEL, matrix, np.full(1, 0.6, np.float32), ("s0",))
    return match_scopes(
        site.store.segments,
        [box.keys() for box in site.cameras],
        [wanted],
        calibrations={},
        contacts=True,
        max_candidates=100,
        after=after,
    )


def told(site: PackedSite) -> list[list[int]]:
    newest = site.store.segments.newest()
    portions = [Portion(box.keys(), 0, newest, anew=True) for box in site.boxes]
    return [
        one.seconds.sum(axis=0).tolist() for one in tell_portions(site.store.segments, portions)
    ]


def test_candidates_and_counts_are_the_same_before_and_after_packing(tmp_path: Path) -> None:
    site = PackedSite(tmp_path)
    box, other = site.boxes
    for slot in (4, 8):
        site.keep(box, box.segment([*strangers(9, RNG), person(near(ANA, 0.9, RNG))], slot=slot))
        site.keep(other, other.segment(strangers(3, RNG), slot=slot))
        site.keep(site.old, site.old.segment([sighting(near(ANA, 0.8, RNG))], slot=slot))
    cursor = site.store.segments.newest()
    site.keep(box, box.live([person(near(ANA, 0.85, RNG))], slot=9))
    site.keep(other, other.segment([person(near(ANA, 0.7, RNG))], slot=5))
    rows, since, watched = match(site), match(site, after=cursor), told(site)
    assert (len(rows.found), len(rows.candidates)) == (4, 2)
    assert (rows.altered, rows.malformed) == ((), 0)
    assert len(since.found) == 2
    for now_ms in (end_of_hour_ms(1) + WAIT_MS, end_of_hour_ms(2) + WAIT_MS):
        assert site.pack(now_ms=now_ms).objects == 1
        assert _plain(match(site)) == _plain(rows)
        assert _plain(match(site, after=cursor)) == _plain(since)
        assert told(site) == watched


def test_a_template_that_does_not_open_because_its_file_is_damaged_is_no_altered_envelope(
    tmp_path: Path,
) -> None:
    site = PackedSite(tmp_path)
    box = site.boxes[0]
    site.keep(box, box.segment([person(near(ANA, 0.9, RNG))], slot=4))
    site.pack()
    whole = match(site)
    assert len(whole.found) == 1
    (path,) = (tmp_path / "segments").rglob("*.face")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    site.reopen()
    for _ in range(2):
        with pytest.raises(StorageDamaged, match=r"01\.face is damaged.*backup"):
            match(site)
    path.write_bytes(content)
    assert _plain(match(site)) == _plain(whole), "it was put back"


def test_an_envelope_that_came_altered_is_told_and_its_object_is_whole(tmp_path: Path) -> None:
    site = PackedSite(tmp_path)
    box = site.boxes[0]
    kept = box.sealed([person(near(ANA, 0.9, RNG))], slot=4)
    face = [entry.label for entry in kept.header.blocks].index(FACE)
    blocks = list(kept.blocks)
    blocks[face] = blocks[face][:-1] + bytes([blocks[face][-1] ^ 1])
    site.keep(box, ("", replace(kept, blocks=tuple(blocks)).to_bytes()))
    site.pack()
    report = match(site)
    assert [one.number for one in report.altered] == [1]


def _plain(report: MatchReport) -> object:
    """Return what a report says, without the numbers and keys that its finds carry along."""
    found = sorted((one.name, one.score) for one in report.found)
    candidates = sorted((one.candidate_id(bytes(32)), one.score) for one in report.candidates)
    return found, candidates, replace(report, found=(), candidates=())
