"""Error rates are counted by kind of pair, with intervals that say how much the counts support."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_agent.measuring.det_plot import det_svg
from edge_agent.measuring.report import report_json, worst_group
from edge_agent.measuring.scores import ALL, Faces, Pairs, clopper_pearson, count_pairs
from runtime.bundle import Bundle
from sealtrace.models_cli import app

RNG = np.random.default_rng(4)


def people(count: int, pictures: int = 2, noise: float = 0.5) -> Faces:
    """Templates of `count` people; every second picture is masked, every third person is of b."""
    centres = RNG.standard_normal((count, 32))
    rows = np.repeat(centres, pictures, axis=0)
    rows = rows + noise * RNG.standard_normal(rows.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    number = np.repeat(np.arange(count), pictures)
    return Faces(
        templates=rows.astype(np.float32),
        person=number,
        masked=np.tile(np.arange(pictures) % 2 == 1, count),
        eyes_px=np.full(len(rows), 25.0),
        groups={"region": ["b" if one % 3 == 0 else "a" for one in number]},
    )


def test_every_pair_is_counted_once_by_its_kind() -> None:
    faces = people(40)
    kinds = count_pairs(faces)
    strangers = {name: int(pairs.strangers.sum()) for name, pairs in kinds.items()}
    assert strangers[ALL] == 80 * 79 // 2 - 40
    assert strangers["mask: bare-bare"] == strangers["mask: masked-masked"] == 40 * 39 // 2
    assert strangers["mask: bare-masked"] == 40 * 39
    assert strangers["eyes: 20 to 32 px"] == strangers["mask: bare-bare"]
    in_b = 2 * sum(one % 3 == 0 for one in range(40))
    assert strangers["region: b"] == in_b * (in_b - 1) // 2 - in_b // 2
    assert sum(len(scores) for scores in kinds[ALL].same.values()) == 40
    assert kinds["mask: bare-masked"].rates(0.3).same_pairs == 40
    assert kinds["mask: bare-bare"].rates(0.3).fnmr is None


def test_rates_are_those_of_the_scores() -> None:
    faces = people(60)
    scores = faces.templates @ faces.templates.T
    upper = np.triu(np.ones(scores.shape, bool), 1)
    alike = faces.person[:, None] == faces.person[None]
    rates = count_pairs(faces)[ALL].rates(0.35)
    assert rates.fmr == pytest.approx((scores[upper & ~alike] >= 0.35).mean(), rel=0.02)
    assert rates.fnmr == pytest.approx((scores[upper & alike] < 0.35).mean(), abs=1e-9)
    assert rates.fmr_interval[0] < (rates.fmr or 0) < rates.fmr_interval[1]
    assert rates.fnmr_interval[0] <= (rates.fnmr or 0) <= rates.fnmr_interval[1]


def test_a_threshold_is_given_only_as_far_as_strangers_were_counted() -> None:
    pairs = count_pairs(people(60))[ALL]
    at = pairs.threshold(1e-2)
    assert at is not None
    assert (pairs.rates(at).fmr or 0) <= 1e-2 < (pairs.rates(at - 0.01).fmr or 0)
    assert pairs.threshold(1e-4) is None


def test_no_stranger_of_few_bounds_the_rate_and_does_not_make_it_nothing() -> None:
    assert clopper_pearson(0, 1000)[1] == pytest.approx(3.7e-3, rel=0.01)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert clopper_pearson(5, 5)[1] == 1.0
    low, high = clopper_pearson(10, 1000)
    assert low < 0.01 < high


def test_the_worst_group_is_named_only_if_it_was_counted() -> None:
    def pairs(reaching: int, of: int) -> Pairs:
        made = Pairs()
        made.strangers[3000], made.strangers[1000] = reaching, of - reaching
        return made

    kinds = {ALL: pairs(60, 10_000), "sex: f": pairs(40, 2_000), "sex: m": pairs(9, 9)}
    found = worst_group(kinds, 0.4)
    assert found == {"group": "sex: f", "fmr": 0.02, "times_overall": pytest.approx(10 / 3)}
    assert worst_group({ALL: pairs(60, 100), "eyes: 0 to 12 px": pairs(50, 60)}, 0.4) is None
    figures = report_json(kinds, model_id="m-32@0", threshold=0.4, people=1, pictures=1)
    assert json.loads(json.dumps(figures))["worst_group"]["group"] == "sex: f"


def test_the_plot_is_a_picture_with_a_curve_a_kind() -> None:
    kinds = count_pairs(people(60, noise=1.0))
    drawing = ET.fromstring(det_svg(kinds, "a <model> & more"))  # noqa: S314 - our own text
    lines = [one for one in drawing.iter() if one.tag.endswith("polyline")]
    assert len(lines) == sum(1 for pairs in kinds.values() if pairs.same)


@pytest.mark.models
def test_the_command_measures_a_folder_a_person(
    photos_path: Path, bundle: Bundle, model_bundle_key: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "people"
    for person, names in {"o": ["obama.jpg", "obama2.jpg"], "b": ["biden.jpg"]}.items():
        (folder / person).mkdir(parents=True)
        for name in names:
            shutil.copy(photos_path / name, folder / person / name)
    (folder / "b" / "notes.jpg").write_text("no picture")
    table = tmp_path / "people.csv"
    table.write_text("person,region\no,west\nb,west\n")
    arguments = ["measure", str(folder), "--bundle", str(bundle.folder)]
    arguments += ["--trusted", model_bundle_key.hex(), "--groups", str(table)]
    outputs = ["--json", str(tmp_path / "r.json"), "--det", str(tmp_path / "r.svg")]
    done = CliRunner().invoke(app, [*arguments, *outputs], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "3 pictures of 2 people; no face found in 1" in done.output
    figures = json.loads((tmp_path / "r.json").read_text())
    west = figures["kinds"]["region: west"]["at_threshold"]
    assert (west["strangers"], west["stranger_pairs"], west["fnmr"]) == (0, 2, 0.0)
    assert (tmp_path / "r.svg").read_text().startswith("<svg")
    table.write_text("name\no\n")
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 1
    assert "no column 'person'" in refused.output
