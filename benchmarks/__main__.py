"""Run every benchmark and print what the README claims: `python -m benchmarks [--quick] [NAME]...`.

Each module `bench_<name>` has a `run()` that returns its figures; one that cannot run here (no
models, no photographs) is named with its reason, and the exit code is then 1. `city` alone takes
options of its own: `python -m benchmarks city --help`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import subprocess
import sys
import time
from collections.abc import Sequence

from rich.console import Console  # noqa: TID251 - prints our own words

import benchmarks
from benchmarks import city
from benchmarks.figures import Figure
from benchmarks.printing import machine, table

PREFIX = "bench_"


def names() -> list[str]:
    """Return the benchmarks there are, without their prefix."""
    found = pkgutil.iter_modules(benchmarks.__path__)
    return sorted(
        module.name.removeprefix(PREFIX) for module in found if module.name.startswith(PREFIX)
    )


def measure(name: str, *, quick: bool) -> list[Figure]:
    """Run one benchmark; `quick` is passed on to those that take it."""
    run = importlib.import_module(f"benchmarks.{PREFIX}{name}").run
    options = {"quick": quick} if "quick" in inspect.signature(run).parameters else {}
    return list(run(**options))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print one table, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = names()
    parser.add_argument("name", nargs="*", help=f"which of {', '.join(known)}; all by default")
    parser.add_argument("--quick", action="store_true", help="shorter rounds, rougher figures")
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["city"]:  # it has options of its own
        return city.main(given[1:])
    options = parser.parse_args(given)
    if unknown := set(options.name) - set(known):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    progress, groups, failed = Console(stderr=True), [], False
    for name in options.name or known:
        begin = time.monotonic()
        with progress.status(f"measuring {name}"):
            try:
                groups.append((name, measure(name, quick=options.quick)))
            except Exception as error:
                failed = True
                progress.print(f"{name} was not measured: {error}", style="red", markup=False)
                continue
        progress.print(f"[dim]{name}: {time.monotonic() - begin:.0f} s[/dim]")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table("Sealtrace benchmarks", groups))
    console.print(f"[dim]{machine()}; commit {_commit()}[/dim]")
    return 1 if failed else 0


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
