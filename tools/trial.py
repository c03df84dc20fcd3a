"""Run tests in a child process against a spoilt module, or record which tests run which lines.

Nothing is written into the tree: the child imports the spoilt source in place of the module.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

from tools.mutations import Mutant

KILLED, SURVIVED, TIMED_OUT = "killed", "survived", "timed-out"
MAX_DATA_BYTES = 4 << 30
NOT_RUN = (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
"""What pytest says when it ran nothing: that is neither a killed mutant nor a survivor."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One test of a module as it is: how long it took, and the lines of the module that it ran."""

    test: str
    seconds: float
    lines: frozenset[int]


class TestsFail(Exception):
    """The tests of a module fail, or do not run, although nothing has been spoilt."""

    __test__ = False


def record(root: Path, module: str, tests: Sequence[str], *, timeout_s: float) -> list[Recorded]:
    """Run the tests of a module as it is; return them in the order in which they ran.

    Raises:
        TestsFail: one fails, none runs, or they take longer than ``timeout_s``.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "recorded.json"

        def child() -> int:
            recorder = _Recorder(str(root / module))
            code = _run_pytest(tests, [recorder])
            told.write_text(json.dumps(recorder.recorded))
            return code

        code = _in_child(child, timeout_s)
        if code != 0:
            took = "take too long" if code is None else f"fail (pytest said {code})"
            raise TestsFail(f"{module}: its tests {took} as it is; run them: {' '.join(tests)}")
        recorded: list[tuple[str, float, list[int]]] = json.loads(told.read_text())
    return [Recorded(test, seconds, frozenset(lines)) for test, seconds, lines in recorded]


def judge(
    mutant: Mutant, recorded: Sequence[Recorded], tests: Sequence[str], *, timeout_s: float
) -> str:
    """Tell what became of a mutant: first by the tests that ran its lines, the quickest first.

    If all of these pass, the others run too: what is kept between tests hides who ran a line.

    Raises:
        TestsFail: the tests did not run.
    """
    near = [r for r in recorded if not r.lines.isdisjoint(mutant.lines)]
    nearest = [r.test for r in sorted(near, key=lambda r: r.seconds)]
    others = [r.test for r in recorded if r not in near]
    for chosen in (nearest, others):
        if not chosen:
            continue
        usual_s = sum(r.seconds for r in recorded if r.test in set(chosen))

        def child(chosen: Sequence[str] = chosen) -> int:
            sys.meta_path.insert(0, _Spoilt(mutant))
            return _run_pytest(tests, [_Chosen(chosen)])

        code = _in_child(child, min(timeout_s, 30 + 5 * usual_s))
        if code is None:
            return TIMED_OUT
        if code in NOT_RUN:
            raise TestsFail(f"{mutant.module}: pytest ran nothing (it said {code})")
        if code != 0:
            return KILLED
    return SURVIVED


def _in_child(body: Callable[[], int], timeout_s: float) -> int | None:
    """Run ``body`` in a forked process; return its exit code, None if it took too long."""
    child = os.fork()
    if child == 0:
        _be_the_child(body, timeout_s)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    for kill in (os.killpg, os.kill):  # the second if it has no group of its own yet
        try:
            kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os.waitpid(child, 0)
    return None


def _be_the_child(body: Callable[[], int], timeout_s: float) -> None:
    """Run and end; never returns."""
    code = 1
    try:
        os.setsid()
        limit_s = int(timeout_s) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))  # whoever its parent is by then
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA_BYTES, MAX_DATA_BYTES))
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        code = body()
    finally:
        os._exit(code)


def _run_pytest(tests: Sequence[str], plugins: Sequence[object]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        os.environ["HYPOTHESIS_PROFILE"] = "few"
        options = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
        return int(pytest.main([*options, *tests], plugins=plugins))


class _Recorder:
    """A plugin of pytest: notes for each test its time and which lines of a file it ran."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: set[int] = set()
        self.recorded: list[tuple[str, float, list[int]]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record what runs while a test does."""
        self._lines = set()
        began = time.monotonic()
        sys.settrace(self._calls)
        threading.settrace(self._calls)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            seconds = time.monotonic() - began
            self.recorded.append((item.nodeid, seconds, sorted(self._lines)))

    def _calls(self, frame: FrameType, event: str, argument: Any) -> Any:
        del event, argument
        return self._ran if frame.f_code.co_filename == self._path else None

    def _ran(self, frame: FrameType, event: str, argument: Any) -> Any:
        del event, argument
        self._lines.add(frame.f_lineno)
        return self._ran


class _Chosen:
    """A plugin of pytest: runs these tests alone, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._order = {test: place for place, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what was not chosen."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self._order),
            key=lambda item: self._order[item.nodeid],
        )


class _Spoilt(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports the source of a mutant under the name of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = mutant.module.removesuffix(".py").replace("/", ".")
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for the module alone."""
        del path, target
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=self._mutant.module)

    def get_source(self, fullname: str) -> str:
        """Return the spoilt source."""
        del fullname
        return self._mutant.source

    def get_code(self, fullname: str) -> CodeType:
        """Return the spoilt code."""
        return compile(self.get_source(fullname), self._mutant.module, "exec")
