"""Throw-away certificates and brokers for the tests of connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import BOTH, AnyBroker, Mosquitto, mosquitto, running
from throwaway_ca import ThrowawayCa
from waiting import wait_for


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("other-ca"))


@pytest.fixture(params=BOTH)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyBroker]:
    """Each test with this fixture runs against both brokers."""
    with running(request.param, tmp_path) as one:
        yield one


@pytest.fixture
def mosquitto_with(tmp_path: Path) -> Iterator[Callable[[str], Mosquitto]]:
    """Start Mosquitto with the given lines of configuration; skipped where it is absent."""
    if mosquitto() is None:
        pytest.skip("Mosquitto is not installed")
    running: list[Mosquitto] = []

    def start(extra: str) -> Mosquitto:
        one = Mosquitto(tmp_path, extra)
        one.start()
        running.append(one)
        return one

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def until() -> Callable[..., None]:
    """Return a function that waits for a condition, for ``what``, or fails the test."""

    def wait(condition: Callable[[], object], what: str = "the condition") -> None:
        wait_for(condition, what, every_s=0.01)

    return wait
