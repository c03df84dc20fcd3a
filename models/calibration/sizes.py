r"""Counts what small faces cost, and writes how far a row's quality lowers its likelihood ratio.

    python -m models.calibration.sizes --crops tests/data/mask_holdout.npz \
        --bundle .sealtrace/models --out models/calibration/sface_sizes.json

Bare held-out crops are shrunk until their eyes are so many pixels apart, enlarged again and
compared with themselves as they were: one photograph each, so on the good side. Counted is how many
still reach the default threshold; the ratio reckons with the lower end of the 95 % interval of that
share (Clopper and Pearson), and with as many strangers as at full size, although fewer were seen to
reach it. A row says no size, but its quality does: a face of quality q has eyes at least so far
apart that its size alone would allow q (`edge_agent.vision.quality`).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from scipy import stats

from runtime.bundle import Bundle, Preprocessing, load_bundle
from runtime.onnx import cpu_session

EYES_PX = (5, 6, 7, 8, 9, 11, 13, 16, 20, 26)
_EYES_OF_A_CROP = 35.2  # px between the eyes of an aligned crop of 112 px
_SMALLEST_PX, _ENOUGH_PX, _SIZE_WEIGHT = 5.0, 32.0, 0.35
"""As `edge_agent.vision.quality` has them; a test holds them together."""
_CONFIDENCE = 0.95

Crops = NDArray[np.uint8]


def quality_at(eyes_px: float) -> float:
    """The highest quality that a face with eyes so far apart can have."""
    size = (eyes_px - _SMALLEST_PX) / (_ENOUGH_PX - _SMALLEST_PX)
    return float(min(1.0, max(0.0, size) ** _SIZE_WEIGHT))


def lower_bound(found: int, of: int) -> float:
    """The share below which a count so high would be rarer than one in twenty."""
    return float(stats.beta.ppf(1 - _CONFIDENCE, found, of - found + 1)) if found else 0.0


def table_of(found: dict[int, int], of: int) -> dict[str, list[float]]:
    """Qualities, rising, with the logarithm that each takes off a likelihood ratio, rising to 0.

    Args:
        found: eyes' distance in px to how many of the crops reach the threshold.
    """
    shares = np.maximum.accumulate([lower_bound(found[px], of) for px in sorted(found)])
    taken = [round(math.log10(max(share, 1 / (of + 1))), 2) for share in shares.tolist()]
    qualities = [round(quality_at(px), 3) for px in sorted(found)]
    return {
        "calibration.llr.quality": [*qualities, 1.0],
        "calibration.llr.quality_taken": [*taken, taken[-1]],
    }


def shrunk(crops: Crops, eyes_px: float) -> Crops:
    """Crops (n, 112, 112, 3) as they come out of a frame in which the eyes are so far apart."""
    side = max(2, round(112 * eyes_px / _EYES_OF_A_CROP))
    small = [cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) for crop in crops]
    return np.stack([cv2.resize(c, (112, 112), interpolation=cv2.INTER_LINEAR) for c in small])


def _bare(path: Path) -> Crops:
    with np.load(path) as file:
        data, offset, label = (file[name] for name in ("jpeg", "offset", "label"))
    crops = [
        cv2.imdecode(data[offset[row] : offset[row + 1]], cv2.IMREAD_COLOR)
        for row in np.flatnonzero(label == 0)
    ]
    return np.stack([np.asarray(crop, np.uint8) for crop in crops])


def _embedder(bundle: Bundle) -> Any:
    entry = next(e for e in bundle.entries("face_embedder") if not e.space)
    session = cpu_session(bundle.read(entry))
    form: Preprocessing = entry.preprocessing
    (name,) = (one.name for one in session.get_inputs())

    def embed(crops: Crops) -> NDArray[np.float32]:
        rgb = crops[..., ::-1] if entry.inputs[0].colour == "RGB" else crops
        values = (rgb.astype(np.float32) - form.mean[0]) / form.std[0]
        planes = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        rows = np.concatenate([session.run(None, {name: one[None]})[0] for one in planes])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    return embed, float(entry.threshold or 0), entry.model_id


def main(
    crops: Annotated[Path, typer.Option(help="Aligned crops with labels, .npz.")],
    bundle: Annotated[Path, typer.Option(help="A bundle; its embedder is counted.")],
    out: Annotated[Path, typer.Option(help="Where to write the table, .json.")],
    signer: Annotated[str, typer.Option(help="The bundle's signer, hexadecimal.")] = "",
) -> None:
    """Count how many faces are still found when they are small."""
    key = signer or (bundle.parent / "keys" / "model-signer.pub").read_text("ascii").strip()
    embed, threshold, model_id = _embedder(load_bundle(bundle, [bytes.fromhex(key)]))
    pictures = _bare(crops)
    whole = embed(pictures)
    found = {}
    for px in EYES_PX:
        scores = (embed(shrunk(pictures, px)) * whole).sum(axis=1)
        found[px] = int((scores >= threshold).sum())
        typer.echo(f"eyes {px} px apart: {found[px]} of {len(pictures)}")
    made = {
        "model_id": model_id,
        "threshold": threshold,
        "found": {str(px): count for px, count in found.items()},
        "of": len(pictures),
        "parameters": table_of(found, len(pictures)),
    }
    out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
