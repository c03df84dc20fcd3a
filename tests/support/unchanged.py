"""Leaves out of `make check` what passed before, where nothing that it reaches has changed since.

A file of tests reaches what it imports, wherever that stands, what this imports, modules that a
text in it names, the `conftest.py` of its folders, and each file that is no code of the packages it
reaches and of tests. One that looks at the project's own files (``parents[2]``, ``docs`` or the
like stands in it, or in helpers of its own) reaches all.
What passed is remembered under the digest of all that, the locked dependencies and the interpreter.
Where git does not say which files there are, everything runs.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

REMEMBER, LEFT_OUT = "SEALTRACE_REMEMBER", "SEALTRACE_LEFT_OUT"
_BESIDE = ("tests/support", "tests/fuzz")
_FOR_ALL = ("requirements.lock", "pyproject.toml", "tests/support/unchanged.py")
_LOOKS_AROUND = re.compile(
    r"parents\[(?!1\])|\.parent\.parent\.parent|\w\.__file__|__path__|pkgutil|ls-files|find_spec"
    r"|\bdocs\b|\bREADME\b|\bpyproject\b|\bchdir\b|Path\((\"\.?\")?\)|\bcwd\b"
)
_REACH_NOTHING = frozenset({"tests/support/side_by_side.py", "tests/support/warm_server.py"})
"""All tests begin with these, which name fixtures and commands and use none of them themselves."""
_KEPT = 4


class Project:
    """The files of the project, and which of them each file of tests reaches.

    Args:
        root: its folder.
        files: paths from there.
        read_before: imports by the digest of a module, as `read` had them.
    """

    def __init__(
        self, root: Path, files: Iterable[str], read_before: Mapping[str, list[str]]
    ) -> None:
        self.digests = {
            path: hashlib.sha256((root / path).read_bytes()).hexdigest()
            for path in sorted(files)
            if (root / path).is_file()
        }
        self._root, self._before = root, read_before
        self.read: dict[str, list[str]] = {}
        self._found: dict[str, list[str]] = {}
        self._looks: dict[str, bool] = {}
        self._modules = {_module(path): path for path in self.digests if path.endswith(".py")}
        self._commands = re.findall(r'"([\w.]+):\w+"', self._text("pyproject.toml"))

    @property
    def tests(self) -> list[str]:
        """The files of tests."""
        return [
            path
            for path in self.digests
            if path.startswith("tests/") and Path(path).name.startswith("test_")
        ]

    def key(self, path: str) -> str:
        """Return the digest of all that a file of tests reaches."""
        folders = [str(folder / "conftest.py") for folder in Path(path).parents]
        own = self._reached([path])
        reached = own | self._reached([one for one in folders if one in self.digests])
        if any(self._looks_around(one) for one in own if one.startswith("tests/")):
            listed = sorted(self.digests)
        else:
            tops = {one.partition("/")[0] for one in reached} | {"tests"}
            data = {p for p in self._data if p.partition("/")[0] in tops}
            listed = sorted(reached | data | set(_FOR_ALL))
        text = "\n".join([sys.version, *(f"{one} {self.digests.get(one)}" for one in listed)])
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _data(self) -> list[str]:
        return [path for path in self.digests if not path.endswith(".py")]

    def _reached(self, begun: list[str]) -> set[str]:
        reached: set[str] = set()
        left = begun
        while left:
            path = left.pop()
            if path not in reached:
                reached.add(path)
                left += [self._modules[name] for name in self._imports(path)]
        return reached

    def _imports(self, path: str) -> list[str]:
        if path in self._found:
            return self._found[path]
        if path in _REACH_NOTHING:
            return []
        digest = self.digests[path]
        if digest not in self.read:
            names = self._before.get(digest)
            self.read[digest] = _names(self._text(path)) if names is None else names
        found = {
            part
            for name in self.read[digest]
            for part in _with_parents(_absolute(name, path) if name.startswith(".") else name)
        }
        if path == "sealtrace/command.py":  # it finds commands by their names
            found.update(part for name in self._commands for part in _with_parents(name))
        self._found[path] = [name for name in found if name in self._modules]
        return self._found[path]

    def _looks_around(self, path: str) -> bool:
        if path not in self._looks:
            self._looks[path] = _LOOKS_AROUND.search(self._text(path)) is not None
        return self._looks[path]

    def _text(self, path: str) -> str:
        found = self._root / path
        return found.read_text("utf-8") if found.is_file() else ""


class Unchanged:
    """A plugin of pytest, for whoever shares out the tests, or runs them alone.

    Args:
        root: the project's folder.
        memory: the file that remembers what passed.
    """

    def __init__(self, root: Path, memory: Path) -> None:
        self._memory = memory
        told = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"],
            cwd=root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        known = _remembered(memory)
        self._known: dict[str, list[str]] = known.get("passed", {})
        self._project = Project(root, told.stdout.split("\0")[:-1], known.get("imports", {}))
        self._keys = {path: self._project.key(path) for path in self._project.tests}
        self.left_out = {
            path for path, key in self._keys.items() if key in self._known.get(path, ())
        }
        self._ran: set[str] = set()
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note which files ran, and which of them failed."""
        self._ran.add(report.location[0])
        if report.failed:
            self._failed.add(report.location[0])

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Remember the others, if none was broken off or could not be read."""
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.left_out:
            session.exitstatus = pytest.ExitCode.OK
        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return
        passed = {
            path: [self._keys[path], *self._known.get(path, [])][:_KEPT]
            for path in self._ran - self._failed
            if path in self._keys
        }
        text = json.dumps({"passed": self._known | passed, "imports": self._project.read})
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        new = self._memory.with_suffix(f".{os.getpid()}")
        new.write_text(text)
        new.replace(self._memory)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what did not run."""
        terminalreporter.line(
            f"{len(self.left_out)} of {len(self._keys)} files of tests passed before and reach "
            "nothing that changed; `make check ALL=1` runs them too"
        )


def _module(path: str) -> str:
    for folder in _BESIDE:
        path = path.removeprefix(f"{folder}/")
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _absolute(name: str, path: str) -> str:
    """Return the name of what a module imports by dots."""
    dots = len(name) - len(name.lstrip("."))
    return ".".join([*Path(path).parts[:-dots], name[dots:]])


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: at + 1]) for at in range(len(parts))]


def _names(text: str) -> list[str]:
    """Return what a module imports or names, also what is none; not what other processes run."""
    names: set[str] = set()
    nodes = list(ast.walk(ast.parse(text)))
    started = {
        id(after)
        for node in nodes
        if isinstance(node, ast.List | ast.Tuple)
        for before, after in itertools.pairwise(node.elts)
        if isinstance(before, ast.Constant) and before.value == "-m"
    }
    for node in nodes:
        match node:
            case ast.Import():
                names.update(one.name for one in node.names)
            case ast.ImportFrom(module=module, level=level):
                begin = "." * level + (f"{module}." if module else "")
                names.update(f"{begin}{one.name}" for one in node.names)
            case ast.Constant(value=str(value)) if id(node) not in started:
                if re.fullmatch(r"[a-z_][\w.]*(:\w+)?", value):
                    names.add(value.partition(":")[0])
    return sorted(names)


def _remembered(memory: Path) -> dict[str, Any]:
    try:
        found = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
