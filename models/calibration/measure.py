r"""Measures how the bundle's face embedder scores strangers, for the calibration in the manifest.

    python -m models.calibration.measure --bundle .sealtrace/models \
        --trusted .sealtrace/keys/model-signer.pub --crops mask_crops_train.npz \
        --photos .sealtrace/photos --out models/calibration/mobilefacenet.json

The crops are aligned 112x112 faces (`jpeg`, `offset`, `label` with 1 = mask, `detector_score`).
They carry no names, so the same person may appear twice, and one such pair spoils the upper tail
that matters. Hence: crops with black borders are left out (tight cut-outs of a handful of
celebrities, hundreds of each); of every group of crops linked by scores above `_SAME_PERSON` one
is kept; what was left at the top was looked at pair by pair, and `_SEEN_TWICE` names the crops
that show somebody who is there already. Pairs that merely look alike stay.

The rate of false matches is counted where there are pairs enough to count, and read off a
generalised Pareto fit of the top five per cent beyond (Coles 2001, An Introduction to Statistical
Modeling of Extreme Values, section 4): an extrapolation, and marked as one. The normal
distribution with the same mean and deviation is given beside it as the cautious bound.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import scipy  # its parts are loaded when used: for a command that few run
import typer
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from models.photos import photograph, read_photo
from runtime.bundle import Bundle, load_bundle
from runtime.model_keys import read_public_key

_SAME_PERSON = 0.7
_SEEN_TWICE = frozenset({1935, 1874, 1876, 1928, 1792})
_WRONG_LABEL = frozenset({1679, 1680})
_MAX_BLACK = 0.05
_MIN_DETECTOR_SCORE = 0.85
_TAIL = 0.05
_COUNTED_PAIRS = 10
_BOOTSTRAPS = 200
_AIMS = (1e-3, 1e-4, 1e-5, 1e-6)
_AIM = 1e-6
_LOWEST_RATE = 1e-7  # nothing better is claimed from so few people

# Genuine pairs cannot be measured on crops without names. These figures come from two collections
# of named photographs that may not be redistributed (25 photographs of 9 people; 125 of 19, mostly
# celebrities, hence optimistic); a mask was drawn on the probe for the masked ones. Means were
# measured; deviations follow from the share of genuine pairs above the 1e-3 threshold (0.996
# unmasked; 0.64 to 0.95 masked).
_GENUINE = {
    "unmasked": {"mean": 0.82, "sd": 0.12},
    "masked": {"mean": 0.50, "sd": 0.13},
}
_GENUINE_FROM = (
    "named photographs: 25 of 9 people for the means, 125 of 19 people for the deviations;"
    " masks drawn on the probe"
)

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

# Where InsightFace's ArcFace training put eyes, nose and mouth corners in 112x112 pixels.
ARCFACE: Floats = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ],
    np.float32,
)


@dataclass(frozen=True, slots=True)
class Tail:
    """A generalised Pareto fit of the scores above `start`, which a share `share` exceeds."""

    start: float
    share: float
    shape: float
    scale: float

    def rate(self, threshold: float) -> float:
        """Share of pairs above `threshold` (at or beyond `start`)."""
        beyond = scipy.stats.genpareto.sf(threshold - self.start, self.shape, 0, self.scale)
        return float(self.share * beyond)

    def threshold(self, rate: float) -> float:
        """The score that a share `rate` of pairs exceeds."""
        beyond = scipy.stats.genpareto.isf(rate / self.share, self.shape, 0, self.scale)
        return float(self.start + beyond)


def fit_tail(scores: Floats) -> Tail:
    """Fit the top `_TAIL` of `scores` (any shape, float32)."""
    start = float(np.quantile(scores, 1 - _TAIL))
    shape, _, scale = scipy.stats.genpareto.fit(scores[scores > start] - start, floc=0)
    return Tail(start=start, share=_TAIL, shape=float(shape), scale=float(scale))


def embed(bundle: Bundle, crops: list[Image]) -> Floats:
    """Templates (n x 192, unit length) of aligned BGR crops (112x112x3)."""
    entry = bundle.entry("face_embedder")
    model = Interpreter(model_content=bundle.read(entry), num_threads=2)
    model.allocate_tensors()
    into, out = model.get_input_details()[0], model.get_output_details()[0]
    batch = int(into["shape"][0])
    mean, std = entry.preprocessing.mean[0], entry.preprocessing.std[0]
    rows: list[Floats] = []
    for first in range(0, len(crops), batch):
        part = crops[first : first + batch]
        part += [part[-1]] * (batch - len(part))
        pixels = np.stack([crop[..., ::-1] for crop in part]).astype(np.float32)
        model.set_tensor(into["index"], (pixels - mean) / std)
        model.invoke()
        rows.append(model.get_tensor(out["index"]).copy())
    found = np.concatenate(rows)[: len(crops)]
    unit: Floats = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def distinct_people(templates: Floats, sharpness: NDArray[np.float64]) -> NDArray[np.intp]:
    """Row numbers of one crop (the sharpest) of every group linked by high scores."""
    count, group = scipy.sparse.csgraph.connected_components(templates @ templates.T > _SAME_PERSON)
    members = [np.flatnonzero(group == number) for number in range(count)]
    return np.array([rows[np.argmax(sharpness[rows])] for rows in members])


def summary(scores: Floats) -> dict[str, Any]:
    """Mean, deviation, and thresholds by counting or tail fit and by the normal bound."""
    tail = fit_tail(scores)
    mean, deviation = float(scores.mean()), float(scores.std())
    thresholds = {}
    for aim in _AIMS:
        counted = aim * scores.size >= _COUNTED_PAIRS
        estimate = float(np.quantile(scores, 1 - aim)) if counted else tail.threshold(aim)
        thresholds[f"{aim:.0e}"] = {
            "threshold": round(estimate, 3),
            "how": "counted" if counted else "extrapolated from the tail fit",
            "normal_bound": round(mean + float(scipy.stats.norm.isf(aim)) * deviation, 3),
        }
    return {
        "mean": round(mean, 4),
        "sd": round(deviation, 4),
        "pairs": int(scores.size),
        "highest": round(float(scores.max()), 3),
        "tail": {"start": round(tail.start, 4), "shape": round(tail.shape, 4)}
        | {"scale": round(tail.scale, 4)},
        "thresholds": thresholds,
    }


def rates(scores: Floats, thresholds: list[float]) -> list[list[float]]:
    """Rows of threshold and false match rate, counted where possible, else from the tail fit."""
    tail = fit_tail(scores)
    rows = []
    for threshold in thresholds:
        above = int((scores > threshold).sum())
        rate = above / scores.size if above >= _COUNTED_PAIRS else tail.rate(threshold)
        rows.append([threshold, float(f"{max(rate, _LOWEST_RATE):.2g}")])
    return rows


def aim_interval(templates: Floats, threshold: float, seed: int = 1) -> list[float]:
    """The 5th to 95th percentile of the rate at `threshold` when other people had been drawn."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(_BOOTSTRAPS):
        rows = np.unique(random.integers(0, len(templates), len(templates)))
        found.append(fit_tail(_pairs(templates[rows])).rate(threshold))
    low, high = np.quantile(found, [0.05, 0.95])
    return [float(f"{max(rate, _LOWEST_RATE):.1g}") for rate in (low, high)]


def _pairs(templates: Floats) -> Floats:
    scores: Floats = (templates @ templates.T)[np.triu_indices(len(templates), 1)]
    return scores


def _load_crops(path: Path) -> tuple[list[Image], NDArray[np.int64], NDArray[np.bool_]]:
    """Crops (BGR 112x112x3), labels, and which are usable: whole picture, sure detection."""
    with np.load(path) as data:
        jpeg, offset = data["jpeg"].tobytes(), data["offset"]
        labels = data["label"].astype(np.int64)
        sure = data["detector_score"] > _MIN_DETECTOR_SCORE
    crops: list[Image] = []
    for first, last in pairwise(offset):
        image = cv2.imdecode(np.frombuffer(jpeg[first:last], np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise typer.BadParameter(f"{path}: crop {len(crops)} is no JPEG image")
        crops.append(image.astype(np.uint8))
    black = np.array([float((crop.max(2) < 6).mean()) for crop in crops])
    usable = sure & (black < _MAX_BLACK)
    usable[sorted(_SEEN_TWICE | _WRONG_LABEL)] = False
    return crops, labels, usable


def _sharpness(crop: Image) -> float:
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey[28:100, 20:92], cv2.CV_64F).var())


def _photo_scores(bundle: Bundle, folder: Path) -> dict[str, Any]:
    names = ("obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "astronaut.png")
    crops = []
    for name in names:
        photo = photograph(name)
        image = cv2.imdecode(np.frombuffer(read_photo(folder, photo), np.uint8), cv2.IMREAD_COLOR)
        turn, _ = cv2.estimateAffinePartial2D(
            np.array(photo.landmarks, np.float32), ARCFACE, method=cv2.LMEDS
        )
        if image is None:
            raise typer.BadParameter(f"{folder / name} is no image that OpenCV can read")
        crops.append(cv2.warpAffine(image, turn, (112, 112)).astype(np.uint8))
    templates = embed(bundle, crops)
    scores = np.round((templates @ templates.T).astype(np.float64), 3)
    return {
        "what": "three photographs of one person, one each of two others",
        "genuine": [float(scores[i, j]) for i, j in ((0, 1), (0, 2), (1, 2))],
        "impostor": [float(scores[i, j]) for i in range(4) for j in range(max(i + 1, 3), 5)],
    }


def main(
    bundle: Annotated[Path, typer.Option(help="Folder of the model bundle.")],
    trusted: Annotated[str, typer.Option(help="Public key (hex, or file) that signed it.")],
    crops: Annotated[Path, typer.Option(help="Aligned crops, .npz.")],
    photos: Annotated[Path, typer.Option(help="Folder of the free photographs.")],
    out: Annotated[Path, typer.Option(help="Where to write the calibration, .json.")],
) -> None:
    """Measure the face embedder of a bundle and write its calibration."""
    loaded = load_bundle(bundle, [read_public_key(trusted)])
    images, labels, usable = _load_crops(crops)
    people: dict[int, Floats] = {}
    for label in (0, 1):
        rows = np.flatnonzero(usable & (labels == label))
        chosen = [images[row] for row in rows]
        templates = embed(loaded, chosen)
        sharpness = np.array([_sharpness(crop) for crop in chosen])
        people[label] = templates[distinct_people(templates, sharpness)]
    unmasked, masked = _pairs(people[0]), (people[1] @ people[0].T).ravel()
    impostor = summary(unmasked)
    default = round(impostor["thresholds"][f"{_AIM:.0e}"]["threshold"], 2)
    thresholds = sorted({round(0.30 + 0.05 * step, 2) for step in range(11)} | {default})
    normal = scipy.stats.norm(impostor["mean"], impostor["sd"])
    result = {
        "model_id": loaded.entry("face_embedder").model_id,
        "score": "cosine of two unit-length templates",
        "measured_on": f"{len(people[0])} people unmasked, {len(people[1])} masked, one crop each,"
        f" of {crops.name} (Face-Mask-Detection collection, MIT); rates below"
        f" {_COUNTED_PAIRS / unmasked.size:.0e} are extrapolated",
        "impostor": impostor,
        "impostor_masked_probe": summary(masked),
        "genuine": _GENUINE,
        "genuine_from": _GENUINE_FROM,
        "photographs": _photo_scores(loaded, photos),
        "fmr": rates(unmasked, thresholds),
        "fmr_masked_probe": rates(masked, thresholds),
        "default_threshold": default,
        "default_threshold_fmr": _AIM,
        "default_threshold_fmr_interval": aim_interval(people[0], default),
        "default_threshold_fmr_normal_bound": float(f"{normal.sf(default):.1g}"),
    }
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    typer.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
