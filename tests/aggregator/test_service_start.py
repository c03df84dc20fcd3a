"""One aggregator a state folder; a check beside a running one disturbs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config import AggregatorConfig
from aggregator.service import Aggregator, WrongIdentity, read_installed
from demo.local_site import PASSPHRASE, plan_of
from provisioning.authority import create_site
from runtime.config import load
from runtime.keyfiles import read_secret
from runtime.lifecycle import FolderInUse


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[AggregatorConfig, bytes]:
    plan = plan_of({"cam-1": {"source": "rtsp://camera.example/1"}}, bundle=None)
    paths = create_site(plan, tmp_path_factory.mktemp("made") / "site", PASSPHRASE.encode())
    config = load(paths.aggregator, AggregatorConfig)
    return config, read_secret(config.identity, PASSPHRASE.encode(), "identity")


def test_a_second_aggregator_on_the_same_state_is_turned_away(
    installed: tuple[AggregatorConfig, bytes],
) -> None:
    first = Aggregator(*installed)
    try:
        with pytest.raises(FolderInUse, match="another process"):
            Aggregator(*installed)
        assert read_installed(*installed, keep_state=False).key.signer == "aggregator"
    finally:
        first.close()
    Aggregator(*installed).close()


def test_a_check_writes_nothing(installed: tuple[AggregatorConfig, bytes], tmp_path: Path) -> None:
    config, identity = installed
    elsewhere = config.model_copy(update={"state_dir": tmp_path / "state"})
    read_installed(elsewhere, identity, keep_state=False)
    assert not (tmp_path / "state").exists()


def test_an_identity_of_another_site_is_refused(
    installed: tuple[AggregatorConfig, bytes],
) -> None:
    with pytest.raises(WrongIdentity, match="another key"):
        read_installed(installed[0], b"x" * 32, keep_state=False)
