r"""Draw people, train the appearance network on them, and write the network and its report.

    python -m models.appearance.train --work people --out models/appearance \
        --footage clips

Needs PyTorch and onnxruntime, best in an environment of their own:

    python3 -m venv torchenv && torchenv/bin/pip install torch==2.14.1 numpy \
        opencv-python-headless onnxruntime cryptography pydantic
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from models.training_command import log_to_stderr, missing_package
from runtime.registries import FetchError

log = logging.getLogger("appearance")

PACKAGES = "torch==2.14.1 numpy opencv-python-headless onnxruntime cryptography pydantic"
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
    try:
        train_all(Plan(**vars(options)))
    except FetchError as error:
        log.error("%s", error)  # noqa: TRY400  # says itself what to do
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.appearance.train",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="keep pictures and weights here; runs resume"
    )
    parser.add_argument("--out", type=Path, required=True, help="directory for the ONNX and report")
    parser.add_argument(
        "--cache", type=Path, default=Path(".sealtrace/cache"), help="keep the fetched mesh here"
    )
    parser.add_argument(
        "--footage", type=Path, help="folder of the clips that footage.csv names: judge by them"
    )
    parser.add_argument("--seed", type=int, default=1, help="decides people, cameras and weights")
    parser.add_argument("--people", type=int, default=2400, help="how many people to learn from")
    parser.add_argument("--cameras", type=int, default=400, help="how many cameras see them")
    parser.add_argument("--held", type=int, default=300, help="further people, to judge by")
    parser.add_argument("--held-cameras", type=int, default=60, help="cameras that see those")
    parser.add_argument("--steps", type=int, default=2600, help="batches of 64 pictures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
