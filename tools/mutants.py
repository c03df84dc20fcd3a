"""Mutation testing: spoil one check at a time and see whether a test notices (`make mutants`).

The security of a custodian is a row of conditions that raise. That all tests pass says little about
a condition that no test depends on; so each is spoilt in turn (negated, dropped, shifted by one),
and the tests of its module run until one fails. What no test notices **survives**, and is
printed. Judged mutants are kept in ``.sealtrace/mutants.jsonl`` by the digests of module and tests,
so that a run that was interrupted goes on where it stopped.

    python -m tools.mutants --module protocol/epoch.py --most 50 --seconds 600
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.mutant_tests import TESTS
from tools.mutations import Mutant, mutants_of
from tools.trial import KILLED, SURVIVED, TIMED_OUT, Recorded, TestsFail, judge, record

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 300.0
RECORDING_S = 1800.0
FOUND, FAILED = 1, 2


@dataclass(frozen=True, slots=True)
class Module:
    """A module to spoil, and the files of its tests; paths are relative to ``root``."""

    root: Path
    path: str
    tests: tuple[str, ...]

    def source(self) -> str:
        """Return its source as it is."""
        return (self.root / self.path).read_text()

    def digests(self) -> tuple[str, str]:
        """Return what a judgement depends on: of the module, of its tests."""
        hashed = hashlib.sha256()
        for path in self.tests:
            hashed.update((self.root / path).read_bytes())
        return hashlib.sha256(self.source().encode()).hexdigest()[:16], hashed.hexdigest()[:16]


class Judgements:
    """What became of mutants, a line each in one file that outlives a run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def known(self, module: Module, *, trust_killed: bool) -> dict[int, str]:
        """Return what is known of a module's mutants: number to what became of it.

        Args:
            trust_killed: what any former tests killed is dead, too.
        """
        if not self._path.exists():
            return {}
        source, tests = module.digests()
        known: dict[int, str] = {}
        for text in self._path.read_text().splitlines():
            line = json.loads(text)
            if (line["module"], line["source"]) != (module.path, source):
                continue
            if line["tests"] == tests or (trust_killed and line["became"] == KILLED):
                known[line["number"]] = line["became"]
        return known

    def add(self, module: Module, number: int, became: str) -> None:
        """Write one down; one line is one write, so several processes may."""
        source, tests = module.digests()
        line = {
            "module": module.path,
            "source": source,
            "tests": tests,
            "number": number,
            "became": became,
        }
        self._path.parent.mkdir(exist_ok=True)
        with self._path.open("a") as kept:
            kept.write(json.dumps(line) + "\n")


def judge_all(
    module: Module,
    chosen: Sequence[Mutant],
    recorded: Sequence[Recorded],
    kept: Judgements,
    *,
    timeout_s: float,
    jobs: int,
    until: float,
) -> None:
    """Judge mutants in ``jobs`` processes, begin none after ``until`` (monotonic seconds).

    Raises:
        TestsFail: a process could not run the tests.
    """
    workers = []
    for worker in range(jobs):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for mutant in chosen[worker::jobs]:
                    if time.monotonic() < until:
                        became = judge(mutant, recorded, module.tests, timeout_s=timeout_s)
                        kept.add(module, mutant.number, became)
                code = 0
            finally:
                os._exit(code)
        workers.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    if any(codes):
        raise TestsFail(f"{module.path}: a process that judges mutants ended: {codes}")


def judge_module(
    module: Module, kept: Judgements, asked: argparse.Namespace, until: float
) -> tuple[str, int]:
    """Judge a module's mutants; return the report and how many survived.

    Raises:
        TestsFail: its tests fail as it is.
    """
    mutants = mutants_of(module.path, module.source())
    of_all = len(mutants)
    if 0 < asked.most < of_all:
        mutants = random.Random(asked.seed).sample(mutants, asked.most)  # noqa: S311
    known = kept.known(module, trust_killed=asked.trust_killed)
    new = [mutant for mutant in mutants if mutant.number not in known]
    if new and time.monotonic() < until:
        recorded = record(module.root, module.path, module.tests, timeout_s=RECORDING_S)
        judge_all(
            module, new, recorded, kept, timeout_s=asked.timeout, jobs=asked.jobs, until=until
        )
        known = kept.known(module, trust_killed=asked.trust_killed)
    became = [known.get(mutant.number) for mutant in mutants]
    alive = sorted(
        (m for m, end in zip(mutants, became, strict=True) if end == SURVIVED),
        key=lambda m: m.line,
    )
    words = [
        f"{module.path}: {len(mutants)} of {of_all} mutants, {became.count(KILLED)} killed, "
        f"{became.count(TIMED_OUT)} timed out, {len(alive)} survived, "
        f"{became.count(None)} not judged\n"
    ]
    words += [f"  {m.module}:{m.line}: [{m.number}] {m.how}\n" for m in alive]
    return "".join(words), len(alive)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Spoil one check at a time; print what no test notices."
    )
    parser.add_argument("--module", action="append", help="its path; default: all that are listed")
    parser.add_argument("--tests", action="append", help="files of tests, if it is not listed")
    parser.add_argument("--root", type=Path, default=ROOT, help="of the tree that they are in")
    parser.add_argument(
        "--most", type=int, default=0, help="so many of each module, drawn at random"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--seconds", type=float, default=0, help="begin no mutant after that")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds a mutant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--trust-killed",
        action="store_true",
        help="do not judge again what other tests have killed (when tests were only added)",
    )
    return parser


def _load_libraries() -> None:
    """Load libraries and plugins of pytest once, for all children."""
    import cryptography.x509  # noqa: F401, PLC0415
    import fastapi  # noqa: F401, PLC0415
    import hypothesis  # noqa: F401, PLC0415
    import numpy as np  # noqa: F401, PLC0415

    for plugin in importlib.metadata.entry_points(group="pytest11"):
        plugin.load()


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge what was asked for; print the survivors.

    Returns 1 if there are any, 2 if the tests of a module fail as it is.
    """
    parser = _options()
    asked = parser.parse_args(arguments)
    root = asked.root.resolve()
    os.chdir(root)
    sys.path[:0] = [str(root), str(root / "tests/support")]
    until = time.monotonic() + asked.seconds if asked.seconds else float("inf")
    kept = Judgements(root / ".sealtrace" / "mutants.jsonl")
    if set(asked.module or TESTS) & set(TESTS):
        _load_libraries()
    survivors = 0
    for path in asked.module or sorted(TESTS):
        tests = tuple(asked.tests or TESTS.get(path, ()))
        if not tests:
            parser.error(f"no tests are listed for {path}: name them with --tests")
        try:
            report, alive = judge_module(Module(root, path, tests), kept, asked, until)
        except TestsFail as error:
            sys.stderr.write(f"{error}\n")
            return FAILED
        sys.stdout.write(report)
        sys.stdout.flush()
        survivors += alive
    return FOUND if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
