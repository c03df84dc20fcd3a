"""The doctor and monitoring look at a registrar: its CA, its service, who was not told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from registrar_site import RegistrarSite, copy_of, served

from provisioning.formats.layout import SitePaths
from provisioning.registrar.doctor import examine
from provisioning.registrar.metrics import FAMILIES, metrics_of
from provisioning.registrar.publish import Publisher
from runtime.doctor import Findings, Level
from runtime.metrics import COMMON
from runtime.peers import Told


@pytest.fixture
def site(
    made_registrar_site: SitePaths, tmp_path: Path, passphrase: bytes
) -> Iterator[RegistrarSite]:
    made = copy_of(made_registrar_site, tmp_path, passphrase)
    yield made
    made.registrar.close()


def levels(site: RegistrarSite) -> dict[str, Level]:
    found = Findings()
    examine(site.paths.registrar, found)
    worst: dict[str, Level] = {}
    for one in found.found:
        worst[one.about] = max(worst.get(one.about, Level.WELL), one.level, key=list(Level).index)
    return worst


@pytest.mark.slow
def test_a_running_registrar_is_well_and_one_that_is_down_is_wrong(site: RegistrarSite) -> None:
    assert levels(site)["service"] is Level.WRONG
    with served(site.registrar):
        found = levels(site)
    well = ("service", "keys", "certificate", "boxes' CA", "enrolment.db", "directory")
    assert {name: found[name] for name in well} == dict.fromkeys(well, Level.WELL)
    assert found["aggregator"] is Level.WARNING


def test_a_ca_key_that_others_may_read_is_wrong(site: RegistrarSite) -> None:
    site.config.ca_files.key.chmod(0o640)
    assert levels(site)["keys"] is Level.WRONG


def test_boxes_are_counted_and_who_was_not_told(site: RegistrarSite) -> None:
    site.claim()
    publisher = Publisher(site.registrar, write=lambda _: Told("broker", "it is away"))
    publisher.step()
    lines = metrics_of(site.registrar, publisher).text().decode().splitlines()
    rows = (line.rsplit(" ", 1) for line in lines if line.startswith("sealtrace_"))
    told = {name: float(value) for name, value in rows}
    assert {key.partition("{")[0] for key in told} <= {one.name for one in (*COMMON, *FAMILIES)}
    assert told["sealtrace_registrar_boxes"] == 1
    assert told["sealtrace_registrar_boxes_waiting"] == 1
    assert told["sealtrace_registrar_untold"] >= 1
    assert not [key for key in told if "box-7" in key]
