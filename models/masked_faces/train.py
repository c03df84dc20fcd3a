r"""Teach the student for masked faces and write what it changes, with a report.

    python -m models.masked_faces.train --data crops.npz --holdout tests/data/mask_holdout.npz \
        --sface face_recognition_sface_2021dec_int8bq.onnx --out models/masked_faces

Needs PyTorch, best in an environment of its own (see models/mask_classifier/train.py).
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from models.faces.sface import dequantised, to_onnx
from models.mask_classifier.crops import CropSet, load_crops
from models.masked_faces.artefact import apply_changes, pack_changes
from models.masked_faces.proxies import Network
from models.masked_faces.report import write_report
from models.masked_faces.split import Split, people_of, split_people
from models.masked_faces.teaching import Recipe, teach
from models.training_command import log_to_stderr

log = logging.getLogger("masked_faces")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    log_to_stderr()
    torch.set_num_threads(1)
    recipe = Recipe(seed=options.seed, samples=options.samples)
    crops, layers = load_crops(options.data), dequantised(options.sface.read_bytes())
    teacher = Network(to_onnx(layers))
    split = split_crops(crops, load_crops(options.holdout), teacher, recipe.seed)
    worn = masks_to_teach(crops, load_crops(options.holdout))
    log.info("%d bare crops teach, %d are held out", len(split.taught), len(split.held))
    began = time.process_time()
    student = teach(layers, crops.images[split.taught], crops.images[worn], recipe)
    seconds = time.process_time() - began
    packed = pack_changes(layers, student)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "masked_faces.npz").write_bytes(packed)
    file = to_onnx(apply_changes(layers, packed))
    write_report(
        options.out / "report.md",
        crops=crops,
        split=split,
        teacher=teacher,
        student=Network(file),
        about={
            "recipe": asdict(recipe),
            "data_sha256": hashlib.sha256(options.data.read_bytes()).hexdigest(),
            "packed": packed,
            "file": file,
            "cpu_seconds": round(seconds),
            "masks_that_taught": len(worn),
        },
    )
    return 0


def split_crops(crops: CropSet, holdout: CropSet, teacher: Network, seed: int) -> Split:
    """Divide the bare crops; those of `holdout`, an archive of some of them, are held out first."""
    bare = np.flatnonzero(crops.labels == 0)
    group = people_of(teacher.templates(crops.images[bare]), crops.images[bare])
    files = set(holdout.files)
    wanted = np.array([crops.files[row] in files for row in bare])
    return split_people(bare, group, wanted, seed)


def masks_to_teach(crops: CropSet, holdout: CropSet) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Indices of the crops whose masks may teach: all that are worn, but those of `holdout`."""
    files = set(holdout.files)
    worn = [row for row in np.flatnonzero(crops.labels == 1) if crops.files[row] not in files]
    return np.array(worn, np.int64)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.masked_faces.train", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="archive of labelled crops (.npz)")
    parser.add_argument("--holdout", type=Path, required=True, help="a part that must not teach")
    parser.add_argument("--sface", type=Path, required=True, help="SFace as published (int8)")
    parser.add_argument("--out", type=Path, required=True, help="directory for result and report")
    parser.add_argument("--seed", type=int, default=Recipe().seed, help="decides everything random")
    parser.add_argument("--samples", type=int, default=Recipe().samples, help="crops to learn from")
    return parser


if __name__ == "__main__":
    sys.exit(main())
