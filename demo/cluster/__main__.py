"""Run the demo's trace on several processes: `python -m demo.cluster [--folder F] [--keep]`.

Example: `make cluster-demo`. Exit code 0 only if every promise held.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from demo.cluster.story import ClusterStory
from runtime import logs
from runtime.config import LogConfig
from runtime.errors import OperationError
from runtime.lifecycle import Stop, signals
from runtime.terminal import out

_STATE = Path(".sealtrace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print what was promised; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.cluster",
        description="Trace the demo's patient over PostgreSQL, an S3, Mosquitto, two processes "
        "that take in and two that match, and kill one of each meanwhile.",
        epilog="example: python -m demo.cluster --folder /tmp/cluster --keep",
    )
    parser.add_argument(
        "--folder", type=Path, default=_STATE / "demo" / "cluster", help="where to; emptied first"
    )
    parser.add_argument("--bundle", type=Path, default=_STATE / "models", help="the model bundle")
    parser.add_argument("--photos", type=Path, default=_STATE / "photos", help="the photographs")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    options = parser.parse_args(arguments)
    for needed in (options.bundle, options.photos):
        if not needed.is_dir():
            parser.error(f"{needed} is not there: run `make setup`")
    logs.configure(LogConfig(level="error"), role="demo")
    began = time.monotonic()
    story = ClusterStory(
        options.folder.absolute(),
        options.bundle.absolute(),
        options.photos.absolute(),
        lambda line: out.print(f"  {line}", highlight=False),
    )
    try:
        story.run()
    except OperationError as error:
        out.print(f"error: {error}", style="red", markup=False)
        out.print(f"the processes' logs are in {options.folder / 'logs'}", highlight=False)
        return 1
    except KeyboardInterrupt:
        out.print("interrupted: every process was stopped")
        return 130
    else:
        story.checks.show(out)
        words = "All promises held" if story.checks.all_held else "Not every promise held"
        out.print(f"{words} ({time.monotonic() - began:.0f} s).", highlight=False)
        if options.keep:
            out.print("Still running; Ctrl-C stops everything.")
            stop = Stop()
            with signals(stop):
                stop.wait()
        return 0 if story.checks.all_held else 1
    finally:
        story.stop()


if __name__ == "__main__":
    sys.exit(main())
