"""Matching of version 2 names whom it finds, opens nobody's metadata, and finds no padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from boxes_v2 import make_box_v2, person, strangers
from intake_desk import Desk
from sealed_boxes import (
    DAY,
    DIMENSION,
    MODEL,
    NOON_SLOT,
    OTHER_MODEL,
    TestBox,
    make_box,
    near,
    sighting,
    unit_vector,
)
from store_file import altering

from aggregator.matching.coverage import Portion, tell_portions
from aggregator.matching.found import Found
from aggregator.matching.plausible import why_row_impossible
from aggregator.matching.pool import Matcher
from aggregator.matching.probes import Probes
from aggregator.matching.scopes import MatchReport, match_scopes, merge_reports
from protocol.epoch_keys import EpochKeys
from protocol.errors import KeyCommitmentMismatch
from protocol.keytree import APPEARANCE, COVER, FACE, LIVE
from protocol.sightings import MaskStatus, Quantised, dequantise_template, quantise_template
from protocol.v2 import envelopes
from protocol.v2.blocks import Space, lay_out
from protocol.v2.sightings import Encounter, Row, Sighting

RNG = np.random.default_rng(41)
SLOT = NOON_SLOT - 8
Vector = npt.NDArray[np.float64]


class Site(Desk):
    """A store and its intake; two boxes of version 2 and one of version 1."""

    def __init__(self, folder: Path) -> None:
        self.box, self.other = make_box_v2(1), make_box_v2(2)
        self.old: TestBox = make_box(3)
        super().__init__(folder / "a.db", [self.box, self.other, self.old])

    def keep(self, *messages: tuple[str, bytes]) -> None:
        assert self.take(*messages).stored == len(messages), self.rejects()

    def match(
        self,
        probes: list[Probes],
        scopes: list[EpochKeys] | None = None,
        *,
        max_candidates: int = 100,
        after: int = 0,
    ) -> MatchReport:
        return match_scopes(
            self.store.segments,
            [self.box.keys(), self.other.keys()] if scopes is None else scopes,
            probes,
            calibrations={},
            contacts=True,
            max_candidates=max_candidates,
            after=after,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def looking_for(
    vector: Vector, *, threshold: float = 0.6, model: str = MODEL, modality: str = FACE
) -> list[Probes]:
    matrix = np.asarray(vector, np.float32).reshape(-1, DIMENSION)
    names = tuple(f"s{number}" for number in range(len(matrix)))
    return [Probes(modality, model, matrix, np.full(len(matrix), threshold, np.float32), names)]


def ids(report: MatchReport) -> list[bytes]:
    return [one.name.sighting_id for one in report.found]


def test_finds_somebody_in_a_segment_and_a_live_envelope_with_the_metadata_still_sealed(
    site: Site,
) -> None:
    ana, box = unit_vector(RNG), site.box
    seen = person(near(ana, 0.9, RNG), mask=MaskStatus.MASKED, episode=b"episode1")
    live_seen = person(near(ana, 0.8, RNG))
    site.keep(
        box.segment([*strangers(20, RNG), person(None), seen, *strangers(5, RNG)], slot=SLOT),
        box.live([*strangers(2, RNG), live_seen], slot=NOON_SLOT),
        site.other.segment(strangers(30, RNG)),
        site.other.segment([], slot=SLOT),
    )
    report = site.match(looking_for(ana))
    assert report.candidates == ()
    assert ids(report) == [seen.sighting_id, live_seen.sighting_id]
    assert (report.segments, report.live_envelopes, report.sightings) == (3, 1, 26 + 3 + 30)
    assert (report.altered, report.not_granted, report.left_out) == ((), 0, {})
    first = report.found[0]
    assert (first.subject, first.modality, first.space) == ("s0", FACE, MODEL)
    assert (first.episode, first.through) == (b"episode1", None)
    assert first.score == pytest.approx(0.9, abs=0.01)
    assert (first.name.box, first.name.slot, first.address) == (box.name, SLOT, box.address)
    for one, truth in zip(report.found, (seen, live_seen), strict=True):
        row = one.open(box.row_key(one.name))
        assert row.mask == truth.row.mask
        assert row.quality == pytest.approx(truth.row.quality, abs=0.01)
        wrong = replace(one.name, sighting_id=b"another1")
        with pytest.raises(KeyCommitmentMismatch):
            one.open(box.row_key(wrong))


def test_scores_are_those_of_the_plain_product_and_padding_is_never_found(site: Site) -> None:
    vectors = np.stack([unit_vector(RNG) for _ in range(5)])
    crowd = strangers(150, RNG)
    at = 0
    for slot, size in enumerate((1, 0, 7, 8, 9, 17, 33, 64, 11)):
        always = frozenset({FACE})
        site.keep(site.box.segment(crowd[at : at + size], slot=slot, always=always))
        at += size
    assert at == len(crowd)
    report = site.match(looking_for(vectors, threshold=-1.0), max_candidates=10_000)
    assert (report.sightings, report.malformed, report.altered) == (150, 0, ())
    found = {(one.subject, one.name.sighting_id): one.score for one in report.found}
    assert len(found) == len(report.found) == 150 * 5
    for one in crowd:
        template = dequantise_template(*one.templates[FACE])
        for number, vector in enumerate(vectors):
            score = found[f"s{number}", one.sighting_id]
            assert score == pytest.approx(float(vector @ template), abs=1e-5)


@pytest.mark.slow
def test_blocks_larger_than_the_buffer_are_compared_whole(site: Site) -> None:
    ana = unit_vector(RNG)
    crowd = strangers(4300, RNG)
    seen = [person(ana), person(ana), person(ana)]
    site.keep(
        site.box.segment([*crowd[:90], seen[0]], slot=1),
        site.box.segment([*crowd[:4095], seen[1]], slot=2),
        site.box.segment([*crowd, seen[2]], slot=3),
        site.box.segment(crowd[:90], slot=4),
    )
    report = site.match(looking_for(ana, threshold=0.95))
    assert set(ids(report)) == {one.sighting_id for one in seen}
    assert report.sightings == 91 + 4096 + 4301 + 90


def test_rows_and_metadata_are_looked_at_only_where_somebody_was_found(site: Site) -> None:
    ana = unit_vector(RNG)
    site.keep(
        site.box.segment([person(ana)], slot=SLOT), site.other.segment(strangers(9, RNG), slot=SLOT)
    )
    with altering(site.store) as connection:
        connection.execute("UPDATE sealed_rows SET cover = x'00', meta = x'' WHERE id = 2")
    report = site.match(looking_for(ana))
    assert (len(report.found), report.altered, report.sightings) == (1, (), 10)
    with altering(site.store) as connection:
        connection.execute("UPDATE sealed_rows SET cover = x'00' WHERE id = 1")
    report = site.match(looking_for(ana))
    assert (report.found, [one.number for one in report.altered]) == ((), [1])


def test_a_grant_without_a_label_opens_nothing_of_it(site: Site) -> None:
    ana, box = unit_vector(RNG), site.box
    site.keep(box.segment([person(ana)], slot=SLOT), box.live([person(ana)], slot=NOON_SLOT))
    without_live = site.match(looking_for(ana), [box.keys(labels=[FACE, COVER])])
    assert (len(without_live.found), without_live.not_granted) == (1, 1)
    assert (without_live.segments, without_live.live_envelopes) == (1, 0)
    without_cover = site.match(looking_for(ana), [box.keys(labels=[FACE, LIVE])])
    assert (without_cover.found, without_cover.not_granted) == ((), 2)
    outside = site.match(looking_for(ana), [box.keys(SLOT + 1, SLOT + 1)])
    assert (outside.found, outside.segments) == ((), 0)


def test_a_block_that_says_that_it_has_more_rows_than_it_holds_is_refused_and_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = unit_vector(RNG)

    def lying(*arguments: object, **options: object) -> bytearray:
        block = lay_out(*arguments, **options)  # type: ignore[arg-type]
        block[-4:] = (9).to_bytes(4, "little")
        return block

    monkeypatch.setattr(envelopes, "lay_out", lying)
    hostile = site.box.segment([person(ana)], slot=SLOT)
    monkeypatch.setattr(envelopes, "lay_out", lay_out)
    site.keep(hostile, site.box.segment([person(ana)], slot=SLOT - 3))
    report = site.match(looking_for(ana))
    assert [one.number for one in report.altered] == [1]
    assert [one.name.slot for one in report.found] == [SLOT - 3]


def test_rows_that_no_sighting_owns_are_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = unit_vector(RNG)

    def lying(*arguments: object, **options: object) -> bytearray:
        block = lay_out(*arguments, **options)  # type: ignore[arg-type]
        width = DIMENSION + 4
        block[width : 2 * width] = block[:width]
        block[-4:] = (2).to_bytes(4, "little")
        return block

    monkeypatch.setattr(envelopes, "lay_out", lying)
    site.keep(site.box.segment([person(ana)], slot=SLOT))
    report = site.match(looking_for(ana))
    assert (report.found, len(report.altered)) == ((), 1)


@pytest.mark.parametrize(
    "change",
    [
        "face = zeroblob(length(face))",
        "face = CAST(substr(face, 1, length(face) - 1) || x'00' AS BLOB)",
        "face = substr(face, 1, length(face) - 1)",
        "face = x''",
        "salt = x'0000000000000000'",
        "sequence = sequence + 1",
        "sequence = -1",
        "slot = slot + 1",
        "header = CAST(header || x'00' AS BLOB)",
        "header = (SELECT header FROM envelopes WHERE id = 2)",
        "cover = zeroblob(length(cover))",
        "cover = x''",
        "meta = x'00'",
        "version_2 = 0",
    ],
)
def test_an_altered_envelope_is_reported_and_the_others_go_on(site: Site, change: str) -> None:
    ana = unit_vector(RNG)
    found = person(ana)
    site.keep(site.box.segment([person(ana)], slot=SLOT - 4), site.box.segment([found], slot=SLOT))
    with altering(site.store) as connection:
        table = "sealed_rows" if change.startswith(("cover", "meta")) else "envelopes"
        connection.execute(f"UPDATE {table} SET {change} WHERE id = 1")  # noqa: S608 - ours
    report = site.match(looking_for(ana))
    assert ids(report) == [found.sighting_id]
    assert [(one.number, one.camera) for one in report.altered] == [(1, "cam-1")]


def test_a_live_envelope_that_was_altered_is_reported(site: Site) -> None:
    ana = unit_vector(RNG)
    site.keep(site.box.live([person(ana)]), site.box.live([person(ana)]))
    with altering(site.store) as connection:
        connection.execute("UPDATE envelopes SET face = zeroblob(length(face)) WHERE id = 1")
    report = site.match(looking_for(ana))
    assert (len(report.found), [one.number for one in report.altered]) == (1, [1])


def test_templates_of_another_space_or_encoding_are_skipped_and_reported(site: Site) -> None:
    ana = unit_vector(RNG)
    site.keep(
        site.box.segment([person(ana)], slot=1, spaces={FACE: Space(OTHER_MODEL)}),
        site.box.live([person(ana)], slot=2, spaces={FACE: Space(OTHER_MODEL)}),
        site.box.segment([person(ana)], slot=4),
    )
    report = site.match(looking_for(ana))
    assert report.skipped_models == {OTHER_MODEL: 2}
    assert (len(report.found), report.sightings) == (1, 1)
    assert (report.segments, report.live_envelopes) == (1, 0)


def test_each_modality_is_compared_with_its_own_templates(site: Site) -> None:
    ana, coat = unit_vector(RNG), unit_vector(RNG)
    spaces = {FACE: Space(MODEL), APPEARANCE: Space(OTHER_MODEL)}
    by_coat = person(None, templates={APPEARANCE: quantise_template(coat)})
    by_face = person(ana)
    site.keep(site.box.segment([*strangers(3, RNG), by_coat, by_face], slot=SLOT, spaces=spaces))
    asked = [*looking_for(ana), *looking_for(coat, model=OTHER_MODEL, modality=APPEARANCE)]
    keys = site.box.keys(labels=[FACE, APPEARANCE, COVER])
    report = site.match(asked, [keys])
    assert {one.modality: one.name.sighting_id for one in report.found} == {
        FACE: by_face.sighting_id,
        APPEARANCE: by_coat.sighting_id,
    }
    assert report.sightings == 4 + 1


def test_a_box_cannot_score_by_a_false_scale(site: Site) -> None:
    honest = person(unit_vector(RNG))
    row = honest.templates[FACE].row
    loud, nan = (
        person(None, templates={FACE: Quantised(row, scale)}) for scale in (1e9, float("nan"))
    )
    site.keep(site.box.segment([loud, nan]))
    report = site.match(looking_for(row / np.linalg.norm(row.astype(float))))
    assert (report.found, report.malformed) == ((), 1)


# ---------------------------------------------------------------------- episodes


def follow(episode: bytes, *, vector: Vector | None = None) -> Sighting:
    return person(vector, episode=episode)


def test_the_other_rows_of_an_episode_are_named_for_as_long_as_it_goes_on(site: Site) -> None:
    ana, box = unit_vector(RNG), site.box
    hit = follow(b"episode1", vector=ana)
    turned_away = [follow(b"episode1") for _ in range(5)]
    gone_again, elsewhere = follow(b"episode1"), follow(b"episode1")
    site.keep(
        box.segment([*strangers(2, RNG), gone_again], slot=SLOT - 3),
        box.segment(strangers(2, RNG), slot=SLOT - 2),
        box.segment([turned_away[0], *strangers(3, RNG)], slot=SLOT - 1),
        box.segment([*strangers(3, RNG), hit, turned_away[1]], slot=SLOT),
        box.segment([turned_away[2], person(None)], slot=SLOT),
        box.segment([turned_away[3]], slot=SLOT + 1),
        box.live([turned_away[4]], slot=SLOT + 2),
        site.other.segment([elsewhere], slot=SLOT),
    )
    report = site.match(looking_for(ana))
    first, *rest = report.found
    assert (first.name.sighting_id, first.through) == (hit.sighting_id, None)
    assert {one.name.sighting_id for one in rest} == {one.sighting_id for one in turned_away}
    distances = [abs(one.name.slot - SLOT) for one in rest]
    assert distances == sorted(distances), "from the find outwards"
    for one in rest:
        assert (one.score, one.through, one.episode) == (None, hit.sighting_id, b"episode1")
        assert one.open(box.row_key(one.name)).quality == pytest.approx(0.8, abs=0.01)


def test_an_episode_is_not_followed_beyond_what_was_granted(site: Site) -> None:
    ana, box = unit_vector(RNG), site.box
    parts = [follow(b"episode1") for _ in range(4)]
    hit = follow(b"episode1", vector=ana)
    for slot, one in zip(
        (SLOT - 2, SLOT - 1, SLOT, SLOT + 1), (parts[0], parts[1], hit, parts[2]), strict=True
    ):
        site.keep(box.segment([one], slot=slot))
    report = site.match(looking_for(ana), [box.keys(SLOT - 1, SLOT)])
    assert ids(report) == [hit.sighting_id, parts[1].sighting_id]
    two_grants = [box.keys(SLOT - 1, SLOT), box.keys(SLOT + 1, SLOT + 1)]
    report = site.match(looking_for(ana), two_grants)
    assert len(report.found) == 3, "two grants of one generation are one scope"
    box.generation += 1
    site.keep(box.segment([parts[3]], slot=SLOT))
    box.generation -= 1
    assert len(site.match(looking_for(ana), two_grants).found) == 3
    assert (report.altered, report.not_granted) == ((), 0)


def test_rows_of_an_episode_that_came_before_the_cursor_are_named_with_a_find_after_it(
    site: Site,
) -> None:
    ana, box = unit_vector(RNG), site.box
    earlier = follow(b"episode1")
    site.keep(box.segment([earlier], slot=SLOT - 1))
    cursor = site.match(looking_for(ana)).cursor
    hit = follow(b"episode1", vector=ana)
    site.keep(box.segment([hit], slot=SLOT))
    report = site.match(looking_for(ana), after=cursor)
    assert ids(report) == [hit.sighting_id, earlier.sighting_id]
    assert report.sightings == 1


def test_a_sighting_in_a_live_envelope_and_a_segment_is_named_once(site: Site) -> None:
    ana, box = unit_vector(RNG), site.box
    hit, part = follow(b"episode1", vector=ana), follow(b"episode1")
    site.keep(box.live([hit, part], slot=SLOT), box.segment([hit, part], slot=SLOT))
    report = site.match(looking_for(ana))
    assert (report.segments, report.live_envelopes) == (1, 1)
    assert ids(report) == [hit.sighting_id, part.sighting_id]
    rest = report.found[1]
    assert rest.open(box.row_key(rest.name)).quality == pytest.approx(0.8, abs=0.01)


def test_finds_and_rows_of_episodes_together_are_no_more_than_the_query_may_bring(
    site: Site,
) -> None:
    ana, box = unit_vector(RNG), site.box
    best = [follow(b"episode1", vector=near(ana, 0.99, RNG)) for _ in range(2)]
    others = [follow(b"episode2", vector=near(ana, 0.8, RNG)) for _ in range(2)]
    crowd = [follow(b"episode1") for _ in range(20)]
    site.keep(box.segment([*crowd, *best, *others], slot=SLOT))
    report = site.match(looking_for(ana), max_candidates=7)
    assert len(report.found) == 7
    assert {one.name.sighting_id for one in report.found[:4]} == {
        one.sighting_id for one in (*best, *others)
    }
    assert all(one.through == report.found[0].name.sighting_id for one in report.found[4:])
    assert 1 <= report.left_out[box.camera] <= 17
    report = site.match(looking_for(ana), max_candidates=3)
    assert [one.score is None for one in report.found] == [False] * 3


def test_cameras_of_either_version_share_the_room(site: Site) -> None:
    ana = unit_vector(RNG)
    site.keep(
        site.old.segment([sighting(near(ana, 0.7, RNG)) for _ in range(5)], slot=SLOT),
        site.box.segment([person(near(ana, 0.95, RNG)) for _ in range(5)], slot=SLOT),
        site.other.segment([person(near(ana, 0.9, RNG)) for _ in range(5)], slot=SLOT),
    )
    scopes = [site.old.keys(), site.box.keys(), site.other.keys()]
    report = site.match(looking_for(ana), scopes, max_candidates=6)
    assert (len(report.candidates), len(report.found)) == (2, 4)
    assert report.left_out == {"cam-1": 3, "cam-2": 3, "cam-3": 3}
    assert report.sightings == 15


def test_an_envelope_of_another_version_than_was_announced_says_so(site: Site) -> None:
    ana, box = unit_vector(RNG), site.box
    older = TestBox(box.name, box.camera, box.key, generation=box.generation)
    site.keep(older.segment([sighting(ana)], slot=SLOT))
    box.sequence = older.sequence
    site.keep(box.announcement(), box.segment([person(ana)], slot=SLOT))
    report = site.match(looking_for(ana))
    assert len(report.found) == 1
    (altered,) = report.altered
    assert (altered.number, altered.keyless) == (1, None)
    assert "version 1" in altered.reason
    assert "announced in version 2" in altered.reason


def test_passes_put_together_keep_to_the_room_and_no_rows_of_finds_that_did_not_get_in(
    site: Site,
) -> None:
    ana = unit_vector(RNG)
    for box, cosine in ((site.box, 0.95), (site.other, 0.8)):
        members = [follow(f"episode{box.name[-1]}".encode()) for _ in range(4)]
        hit = follow(members[0].episode, vector=near(ana, cosine, RNG))
        site.keep(box.segment([hit, *members], slot=SLOT))
    each = [site.match(looking_for(ana), [box.keys()]) for box in (site.box, site.other)]
    assert [len(report.found) for report in each] == [5, 5]
    both = merge_reports(each, max_candidates=7)
    assert [one.name.box for one in both.found] == ["box-1", "box-2", *["box-1"] * 4, "box-2"]
    assert [one.through is None for one in both.found] == [True, True] + [False] * 5
    assert both.left_out == {"cam-2": 3}
    alone = merge_reports(each, max_candidates=1)
    assert [one.name.box for one in alone.found] == ["box-1"]
    assert len(merge_reports([each[0], each[0]], max_candidates=100).found) == 5


@pytest.mark.processes
def test_worker_processes_find_the_same_rows(site: Site) -> None:
    ana = unit_vector(RNG)
    for box in (site.box, site.other):
        for slot in range(20):
            one = follow(f"episod{slot // 4:02}".encode(), vector=near(ana, 0.8, RNG))
            part = follow(one.episode)
            site.keep(box.segment([*strangers(3, RNG), one, part], slot=slot))
    for limit in (15, 60, 1000):
        alone = site.match(looking_for(ana, threshold=0.75), max_candidates=limit)
        assert len(alone.found) == min(limit, 80)
        matcher = Matcher(site.store.segments, processes=2, pool_from_envelopes=1)
        try:
            spread = matcher.match(
                [site.box.keys(), site.other.keys()],
                looking_for(ana, threshold=0.75),
                contacts=True,
                max_candidates=limit,
            )
        finally:
            matcher.close()
        assert set(spread.found[: min(limit, 40)]) == set(alone.found[: min(limit, 40)])
        assert len(spread.found) == len(alone.found)
        assert spread.sightings == alone.sightings == 160


@pytest.mark.processes
def test_worker_processes_tell_what_was_watched(site: Site) -> None:
    for box in (site.box, site.other):
        for slot in range(3):
            site.keep(box.segment(strangers(2, RNG), slot=slot))
    keys, through = [site.box.keys(), site.other.keys()], site.store.segments.newest()
    here = tell_portions(site.store.segments, [Portion(one, 0, through, True) for one in keys])
    matcher = Matcher(site.store.segments, processes=2, pool_from_envelopes=1)
    try:
        told = matcher.tell([Portion(one, 0, through, True) for one in keys])
    finally:
        matcher.close()
    assert [each.scope for each in told] == [each.scope for each in here]
    for there, mine in zip(told, here, strict=True):
        assert there.anew
        assert there.segments.sum() == 3
        np.testing.assert_array_equal(there.segments, mine.segments)
        np.testing.assert_array_equal(there.seconds, mine.seconds)


# ---------------------------------------------------------------------- what a row can say


def impossible(change: Callable[[Row], Row]) -> str:
    begin_ms = (DAY * 96 + SLOT) * 900_000
    met = Encounter(bytes(8), bytes(8), begin_ms + 1000, begin_ms + 2000, 1.0, 1.0, None)
    row = Row(begin_ms, begin_ms + 4000, MaskStatus.UNMASKED, 0.9, 0.8, encounters=(met,))
    return why_row_impossible(change(row), epoch=DAY, slot=SLOT)


def test_a_row_that_cannot_be_true_says_why() -> None:
    assert impossible(lambda row: row) == ""
    day_ms = 86_400_000
    assert "outside of its slot" in impossible(
        lambda row: replace(row, first_ms=row.first_ms + day_ms, last_ms=row.last_ms + day_ms)
    )
    assert "longer than a box follows" in impossible(
        lambda row: replace(row, first_ms=row.first_ms - 130_000)
    )
    met = Encounter(bytes(8), bytes(8), 1, 2, 1.0, None, None)
    assert "before it began" in impossible(lambda row: replace(row, encounters=(met,)))
    assert "for longer" in impossible(
        lambda row: replace(row, encounters=(replace(row.encounters[0], within_s=121.0),))
    )


def test_what_was_found_says_no_more_than_that(site: Site) -> None:
    ana = unit_vector(RNG)
    site.keep(site.box.segment([person(ana)], slot=SLOT))
    (one,) = site.match(looking_for(ana)).found
    assert isinstance(one, Found)
    assert one.commitment == one.sealed[:32] == site.box.row_key(one.name).commitment
