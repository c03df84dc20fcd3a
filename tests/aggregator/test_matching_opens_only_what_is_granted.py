"""Matching finds whom it should, opens nothing else, and survives altered envelopes."""

from __future__ import annotations

import multiprocessing
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sealed_boxes import (
    DAY_MS,
    DIMENSION,
    MODEL,
    NOON_SLOT,
    NOW_MS,
    OTHER_MODEL,
    SITE,
    make_box,
    make_directory,
    near,
    sighting,
    unit_vector,
)
from store_file import altering

from aggregator.config import LimitsSection
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.pool import Matcher, MatchingFailed
from aggregator.matching.probes import Probes
from aggregator.matching.scopes import MatchReport, match_scopes, merge_reports
from aggregator.store.retention import purge
from aggregator.store.sqlite.store import SqliteStore
from protocol.epoch_keys import EpochKeys
from protocol.keytree import FACE, META
from protocol.names import EPOCH_MS
from protocol.sightings import Encounter, MaskStatus, Quantised, Sighting, dequantise_template
from protocol.signing import SigningKey
from runtime.calibration import Calibration, Normal

RNG = np.random.default_rng(11)
SLOT = NOON_SLOT - 4
CALIBRATION = Calibration(
    Normal(0.03, 0.1), Normal(0.82, 0.08), Normal(0.5, 0.12), ((0.36, 1e-3), (0.5, 1e-6))
)


class Site:
    """A store, its intake, and two boxes."""

    def __init__(self, folder: Path) -> None:
        self.boxes = [make_box(1), make_box(2)]
        directory = make_directory(self.boxes, SigningKey.generate("aggregator"))
        self.store = SqliteStore(folder / "a.db")
        self.intake = Intake(
            self.store,
            site=SITE,
            directory=lambda: directory,
            limits=LimitsSection(),
            retention_days=lambda: 14,
            now_ms=lambda: NOW_MS,
            audit=lambda _kind, _body: None,
        )

    def take(self, *messages: tuple[str, bytes]) -> None:
        batch = self.intake.process([Incoming(*message, NOW_MS) for message in messages])
        assert batch.stored == len(messages)

    def match(
        self,
        scopes: list[EpochKeys],
        probes: list[Probes],
        *,
        contacts: bool = True,
        max_candidates: int = 100,
        after: int = 0,
    ) -> MatchReport:
        return match_scopes(
            self.store.segments,
            scopes,
            probes,
            calibrations={MODEL: CALIBRATION},
            contacts=contacts,
            max_candidates=max_candidates,
            after=after,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def probes(
    vectors: dict[str, npt.NDArray[np.float64]], *, threshold: float = 0.5, model: str = MODEL
) -> list[Probes]:
    matrix = np.stack(list(vectors.values())).astype(np.float32)
    return [
        Probes(FACE, model, matrix, np.full(len(matrix), threshold, np.float32), tuple(vectors))
    ]


def strangers(count: int) -> list[Sighting]:
    return [sighting(unit_vector(RNG)) for _ in range(count)]


def test_finds_a_subject_among_strangers_in_segments_and_live(site: Site) -> None:
    ana = unit_vector(RNG)
    contact = Encounter(b"12345678", 1.5, 8.0, MaskStatus.MASKED, 0.9)
    seen = sighting(near(ana, 0.9, RNG), mask=MaskStatus.MASKED, encounters=[contact])
    live_seen = sighting(near(ana, 0.8, RNG))
    box, other = site.boxes
    site.take(
        box.segment([*strangers(20), seen, *strangers(5)]),
        box.live([*strangers(3), live_seen], slot=NOON_SLOT),
        other.segment(strangers(30)),
    )
    report = site.match([box.keys(), other.keys()], probes({"ana": ana}, threshold=0.7))
    assert [c.sighting_id for c in report.candidates] == [seen.sighting_id, live_seen.sighting_id]
    first = report.candidates[0]
    assert first.subject == "ana"
    assert first.address == box.address
    assert first.score == pytest.approx(0.9, abs=0.01)
    assert (first.first_seen_ms, first.last_seen_ms) == (seen.first_seen_ms, seen.last_seen_ms)
    assert first.mask is MaskStatus.MASKED
    (met,) = first.encounters
    assert (met.other_id, met.nearest_m) == (b"12345678", 1.5)
    assert [span.status for span in met.other_masks] == [MaskStatus.MASKED]
    assert first.log10_lr == pytest.approx(CALIBRATION.log10_lr(first.strength, MaskStatus.MASKED))
    assert (report.segments, report.live_envelopes, report.sightings) == (2, 1, 60)
    assert report.altered == ()


def test_contacts_come_only_when_asked_for(site: Site) -> None:
    ana = unit_vector(RNG)
    contact = Encounter(b"12345678", 1.5, 8.0, MaskStatus.MASKED, 0.9)
    site.take(site.boxes[0].segment([sighting(ana, encounters=[contact])]))
    report = site.match([site.boxes[0].keys()], probes({"ana": ana}), contacts=False)
    assert report.candidates[0].encounters == ()


def test_scores_are_those_of_the_plain_product(site: Site) -> None:
    seen = strangers(300)
    vectors = {f"s{n}": unit_vector(RNG) for n in range(7)}
    box = site.boxes[0]
    for start in range(0, 300, 50):
        site.take(box.segment(seen[start : start + 50], slot=SLOT - start // 50))
    report = site.match([box.keys()], probes(vectors, threshold=0.2), max_candidates=10_000)
    found = {(c.subject, c.sighting_id): c.score for c in report.candidates}
    wanted = {}
    for s in seen:
        for name, vector in vectors.items():
            score = float(vector @ dequantise_template(*s.templates[FACE]))
            if score >= 0.2:
                wanted[name, s.sighting_id] = score
    assert found.keys() == wanted.keys()
    assert len(found) > 50
    assert all(found[key] == pytest.approx(wanted[key], abs=1e-5) for key in found)


def test_the_best_of_several_templates_of_a_subject_counts(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    site.take(box.segment([sighting(ana)]))
    both = np.stack([near(ana, 0.7, RNG), ana]).astype(np.float32)
    group = Probes(FACE, MODEL, both, np.full(2, 0.5, np.float32), ("ana", "ana"))
    (candidate,) = site.match([box.keys()], [group]).candidates
    assert candidate.score == pytest.approx(1.0, abs=0.01)


def test_a_sighting_without_a_face_is_never_found(site: Site) -> None:
    box = site.boxes[0]
    site.take(box.segment([sighting(None), sighting(None)]))
    report = site.match([box.keys()], probes({"ana": unit_vector(RNG)}, threshold=-1.0))
    assert report.candidates == ()
    assert (report.sightings, report.malformed) == (2, 0)


def test_a_board_cannot_score_by_a_false_scale(site: Site) -> None:
    box = site.boxes[0]
    honest = sighting(unit_vector(RNG))
    row = honest.templates[FACE].row
    loud, nan = (
        Sighting(name, NOW_MS, NOW_MS, MaskStatus.UNMASKED, 1, 1, {FACE: Quantised(row, scale)})
        for name, scale in ((b"LOUDLOUD", 1e9), (b"NANNANNA", float("nan")))
    )
    vector = row / np.linalg.norm(row.astype(float))
    site.take(box.segment([loud, nan]))
    report = site.match([box.keys()], probes({"ana": vector}))
    assert report.candidates == ()
    assert report.malformed == 1


def test_nothing_outside_the_granted_slots_is_opened(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    inside, outside = sighting(ana), sighting(ana)
    site.take(box.segment([inside], slot=SLOT), box.segment([outside], slot=SLOT - 1))
    report = site.match([box.keys(SLOT, SLOT)], probes({"ana": ana}))
    assert [c.sighting_id for c in report.candidates] == [inside.sighting_id]
    assert report.segments == 1


def test_keys_without_a_label_open_nothing_of_it(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    site.take(box.segment([sighting(ana)]), box.live([sighting(ana)], slot=NOON_SLOT))
    report = site.match([box.keys(labels=[FACE, META])], probes({"ana": ana}))
    assert (report.segments, report.live_envelopes, report.not_granted) == (1, 0, 1)
    assert len(report.candidates) == 1
    without_meta = site.match([box.keys(labels=[FACE])], probes({"ana": ana}))
    assert without_meta.candidates == ()
    assert without_meta.not_granted == 2


def test_keys_of_another_generation_open_nothing(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    site.take(box.segment([sighting(ana)]))
    box.generation += 1
    assert site.match([box.keys()], probes({"ana": ana})).segments == 0


def test_templates_of_another_model_are_skipped_and_reported(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    site.take(
        box.segment([sighting(ana)], model=OTHER_MODEL),
        box.segment([sighting(ana)], slot=SLOT - 1),
    )
    report = site.match([box.keys()], probes({"ana": ana}))
    assert report.skipped_models == {OTHER_MODEL: 1}
    assert (len(report.candidates), report.sightings) == (1, 1)


def test_a_model_label_changed_in_the_store_is_noticed(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    site.take(box.segment([sighting(ana)]))
    with altering(site.store) as connection:
        connection.execute("UPDATE models SET model = ?", (OTHER_MODEL,))
    report = site.match([box.keys()], probes({"ana": ana}, model=OTHER_MODEL))
    assert report.candidates == ()
    assert len(report.altered) == 1


@pytest.mark.parametrize(
    "change",
    [
        "face = zeroblob(length(face))",
        "face = CAST(substr(face, 1, length(face) - 1) || x'00' AS BLOB)",
        "face = substr(face, 1, length(face) - 1)",
        "face = x''",
        "header = CAST(header || x'00' AS BLOB)",
        "salt = x'0000000000000000'",
        "sequence = sequence + 1",
        "slot = slot + 1",
        "count = count + 1",
        "count = -1",
        "sequence = -1",
        "meta = x'00'",
        "meta = CAST(substr(meta, 1, length(meta) - 1) || x'00' AS BLOB)",
    ],
)
def test_an_altered_envelope_is_reported_and_the_others_go_on(site: Site, change: str) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    found = sighting(ana)
    site.take(
        box.segment([sighting(ana)], slot=SLOT - 4),
        box.segment([found], slot=SLOT),
    )
    with altering(site.store) as connection:
        connection.execute(f"UPDATE envelopes SET {change} WHERE id = 1")  # noqa: S608 - ours
    report = site.match([box.keys()], probes({"ana": ana}))
    assert [c.sighting_id for c in report.candidates] == [found.sighting_id]
    (altered,) = report.altered
    assert (altered.number, altered.camera) == (1, "cam-1")


def test_columns_of_a_wrong_type_are_reported(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    site.take(*(box.segment([sighting(ana)], slot=slot) for slot in range(4)))
    with altering(site.store) as connection:
        # As somebody would who edits the file: SQLite itself refuses the wrong types.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = rtrim(sql, ' STRICT')")
        connection.execute("PRAGMA writable_schema = OFF")
    site.store.close()
    with sqlite3.connect(site.store.path) as connection:
        changes = ("face = CAST(x'fffe' AS TEXT)", "salt = 'abc'", "count = 'many'")
        for number, change in enumerate(changes, 1):
            connection.execute(f"UPDATE envelopes SET {change} WHERE id = {number}")  # noqa: S608 - ours
    connection.close()
    site.store = SqliteStore(site.store.path)
    report = site.match([box.keys()], probes({"ana": ana}))
    assert (len(report.altered), len(report.candidates)) == (3, 1)


def test_an_altered_live_envelope_is_reported(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    site.take(box.live([sighting(ana)]), box.live([sighting(ana)]))
    with altering(site.store) as connection:
        connection.execute("UPDATE envelopes SET face = zeroblob(length(face)) WHERE id = 1")
    report = site.match([box.keys()], probes({"ana": ana}))
    assert (len(report.candidates), len(report.altered)) == (1, 1)


def test_the_cap_keeps_the_best(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    cosines = RNG.uniform(0.55, 0.99, 60)
    for slot in range(6):
        batch = [sighting(near(ana, c, RNG)) for c in cosines[slot * 10 : slot * 10 + 10]]
        site.take(box.segment(batch, slot=slot))
    report = site.match([box.keys()], probes({"ana": ana}), max_candidates=7)
    best = sorted(cosines, reverse=True)[:7]
    assert [c.score for c in report.candidates] == pytest.approx(best, abs=0.02)
    assert report.left_out == {box.address.camera: 53}


def test_a_sighting_in_a_live_envelope_and_a_segment_counts_once(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    seen = sighting(ana)
    site.take(box.live([seen, *strangers(9)]), box.segment([seen]))  # covers too little
    report = site.match([box.keys()], probes({"ana": ana}))
    assert (report.segments, report.live_envelopes) == (1, 1)
    assert [c.sighting_id for c in report.candidates] == [seen.sighting_id]


def test_only_what_came_after_the_cursor_is_matched_again(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    site.take(box.live([sighting(ana)]))
    first = site.match([box.keys()], probes({"ana": ana}))
    assert len(first.candidates) == 1
    assert site.match([box.keys()], probes({"ana": ana}), after=first.cursor).sightings == 0
    new = sighting(ana)
    site.take(box.live([new]))
    second = site.match([box.keys()], probes({"ana": ana}), after=first.cursor)
    assert [c.sighting_id for c in second.candidates] == [new.sighting_id]
    assert second.cursor > first.cursor


@pytest.mark.slow
def test_more_rows_than_a_block_and_a_segment_larger_than_the_buffer(site: Site) -> None:
    ana = unit_vector(RNG)
    box = site.boxes[0]
    crowd = strangers(5000)
    seen = [sighting(ana), sighting(ana)]
    site.take(
        box.segment(crowd[:100], slot=1),
        box.segment([*crowd, seen[0]], slot=2),
        box.segment([*crowd[:4096], seen[1]], slot=3),
    )
    report = site.match([box.keys()], probes({"ana": ana}, threshold=0.95))
    assert {c.sighting_id for c in report.candidates} == {s.sighting_id for s in seen}
    assert report.sightings == 100 + 5001 + 4097


def test_the_subjects_templates_stay_with_the_caller(site: Site) -> None:
    ana = unit_vector(RNG)
    group = probes({"ana": ana})
    site.take(site.boxes[0].segment([sighting(ana)]))
    for _ in range(2):
        assert len(site.match([site.boxes[0].keys()], group).candidates) == 1
    group[0].wipe()
    assert not group[0].matrix.any()


@pytest.mark.processes
def test_worker_processes_find_the_same(site: Site) -> None:
    ana = unit_vector(RNG)
    for box in site.boxes:
        for slot in range(20):
            site.take(box.segment([*strangers(3), sighting(near(ana, 0.8, RNG))], slot=slot))
    scopes = [box.keys() for box in site.boxes]
    alone = site.match(scopes, probes({"ana": ana}, threshold=0.75), max_candidates=30)
    matcher = Matcher(
        site.store.segments, calibrations={MODEL: CALIBRATION}, processes=2, pool_from_envelopes=1
    )
    try:
        spread = matcher.match(
            scopes, probes({"ana": ana}, threshold=0.75), contacts=True, max_candidates=30
        )
        assert [c.sighting_id for c in spread.candidates] == [
            c.sighting_id for c in alone.candidates
        ]
        assert (spread.segments, spread.sightings, spread.cursor) == (40, 160, alone.cursor)
        assert sum(spread.left_out.values()) + len(spread.candidates) == 40
        nothing = matcher.match(
            scopes, probes({"ana": ana}), contacts=True, max_candidates=5, after=spread.cursor
        )
        assert nothing.sightings == 0
        unusable = [replace(probes({"ana": ana})[0], matrix=np.zeros((1, 2, 3), np.float32))]
        with pytest.raises(MatchingFailed):
            matcher.match(scopes, unusable, contacts=True, max_candidates=30)
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        again = matcher.match(
            scopes, probes({"ana": ana}, threshold=0.75), contacts=True, max_candidates=30
        )
        assert again.segments == 40
    finally:
        matcher.close()


def test_an_empty_scope_and_unknown_cameras_bring_nothing(site: Site) -> None:
    report = site.match([make_box(5).keys()], probes({"ana": unit_vector(RNG)}))
    assert (report.candidates, report.sightings, report.cursor) == ((), 0, 0)
    assert merge_reports([], max_candidates=5).candidates == ()


def test_the_database_holds_no_plain_template_or_metadata(site: Site, tmp_path: Path) -> None:
    box = site.boxes[0]
    seen = [sighting(unit_vector(RNG)) for _ in range(12)]
    site.take(box.announcement(), box.live(seen[:6], slot=NOON_SLOT), box.segment(seen))
    site.match([box.keys()], probes({"ana": unit_vector(RNG)}, threshold=-1.0))
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert sum(map(len, files)) > 12 * DIMENSION
    header = box.address.camera.encode()
    assert any(header in data for data in files)  # the search finds what is there
    for s in seen:
        row = s.templates[FACE].row
        needles = [row.tobytes(), row.tobytes()[:12], s.sighting_id]
        needles.append(np.int64(s.first_seen_ms).tobytes() + np.int64(s.first_seen_ms).tobytes())
        for data in files:
            assert not any(needle in data for needle in needles)


def test_a_scope_is_counted_without_opening_it(site: Site) -> None:
    box, other = site.boxes
    site.take(
        box.segment(strangers(5), slot=10),
        box.segment(strangers(4), slot=11, model=OTHER_MODEL),
        box.live(strangers(3), slot=12),
        other.segment(strangers(7), slot=10),
    )
    window = {"from_ms": DAY_MS + 10 * 900_000, "to_ms": DAY_MS + 12 * 900_000}
    counted = site.store.ledger.count_scope(["cam-1"], **window)
    assert (counted.segments, counted.live_envelopes, counted.sightings) == (2, 0, 9)
    assert counted.by_model == {MODEL: 5, OTHER_MODEL: 4}
    everything = site.store.ledger.count_scope(
        ["cam-1", "cam-2", "nowhere"], from_ms=DAY_MS, to_ms=DAY_MS + EPOCH_MS
    )
    assert everything.sightings == 19


def test_purging_removes_what_is_past_retention_only(site: Site) -> None:
    box = site.boxes[0]
    site.take(box.announcement(), box.segment(strangers(2)))
    kept = purge(site.store, now_ms=NOW_MS + 15 * EPOCH_MS, retention_days=14)
    assert (kept.envelopes, kept.announcements) == (0, 0)
    gone = purge(site.store, now_ms=NOW_MS + 16 * EPOCH_MS, retention_days=14)
    assert (gone.envelopes, gone.announcements) == (1, 1)
    assert site.match([box.keys()], probes({"ana": unit_vector(RNG)})).segments == 0
