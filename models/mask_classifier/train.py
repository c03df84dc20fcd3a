r"""Train the mask classifier from an archive of labelled crops and write weights and report.

    python -m models.mask_classifier.train --data crops.npz --out models/mask_classifier \
        --holdout tests/data/mask_holdout.npz

Needs PyTorch and onnxruntime, best in an environment of their own:

    python3 -m venv torchenv && torchenv/bin/pip install torch==2.13.0 numpy \
        opencv-python-headless onnxruntime
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from models.training_command import log_to_stderr, missing_package

from .crops import load_crops

log = logging.getLogger("mask_classifier")

PACKAGES = "torch==2.13.0 numpy opencv-python-headless onnxruntime"
"""What training needs, as pip takes it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    log_to_stderr()
    try:
        from .training import Plan, train_all  # noqa: PLC0415  # PyTorch is not a dependency
    except ImportError as error:
        log.error("%s", missing_package(error, PACKAGES))  # noqa: TRY400  # a hint, not a traceback
        return 1
    if not options.data.is_file():
        log.error("%s: no such archive of crops", options.data)
        return 1
    try:
        crops = load_crops(options.data)
    except (ValueError, KeyError, OSError) as error:
        log.error("%s: not an archive of crops: %s", options.data, error)  # noqa: TRY400  # as above
        return 1
    train_all(Plan(**vars(options)), crops)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.mask_classifier.train",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("--data", type=Path, required=True, help="archive of labelled crops (.npz)")
    parser.add_argument("--out", type=Path, required=True, help="directory for the ONNX and report")
    parser.add_argument(
        "--holdout", type=Path, required=True, help="where to write the held-out part"
    )
    parser.add_argument("--seed", type=int, default=1, help="decides split, weights and variations")
    parser.add_argument("--epochs", type=int, default=60, help="passes over the crops")
    parser.add_argument("--members", type=int, default=3, help="networks whose logits are averaged")
    parser.add_argument("--folds", type=int, default=5, help="folds of the cross-validation")
    parser.add_argument("--fold-members", type=int, default=0, help="members per fold (0: as many)")
    parser.add_argument("--jobs", type=int, default=2, help="networks trained at the same time")
    parser.add_argument(
        "--work", type=Path, help="keep weights here; a later run resumes from them"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
