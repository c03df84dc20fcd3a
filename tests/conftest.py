"""For all tests: what `make setup` fetched (missing means failing); no test has a deadline.

A test of real processes that fails is tried once more, and named (``R`` in the summary): beside two
workers of other such tests a process can be starved. Whatever fails twice fails, and the summary
tells how the first try failed.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest
from compiled_once import compile_share
from cost_report import CostReport
from process_watch import MARKER, ProcessWatch, mark_implied
from restored_logs import RestoredLogs
from second_tries import SecondTries
from side_by_side import in_order, only_shares_out, scheduler
from unchanged import LEFT_OUT, REMEMBER, Unchanged

_STATE = Path(__file__).resolve().parent.parent / ".sealtrace"
_SYSTEM = Path(__file__).resolve().parent / "system"
_PASSED = _STATE / "passed.json"


def pytest_configure(config: pytest.Config) -> None:
    """Watch who starts processes; tell what was slow."""
    quick = _is_quick(config)
    config.pluginmanager.register(ProcessWatch(forbids=quick))
    config.pluginmanager.register(CostReport(quick=quick))
    config.pluginmanager.register(RestoredLogs())
    config.pluginmanager.register(SecondTries())
    if quick:  # a machine's hundred authorities take 50 ms a client that names none of its own
        os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull
    if quick and os.environ.get(REMEMBER) and not hasattr(config, "workerinput"):
        unchanged = Unchanged(config.rootpath, _PASSED)
        config.pluginmanager.register(unchanged)
        os.environ[LEFT_OUT] = "\n".join(sorted(unchanged.left_out))
    if not only_shares_out(config):
        compile_share(config)
        _prepare_libraries(quick=quick)


def _prepare_libraries(*, quick: bool) -> None:
    """Load and prepare libraries where tests run; who only shares tests out needs none."""
    from cheap_libraries import draw_few_halves, make_cheap
    from examples import load_profile
    from warm_start import start_warm

    from runtime.process import silence_libraries

    silence_libraries()
    make_cheap()
    if quick:
        draw_few_halves()
    else:
        start_warm()
    load_profile()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what is left out: what needs processes, what passed and is unchanged."""
    if not _is_quick(config):
        return None
    if collection_path == _SYSTEM or _is_left_out(collection_path, config.rootpath):
        return True
    return None


def _is_left_out(path: Path, root: Path) -> bool:
    left_out = os.environ.get(LEFT_OUT, "").splitlines()
    return bool(left_out) and str(path.relative_to(root)) in left_out


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where tests run side by side, share out whole files, and begin with what takes longest."""
    mark_implied(items)
    for item in items:
        if "model_bundle_path" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.models)
    if hasattr(config, "workerinput"):
        items[:] = in_order(items)


def pytest_collection_finish() -> None:
    """Collect garbage that tests make, not what was imported for them."""
    gc.freeze()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share out whole files, and all that use one site as one."""
    return scheduler(config, log)


def _is_quick(config: pytest.Config) -> bool:
    return f"not {MARKER}" in config.option.markexpr


def _set_up(path: Path, probe: str) -> Path:
    if not (path / probe).is_file():
        pytest.fail(f"{path / probe} is missing: run `make setup` first", pytrace=False)
    return path


@pytest.fixture(scope="session")
def model_bundle_path() -> Path:
    """The folder of the signed model bundle."""
    return _set_up(_STATE / "models", "manifest.sig")


@pytest.fixture(scope="session")
def model_bundle_key(model_bundle_path: Path) -> bytes:
    """The public key (32 bytes) that signed the bundle, as `load_bundle` wants it."""
    keys = _set_up(_STATE / "keys", "model-signer.pub")
    return bytes.fromhex((keys / "model-signer.pub").read_text())


@pytest.fixture(scope="session")
def photos_path() -> Path:
    """The folder of the free photographs."""
    return _set_up(_STATE / "photos", "astronaut.png")
