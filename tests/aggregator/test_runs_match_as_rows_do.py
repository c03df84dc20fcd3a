"""Matching segments by runs finds, counts and refuses what matching them one by one does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from boxes_v2 import make_box_v2, person, strangers
from intake_desk import Desk
from sealed_boxes import DIMENSION, MODEL, OTHER_MODEL, near, unit_vector
from store_file import altering

from aggregator.matching import lanes
from aggregator.matching.probes import Probes
from aggregator.matching.scopes import MatchReport, match_scopes
from aggregator.store import ReaderSource, SegmentReader, SegmentRun
from aggregator.store.envelopes import AnyEnvelope
from aggregator.store.rows import SealedRow, ToldRow
from protocol.epoch_keys import EpochKeys
from protocol.grant import GrantedKeys, Scope, release
from protocol.keytree import APPEARANCE, COVER, FACE, LIVE
from protocol.reconcile import DisputedKeys
from protocol.sightings import quantise_template
from protocol.v2 import envelopes
from protocol.v2.blocks import Space, lay_out
from protocol.v2.sightings import Sighting

RNG = np.random.default_rng(43)
ANA = unit_vector(RNG)
CLOTHES = Space(f"clothes-{DIMENSION}@00000007")
LABELS = (FACE, APPEARANCE, COVER, LIVE)
BOTH = {FACE: Space(MODEL), APPEARANCE: CLOTHES}
PROBES = [
    Probes(FACE, MODEL, np.array([ANA], np.float32), np.array([0.6], np.float32), ("s0",)),
    Probes(
        APPEARANCE,
        CLOTHES.name,
        np.array([ANA, unit_vector(RNG)], np.float32),
        np.array([0.6, 0.5], np.float32),
        ("s0", "s1"),
    ),
]


@dataclass(frozen=True)
class RowByRow:
    """Reads what another reader does, each segment as a row."""

    reader: SegmentReader

    @property
    def source(self) -> ReaderSource:
        return self.reader.source

    def newest(self) -> int:
        return self.reader.newest()

    def models(self) -> dict[int, str]:
        return dict(self.reader.models())

    def count(self, scope: Scope, *, after: int = 0) -> int:
        return self.reader.count(scope, after=after)

    def scan(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SealedRow]:
        return self.reader.scan(scope, modalities=modalities, after=after)

    def runs(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SegmentRun | SealedRow]:
        return iter(self.reader.scan(scope, modalities=modalities, after=after))

    def told(self, scope: Scope, *, after: int = 0, through: int) -> Iterator[ToldRow]:
        return self.reader.told(scope, after=after, through=through)

    def header(self, number: int) -> bytes:
        return self.reader.header(number)

    def meta(self, number: int) -> bytes:
        return self.reader.meta(number)

    def cover(self, number: int) -> bytes:
        return self.reader.cover(number)

    def vouch(self, number: int) -> None:
        self.reader.vouch(number)

    def envelope(self, number: int) -> AnyEnvelope:
        return self.reader.envelope(number)


class Site(Desk):
    """A store of one camera of version 2, and its intake."""

    def __init__(self, folder: Path) -> None:
        self.box = make_box_v2(1)
        super().__init__(folder / "a.db", [self.box])

    def keep(self, *messages: tuple[str, bytes]) -> None:
        assert self.take(*messages).stored == len(messages), self.rejects()

    def alter(self, number: int, change: str) -> None:
        with altering(self.store) as connection:
            connection.execute(f"UPDATE envelopes SET {change} WHERE id = ?", (number,))  # noqa: S608 - ours

    def both_ways(self, keys: EpochKeys | None = None, *, after: int = 0) -> MatchReport:
        """Match by runs and row by row; return the report that both give."""
        reader = self.store.segments
        by_runs, by_rows = (
            match_scopes(
                one,
                [self.box.keys(labels=LABELS) if keys is None else keys],
                PROBES,
                calibrations={},
                contacts=True,
                max_candidates=1000,
                after=after,
            )
            for one in (reader, RowByRow(reader))
        )
        assert outcome(by_runs) == outcome(by_rows)
        return by_runs


def outcome(report: MatchReport) -> list[object]:
    """Return what a report says, in an order of its own."""
    found = [(one.name.sighting_id, one.subject, one.modality, one.header) for one in report.found]
    return [
        sorted(found),
        report.segments,
        report.live_envelopes,
        report.sightings,
        report.skipped_models,
        sorted((one.number, one.reason, one.keyless is None) for one in report.altered),
        report.malformed,
        report.not_granted,
        report.liars,
    ]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def dressed(count: int) -> list[Sighting]:
    """Return people with faces and clothes, the last of whom is looked for by both."""
    clothes = [unit_vector(RNG) for _ in range(count - 1)]
    faces = [unit_vector(RNG) for _ in range(count - 1)]
    templates = [*zip(faces, clothes, strict=True), (near(ANA, 0.9, RNG), near(ANA, 0.9, RNG))]
    return [
        person(None, templates={FACE: quantise_template(face), APPEARANCE: quantise_template(worn)})
        for face, worn in templates
    ]


def lying(monkeypatch: pytest.MonkeyPatch, site: Site, slot: int, count: int) -> tuple[str, bytes]:
    """Return a segment whose blocks say that they hold ``count`` rows."""

    def lay(*arguments: object, **options: object) -> bytearray:
        block = lay_out(*arguments, **options)  # type: ignore[arg-type]
        block[-4:] = count.to_bytes(4, "little")
        return block

    with monkeypatch.context() as patched:
        patched.setattr(envelopes, "lay_out", lay)
        return site.box.segment([person(ANA)], slot=slot)


def test_segments_of_all_sizes_and_modalities_and_live_ones_between_them(site: Site) -> None:
    segments = [
        site.box.segment(dressed(size), slot=slot, spaces=BOTH)
        for slot, size in enumerate((1, 8, 9, 40))
    ]
    site.keep(
        *segments,
        site.box.live(strangers(2, RNG), slot=20),
        site.box.segment([], slot=10),
        site.box.segment([], slot=11, always=frozenset({FACE})),
        site.box.segment([person(ANA)], slot=3),  # a second one of the same slot
        site.box.segment([person(ANA)], slot=12, spaces={FACE: Space(OTHER_MODEL)}),
    )
    report = site.both_ways()
    assert (report.segments, report.live_envelopes, report.altered) == (7, 1, ())
    assert report.skipped_models == {OTHER_MODEL: 1}
    assert len(report.found) == 4 + 1
    assert len(site.both_ways(after=3).found) == 1 + 1
    assert len(site.both_ways(site.box.keys(2, 3, labels=LABELS)).found) == 2 + 1


@pytest.mark.parametrize("count", [2, 9, 1 << 31, (1 << 32) - 1])
def test_counts_beyond_the_rows_of_a_block_are_refused_among_sound_ones(
    site: Site, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    site.keep(
        site.box.segment([person(ANA)], slot=1),
        lying(monkeypatch, site, 2, count),
        site.box.segment([person(ANA)], slot=4),
    )
    report = site.both_ways()
    if count == 2:  # a row of zeros, which its block has room for
        assert (report.sightings, report.altered) == (4, ())
    else:
        assert [one.number for one in report.altered] == [2]
    assert len(report.found) == (3 if count == 2 else 2)


@pytest.mark.parametrize(
    "change",
    [
        "face = zeroblob(length(face))",
        "face = CAST(x'00' || substr(face, 2) AS BLOB)",
        "face = CAST(substr(face, 1, length(face) - 1) || x'00' AS BLOB)",
        "face = substr(face, 1, length(face) - 1)",
        "face = substr(face, 1, 60)",
        "face = substr(face, 1, 48)",
        "face = substr(face, 1, 47)",
        "face = x''",
        "face_model = NULL",
        "face_model = 77",
        "face_model = 1099511627776",
        "face_model = -1",
        "appearance = NULL",
        "appearance = face",
        "salt = x'0000000000000000'",
        "salt = x'00'",
        "sequence = sequence + 1",
        "sequence = -1",
        "sequence = 9223372036854775807",
        "slot = slot + 1",
        "segment = 0",
        "segment = 7",
        "version_2 = 0",
        "version_2 = 5",
        "header = x''",
    ],
)
def test_what_somebody_altered_in_the_file_is_refused_alike(site: Site, change: str) -> None:
    for slot in (1, 2, 4):
        site.keep(site.box.segment(dressed(3), slot=slot, spaces=BOTH))
    site.alter(2, change)
    report = site.both_ways()
    assert {one.name.slot for one in report.found} >= {1, 4}
    assert {one.number for one in report.altered} <= {2}


def test_blocks_that_fill_the_buffer_and_larger_ones(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "BLOCK_ROWS", 16)
    for slot, size in enumerate((30, 3, 50, 16, 17, 1)):
        site.keep(site.box.segment(dressed(size), slot=slot, spaces=BOTH))
    report = site.both_ways()
    assert (report.sightings, len(report.found), report.altered) == (2 * 117, 6, ())


def test_without_the_key_of_a_label_and_with_keys_that_custodians_contradict(site: Site) -> None:
    site.keep(*(site.box.segment(dressed(2), slot=slot, spaces=BOTH) for slot in (1, 2)))
    report = site.both_ways(site.box.keys(labels=[FACE, COVER]))
    assert (report.not_granted, report.segments) == (2, 0)
    scope = site.box.keys().scope
    roots = site.box.roots(scope.epoch)

    def granted(numbers: Sequence[int], *, spoilt: bool = False) -> GrantedKeys:
        mine = {number: bytes(32) if spoilt else roots[number] for number in numbers}
        return release(mine, scope, LABELS, 2)

    disputed = DisputedKeys(
        scope,
        2,
        {"c1": granted((1, 2)), "c2": granted((0, 2)), "c3": granted((0, 1), spoilt=True)},
        2,
    )
    report = site.both_ways(disputed)
    assert (report.segments, len(report.found), set(report.liars)) == (2, 2, {"c3"})
    false = DisputedKeys(scope, 2, {"c1": granted((1, 2), spoilt=True), "c2": granted((0, 2))}, 2)
    report = site.both_ways(false)
    assert [one.keyless for one in report.altered] == [scope, scope]
