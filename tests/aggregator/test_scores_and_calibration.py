"""Scores are cosines whatever the block's size, and what they are worth is never overstated."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aggregator.estimates import quiet_thresholds
from aggregator.matching.kernel import BLOCK_ROWS, Kernel
from aggregator.matching.probes import probes_of
from protocol.errors import ModelMismatch
from protocol.query import Query
from protocol.sightings import MaskStatus, quantise_template, row_bytes
from protocol.templates import Template
from runtime.bundle import Manifest, ModelEntry
from runtime.calibration import MAX_LOG10_LR, Calibration, Normal, calibrations_of, read_calibration

DIMENSION = 24
CALIBRATION = Calibration(
    Normal(0.03, 0.1), Normal(0.82, 0.08), Normal(0.5, 0.12), ((0.36, 1e-3), (0.5, 1e-6))
)
MASKS = list(MaskStatus)


def block_of(rows: np.ndarray) -> np.ndarray:
    table = np.zeros((len(rows), row_bytes(DIMENSION)), np.uint8)
    for number, row in enumerate(rows):
        if row.any():
            quantised, scale = quantise_template(row.astype(float))
            table[number, :DIMENSION] = quantised.view(np.uint8)
            table[number, DIMENSION:] = np.array([scale], "<f4").view(np.uint8)
    return table


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@settings(max_examples=examples(60), deadline=None)
@given(
    rows=hnp.arrays(np.int8, st.tuples(st.integers(1, 40), st.just(DIMENSION))),
    subjects=st.integers(1, 10),
    threshold=st.floats(-0.2, 0.9),
    seed=st.integers(0, 100),
)
def test_hits_are_exactly_the_pairs_whose_cosine_reaches_the_threshold(
    rows: np.ndarray, subjects: int, threshold: float, seed: int
) -> None:
    queries = unit(np.random.default_rng(seed).standard_normal((subjects, DIMENSION)))
    table = block_of(rows)
    exact = np.zeros((len(rows), subjects))
    for number, row in enumerate(table):
        vector = row[:DIMENSION].view(np.int8).astype(float)
        if vector.any():
            exact[number] = queries @ vector / np.linalg.norm(vector)
    hits = Kernel(queries, np.full(subjects, threshold, np.float32)).hits(table)
    found = set(zip(hits.rows.tolist(), hits.queries.tolist(), strict=True))
    for row in range(len(rows)):
        for query in range(subjects):
            score = exact[row, query]
            if not table[row].any() or abs(score - threshold) < 1e-4:
                continue
            assert ((row, query) in found) == (score >= threshold)
    for row, query, score in zip(hits.rows, hits.queries, hits.scores, strict=True):
        assert score == pytest.approx(exact[row, query], abs=1e-5)


@pytest.mark.parametrize("count", [1, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 3 * BLOCK_ROWS])
def test_every_row_counts_at_the_seams_of_blocks(count: int) -> None:
    rng = np.random.default_rng(1)
    rows = rng.integers(-127, 128, (count, DIMENSION)).astype(np.int8)
    table = block_of(rows)
    queries = unit(rng.standard_normal((1, DIMENSION)))
    hits = Kernel(queries, np.full(1, -1.1, np.float32)).hits(table)
    assert hits.rows.tolist() == list(range(count))


def test_each_subject_has_its_own_threshold() -> None:
    row = np.ones((1, DIMENSION), np.int8)
    queries = unit(np.ones((2, DIMENSION)))
    hits = Kernel(queries, np.array([1.5, 0.5], np.float32)).hits(block_of(row))
    assert hits.queries.tolist() == [1]


@settings(deadline=None)
@given(
    scales=st.lists(
        st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=30
    ),
    threshold=st.floats(-0.2, 0.9),
    seed=st.integers(0, 100),
)
def test_rows_that_reach_a_threshold_by_their_scale_alone_are_counted_as_malformed(
    scales: list[float], threshold: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-127, 128, (len(scales), DIMENSION)).astype(np.int8)
    queries = unit(rng.standard_normal((3, DIMENSION)))
    table = block_of(rows)
    table[:, DIMENSION:] = np.array(scales, "<f4").view(np.uint8).reshape(-1, 4)
    factors = np.array(scales, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        kept = table[:, :DIMENSION].view(np.int8).astype(np.float32)
        scores = kept @ queries.T * factors[:, None]
        norms = np.linalg.norm(kept, axis=1) * factors
        sound = (norms > 0.98) & (norms < 1.02)
        near = np.abs(scores - threshold) < 0.02 * np.maximum(1, np.abs(norms))[:, None]
        reached = (scores >= threshold) & ~sound[:, None] & (factors != 0)[:, None]
    hits = Kernel(queries, np.full(3, threshold, np.float32)).hits(table)
    certain, possible = np.count_nonzero(reached & ~near), np.count_nonzero(reached | near)
    assert certain <= hits.malformed <= possible


@settings(deadline=None)
@given(scales=st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), max_size=30))
def test_no_scale_makes_a_hit_of_a_row_that_is_none(scales: list[float]) -> None:
    rows = np.ones((len(scales), DIMENSION), np.int8)
    table = block_of(rows)
    if scales:
        table[:, DIMENSION:] = np.array(scales, "<f4").view(np.uint8).reshape(-1, 4)
    hits = Kernel(unit(-np.ones((1, DIMENSION))), np.full(1, 0.1, np.float32)).hits(table)
    assert hits.rows.size == 0


def test_scales_that_lie_take_no_room_for_every_pair() -> None:
    rng = np.random.default_rng(1)
    table = rng.integers(0, 256, (1024, row_bytes(512))).astype(np.uint8)
    table[:, 512:] = np.frombuffer(np.float32(-1).tobytes(), np.uint8)
    kernel = Kernel(unit(rng.standard_normal((80, 512))), np.full(80, 0.4, np.float32))
    tracemalloc.start()
    try:
        hits = kernel.hits(table)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert hits.rows.size == 0
    assert hits.malformed > 1024
    assert most < 16 << 20


def test_wiping_leaves_nothing_and_not_the_callers_queries() -> None:
    queries = unit(np.ones((1, DIMENSION)))
    kernel = Kernel(queries, np.full(1, 0.5, np.float32))
    kernel.hits(block_of(np.ones((5, DIMENSION), np.int8)))
    kernel.wipe()
    assert queries.any()
    buffers = [v for v in vars(kernel).values() if isinstance(v, np.ndarray)]
    assert all(not b.any() for b in buffers if b.size > 1)


@given(
    low=st.floats(-1, 1),
    high=st.floats(-1, 1),
    mask=st.sampled_from(MASKS),
)
def test_a_better_score_never_counts_less_and_claims_are_bounded(
    low: float, high: float, mask: MaskStatus
) -> None:
    low, high = sorted((max(low, 0.03), max(high, 0.03)))
    first, second = (CALIBRATION.log10_lr(score, mask) for score in (low, high))
    assert -MAX_LOG10_LR <= first <= second + 1e-9 <= MAX_LOG10_LR + 1e-9


def test_the_mask_decides_what_a_middling_score_is_worth() -> None:
    masked, unmasked, unknown = (
        CALIBRATION.log10_lr(0.5, mask)
        for mask in (MaskStatus.MASKED, MaskStatus.UNMASKED, MaskStatus.UNKNOWN)
    )
    assert masked > unknown > unmasked
    assert CALIBRATION.log10_lr(0.03, MaskStatus.MASKED) < -1
    assert CALIBRATION.log10_lr(0.9, MaskStatus.UNMASKED) == MAX_LOG10_LR


SIZED = replace(CALIBRATION, taken=((0.0, -1.2), (0.3, -0.5), (0.5, -0.02), (1.0, 0.0)))


@given(
    score=st.floats(-1, 1),
    mask=st.sampled_from(MASKS),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_a_smaller_face_never_speaks_more_for_anybody_nor_more_against(
    score: float, mask: MaskStatus, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    at_any = SIZED.log10_lr(score, mask)
    small, large = (SIZED.log10_lr(score, mask, quality) for quality in (low, high))
    assert small <= large <= at_any
    if at_any <= 0:
        assert small == at_any
    else:
        assert small >= 0


def test_what_a_face_of_a_few_pixels_is_worth() -> None:
    certain = SIZED.log10_lr(0.9, MaskStatus.UNMASKED)
    assert SIZED.log10_lr(0.9, MaskStatus.UNMASKED, 0.3) == pytest.approx(certain - 0.5)
    assert SIZED.log10_lr(0.9, MaskStatus.UNMASKED, 1.0) == certain
    assert CALIBRATION.log10_lr(0.9, MaskStatus.UNMASKED, 0.1) == certain, "nobody counted it"


@pytest.mark.parametrize(
    ("quality", "taken"),
    [((0.0, 1.0), (-1.0,)), ((1.0, 0.0), (-1.0, 0.0)), ((0.0, 1.0), (0.0, -1.0)), (7, 7)],
)
def test_a_table_of_sizes_that_is_not_whole_and_rising_takes_nothing(
    quality: object, taken: object
) -> None:
    parameters = {
        f"calibration.{group}.{key}": value
        for group in ("impostor", "genuine.unmasked")
        for key, value in (("mean", 0.1), ("sd", 0.1))
    }
    sizes = {"calibration.llr.quality": quality, "calibration.llr.quality_taken": taken}
    read = read_calibration({**parameters, **sizes})
    assert read is not None and read.taken == ()


@given(low=st.floats(-1, 1.2), high=st.floats(-1, 1.2))
def test_the_false_match_rate_falls_with_the_threshold(low: float, high: float) -> None:
    low, high = sorted((low, high))
    first, second = CALIBRATION.false_match_rate(low), CALIBRATION.false_match_rate(high)
    assert 0 < second <= first <= 1


def test_the_false_match_rate_is_as_measured_and_never_below_it() -> None:
    assert CALIBRATION.false_match_rate(0.36) == pytest.approx(1e-3)
    assert CALIBRATION.false_match_rate(0.43) == pytest.approx(10**-4.5, rel=0.01)
    assert CALIBRATION.false_match_rate(0.5) == pytest.approx(1e-6)
    assert CALIBRATION.false_match_rate(0.99) == pytest.approx(1e-6)
    assert CALIBRATION.false_match_rate(-1) == pytest.approx(1.0)
    bare = Calibration(Normal(0, 0.1), Normal(0.8, 0.1), Normal(0.5, 0.1), ())
    assert bare.false_match_rate(0.3) == pytest.approx(0.00135, rel=0.01)


PARAMETERS: dict[str, float | tuple[float, ...]] = {
    "calibration.impostor.mean": 0.03,
    "calibration.impostor.sd": 0.1,
    "calibration.genuine.unmasked.mean": 0.82,
    "calibration.genuine.unmasked.sd": 0.08,
    "calibration.genuine.masked.mean": 0.5,
    "calibration.genuine.masked.sd": 0.12,
    "calibration.fmr.thresholds": (0.36, 0.5),
    "calibration.fmr.rates": (1e-3, 1e-6),
}


COUNTED = replace(
    CALIBRATION,
    fmr=((0.3, 1e-2), (0.48, 1e-5), (0.49, 5e-6), (0.5, 5e-6), (0.57, 2e-6), (0.6, 2e-6)),
    counted={
        MaskStatus.UNMASKED: ((0.2, -2.0), (0.4, 1.0), (0.6, 5.0)),
        MaskStatus.MASKED: ((0.2, -1.0), (0.4, 2.0), (0.6, 4.0)),
    },
    counted_to=0.49,
)


@pytest.mark.parametrize(
    ("sightings", "threshold", "counted"),
    [
        (1_000, 0.48, True),  # an hour of a camera: the floor does
        (2_000_000, 0.49, True),
        (4_000_000, 0.57, False),  # by the bound of the rate
        (900_000_000, 0.57, False),  # a city for a fortnight: nothing higher is known to be better
    ],
)
def test_a_query_over_more_sightings_has_a_higher_default_as_far_as_strangers_were_counted(
    sightings: int, threshold: float, counted: bool
) -> None:
    raised, beyond = quiet_thresholds({"m": 0.48, "n": 0.7}, {"m": COUNTED}, {"m": sightings}, 10)
    assert raised == {"m": threshold, "n": 0.7}
    assert beyond == ([] if counted else ["m"])
    assert counted is (sightings * COUNTED.false_match_rate(threshold) <= 10 and threshold <= 0.49)


def test_a_floor_above_the_quiet_threshold_stays() -> None:
    assert quiet_thresholds({"m": 0.55}, {"m": COUNTED}, {"m": 100}, 10)[0] == {"m": 0.55}


def test_counted_likelihood_ratios_go_by_the_mask_and_end_where_the_counts_end() -> None:
    ratio = COUNTED.log10_lr
    assert ratio(0.5, MaskStatus.UNMASKED) == pytest.approx(3.0)
    assert ratio(0.5, MaskStatus.MASKED) == pytest.approx(3.0)
    assert ratio(0.3, MaskStatus.MASKED) == pytest.approx(0.5)
    assert ratio(0.3, MaskStatus.UNMASKED) == pytest.approx(-0.5)
    assert -0.5 < ratio(0.3, MaskStatus.UNKNOWN) < 0.5
    assert ratio(0.99, MaskStatus.UNMASKED) == pytest.approx(5.0)
    assert ratio(-1.0, MaskStatus.MASKED) == pytest.approx(-1.0)


def test_a_manifests_calibration_is_read_by_model_id() -> None:
    entry = ModelEntry(
        role="face_embedder",
        name="m",
        model_id="m-24@00000000",
        file="m.tflite",
        sha256="0" * 64,
        size=1,
        engine="litert",
        parameters={**PARAMETERS},
        licence="MIT",
        upstream="here",
    )
    manifest = Manifest(name="n", version="1", models=(entry,))
    assert calibrations_of(manifest) == {"m-24@00000000": CALIBRATION}


@pytest.mark.parametrize("missing", sorted(k for k in PARAMETERS if "unmasked" in k or "imp" in k))
def test_without_its_figures_there_is_no_calibration(missing: str) -> None:
    parameters = {key: value for key, value in PARAMETERS.items() if key != missing}
    assert read_calibration(parameters) is None
    assert read_calibration({**PARAMETERS, "calibration.impostor.sd": 0.0}) is None


def template(model: str, dimension: int = DIMENSION) -> Template:
    row, scale = quantise_template(np.random.default_rng(2).standard_normal(dimension))
    return Template("face", model, bytes(32), row, scale)


def query(thresholds: dict[str, float]) -> Query:
    return Query(
        query_id=bytes(16),
        site="test",
        subjects=(),
        purpose="p",
        legal_basis="consent",
        cameras=("cam-1",),
        window_from_ms=0,
        window_to_ms=900_000,
        modalities=("face",),
        live=False,
        thresholds=thresholds,
        contacts=False,
        max_candidates=1,
        expected_false=0.0,
        requested_at_ms=0,
        not_after_ms=1,
        policy_digest=bytes(32),
    )


def test_templates_are_grouped_by_model_and_never_mixed() -> None:
    first, second = f"a-{DIMENSION}@00000000", "b-16@00000001"
    templates = {
        "ana": (template(first), template(second, 16)),
        "bo": (template(first),),
    }
    groups = probes_of(query({first: 0.5, second: 0.4}), templates)
    assert [(g.model, g.subjects, g.matrix.shape) for g in groups] == [
        (first, ("ana", "bo"), (2, DIMENSION)),
        (second, ("ana",), (1, 16)),
    ]
    assert np.linalg.norm(groups[0].matrix, axis=1) == pytest.approx(1.0, abs=1e-3)


def test_a_template_of_another_size_or_without_threshold_is_refused() -> None:
    model = f"a-{DIMENSION}@00000000"
    with pytest.raises(ModelMismatch, match="threshold"):
        probes_of(query({}), {"ana": (template(model),)})
    with pytest.raises(ModelMismatch, match="dimensions"):
        probes_of(query({model: 0.5}), {"ana": (template(model, 16),)})


def test_a_manifests_counts_of_scores_are_read_whole_or_not_at_all() -> None:
    columns: dict[str, tuple[float, ...]] = {
        "calibration.llr.scores": (0.2, 0.4),
        "calibration.llr.unmasked": (-1.0, 2.0),
        "calibration.llr.masked": (-0.5, 3.0),
    }
    read = read_calibration({**PARAMETERS, **columns, "calibration.fmr.counted_to": 0.45})
    assert read is not None
    assert read.counted == {
        MaskStatus.UNMASKED: ((0.2, -1.0), (0.4, 2.0)),
        MaskStatus.MASKED: ((0.2, -0.5), (0.4, 3.0)),
    }
    assert read.counted_to == 0.45
    for name in columns:
        for spoilt in ((), (1.0,), "none"):
            read = read_calibration({**PARAMETERS, **columns, name: spoilt})
            assert read is not None
            assert not read.counted
