"""Custodians in this process, on throw-away state and with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from custodian_site import CHEAP, PASSPHRASE, Make, Time, close, write_config
from laid_down import lay_custodian
from throwaway_ca import ThrowawayCa

from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from runtime.config import load


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def make(tmp_path: Path, ca: ThrowawayCa, time: Time) -> Iterator[Make]:
    """Open custodians by name; they are closed at the end. ``again=True`` opens as after a stop."""
    running: list[Custodian] = []

    def build(name: str = "c1", *, again: bool = False, **how: object) -> Custodian:
        path = tmp_path / name / "custodian.toml"
        if not again:
            path = write_config(tmp_path / name, name, ca, **how)  # type: ignore[arg-type]
            lay_custodian(path.parent / "state")
        made = Custodian(load(path, CustodianConfig), PASSPHRASE, machine=time.clocks, cost=CHEAP)
        running.append(made)
        return made

    yield build
    for custodian in running:
        close(custodian)
