"""A whole small site on disk, which tests of the commands over all roles look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from demo.local_site import PASSPHRASE, plan_of
from provisioning.authority import create_site
from provisioning.formats.layout import SitePaths

SOURCE = "rtsp://admin:geheim@127.0.0.1:9/1"


@pytest.fixture(scope="session")
def made_site(tmp_path_factory: pytest.TempPathFactory) -> SitePaths:
    plan = plan_of({"cam-1": {"source": SOURCE}}, bundle=None)
    return create_site(plan, tmp_path_factory.mktemp("made") / "site", PASSPHRASE.encode())


@pytest.fixture
def site(made_site: SitePaths, tmp_path: Path) -> SitePaths:
    """A site that the test may change."""
    return SitePaths(Path(shutil.copytree(made_site.root, tmp_path / "site", symlinks=True)))
