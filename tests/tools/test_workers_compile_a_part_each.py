"""Workers that begin together in a fresh checkout compile a part of all modules each."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compiled_once import compile_share

MODULES = ("role/__init__.py", "role/one.py", "tests/test_a.py", "tests/test_b.py")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    for name in (*MODULES, "notes/other.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("def test_it() -> None:\n    assert 1 == 1\n")
    return tmp_path


@pytest.fixture
def share(checkout: Path, request: pytest.FixtureRequest) -> Any:
    """Compile what falls to a worker of two."""

    def compiled(worker: str | None) -> None:
        given = {"workerid": worker, "workercount": 2}
        config: Any = SimpleNamespace(rootpath=checkout, stash=request.config.stash)
        config.getini = request.config.getini
        if worker is not None:
            config.workerinput = given
        compile_share(config)

    return compiled


def compiled_of(checkout: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in checkout.rglob("*.pyc")}


def test_two_compile_all_between_them_and_neither_what_the_other_does(
    checkout: Path, share: Any
) -> None:
    share("gw0")
    first = compiled_of(checkout)
    share("gw1")
    assert compiled_of(checkout) == {Path(name).stem for name in MODULES}
    assert len(first) == len(MODULES) / 2


def test_what_is_compiled_is_left_alone(checkout: Path, share: Any) -> None:
    there = Path(importlib.util.cache_from_source(str(checkout / "role/__init__.py")))
    there.parent.mkdir()
    there.write_bytes(b"of an earlier run")
    share("gw0")
    assert there.read_bytes() == b"of an earlier run"


def test_a_file_that_does_not_compile_is_told_of_by_who_imports_it(
    checkout: Path, share: Any
) -> None:
    (checkout / "tests/test_a.py").write_text("def")
    share("gw0")
    share("gw1")
    assert "test_b" in compiled_of(checkout)
    assert "test_a" not in compiled_of(checkout)


def test_a_run_without_workers_compiles_nothing_ahead(checkout: Path, share: Any) -> None:
    share(None)
    assert compiled_of(checkout) == set()
