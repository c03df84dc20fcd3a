"""For all tests: what `make setup` fetched (missing means failing); no test has a deadline."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from runtime.process import silence_libraries

silence_libraries()

settings.register_profile("no-deadline", deadline=None)  # no test asserts a time
settings.register_profile("few", deadline=None, max_examples=10, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "no-deadline"))

_STATE = Path(__file__).resolve().parent.parent / ".sealtrace"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest where tests run side by side."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: "system" not in item.path.parts)


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
