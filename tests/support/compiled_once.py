"""Has workers compile a part of all modules each, instead of each worker all of them.

In a fresh checkout nothing is compiled, and workers that collect the same files begin together:
each would rewrite the assertions of all tests, 18 s of a processor. Where something is compiled
already, it is left alone; where Python or pytest write no bytecode, nothing is done.
"""

from __future__ import annotations

import importlib.util
import py_compile
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest.assertion import rewrite

_FIRST_WORKER = "gw"


def compile_share(config: pytest.Config) -> None:
    """Compile what falls to this worker; nothing where there are no workers.

    Args:
        config: of a worker of pytest-xdist.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode:
        return
    number, of = int(worker["workerid"].removeprefix(_FIRST_WORKER)), int(worker["workercount"])
    for path in list(_modules(config.rootpath))[number::of]:
        with suppress(OSError, SyntaxError, py_compile.PyCompileError):  # said where it is imported
            if path.name.startswith("test_") or path.name == "conftest.py":
                _rewrite(path, config)
            elif not Path(importlib.util.cache_from_source(str(path))).exists():
                py_compile.compile(str(path), doraise=True)


def _modules(root: Path) -> Iterator[Path]:
    """Yield the tests, and the packages that they test."""
    for folder in sorted(root.iterdir()):
        if (folder / "__init__.py").exists() or folder.name == "tests":
            yield from sorted(folder.rglob("*.py"))


def _rewrite(path: Path, config: pytest.Config) -> None:
    """Do what pytest does when it imports a file of tests, up to importing it."""
    library: Any = rewrite
    state = config.stash[library.assertstate_key]
    folder = library.get_cache_dir(path)
    compiled = folder / f"{path.stem}{library.PYC_TAIL}"
    if compiled.exists() or not library.try_makedirs(folder):
        return
    found, code = library._rewrite_test(path, config)
    library._write_pyc(state, code, found, compiled)
