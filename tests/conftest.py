"""For all tests: what `make setup` fetched (missing means failing); no test has a deadline."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cost_report import CostReport
from hypothesis import settings
from process_watch import MARKER, ProcessWatch, mark_implied

from runtime.process import silence_libraries

silence_libraries()

settings.register_profile("no-deadline", deadline=None)  # no test asserts a time
settings.register_profile("few", deadline=None, max_examples=10, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "no-deadline"))

_STATE = Path(__file__).resolve().parent.parent / ".sealtrace"


_SITES = ("film_set", "mosquitto_film_set", "quiet_site")
"""Fixtures for the whole session that take a minute to set up: each in one worker alone."""


def pytest_configure(config: pytest.Config) -> None:
    """Watch who starts processes; tell what was slow."""
    quick = f"not {MARKER}" in config.option.markexpr
    config.pluginmanager.register(ProcessWatch(forbids=quick))
    config.pluginmanager.register(CostReport())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where tests run side by side, share out whole files, and begin with what takes longest."""
    mark_implied(items)
    for item in items:
        if "model_bundle_path" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.models)
    if not hasattr(config, "workerinput"):
        return
    groups = {item.path: "/".join(item.path.parts[-2:]) for item in items}
    for item in items:
        if groups[item.path] not in _SITES:
            groups[item.path] = _site_of(item) or groups[item.path]
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item.path]))
    items.sort(
        key=lambda item: (groups[item.path] not in _SITES, not _is_system(item), groups[item.path])
    )


def _site_of(item: pytest.Item) -> str | None:
    """Return the group of tests that share a site: both film sets are of one, for tests of both."""
    chosen = getattr(getattr(item, "callspec", None), "params", {}).values()
    asked = {*getattr(item, "fixturenames", ()), *(one for one in chosen if isinstance(one, str))}
    if asked & {"film_set", "mosquitto_film_set"}:
        return "film_set"
    return "quiet_site" if "quiet_site" in asked else None


def _is_system(item: pytest.Item) -> bool:
    return "system" in item.path.parts


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
