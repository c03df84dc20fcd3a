"""A further process of the aggregator gets a name at the broker, and nobody else's rights."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from aggregator.config import AggregatorConfig
from aggregator.processes.duties import Duty
from provisioning.authority import SitePaths, open_site, site_cli
from provisioning.authority.office import read_certificate
from provisioning.authority.processes import add_process, refuse_process
from provisioning.formats import pki
from provisioning.formats.opened import SiteError
from provisioning.registrar.broker_rights import PROCESSES, Rights, process_name
from runtime.config import load


def blocks(acl: str) -> dict[str, list[str]]:
    """The rules of each user of an access list."""
    found: dict[str, list[str]] = {}
    user = ""
    for line in acl.splitlines():
        if line.startswith("user "):
            user = line.removeprefix("user ")
            found[user] = []
        elif line.startswith("topic ") and user:
            found[user].append(line)
    return found


def test_each_process_has_the_aggregators_rights_at_headquarters_listener_alone() -> None:
    names = [process_name("aggregator", number) for number in (2, 3)]
    rights = Rights("demo", "aggregator", {}, processes=names)
    rules = blocks(rights.headquarters_acl())
    assert set(rules) == {"aggregator", "aggregator-2", "aggregator-3"}
    assert rules["aggregator"] == rules["aggregator-2"] == rules["aggregator-3"]
    assert "aggregator" not in rights.boxes_acl().replace("# ", "")


def test_a_revoked_aggregator_takes_its_processes_with_it() -> None:
    rights = Rights("demo", "aggregator", {}, revoked=["aggregator"], processes=["aggregator-2"])
    text = rights.headquarters_acl()
    assert text.index("user aggregator-2\ntopic deny #\n") < text.index("topic read")


def test_a_process_gets_a_certificate_of_its_own_and_its_duties(
    site: SitePaths, passphrase: bytes
) -> None:
    add_process(site.root, 2, passphrase, duties=["ingest"], port=8451)
    config = load(site.aggregator.parent / "aggregator-2.toml", AggregatorConfig)
    assert config.processes.duties == (Duty.INGEST,)
    assert config.http.port == 8451
    assert config.mqtt.tls is not None
    assert config.tls is not None
    assert pki.common_name(read_certificate(config.mqtt.tls.certificate)) == "aggregator-2"
    assert pki.common_name(read_certificate(config.tls.certificate)) == "aggregator"
    first = load(site.aggregator, AggregatorConfig)
    assert config.identity == first.identity
    assert config.state_dir == first.state_dir
    assert "user aggregator-2\n" in (site.broker / "acl-headquarters").read_text()


@pytest.mark.parametrize("number", [1, 0, PROCESSES + 1])
def test_only_numbers_that_the_broker_knows_are_given(site: SitePaths, number: int) -> None:
    with pytest.raises(SiteError, match="from 2 to 16"):
        refuse_process(open_site(site.root), number)


def test_the_command_refuses_duties_that_there_are_not(site: SitePaths) -> None:
    arguments = ["process", str(site.root), "2", "--duty", "matching", "--port", "8451"]
    done = CliRunner().invoke(site_cli.app, arguments)
    assert done.exit_code != 0
    assert "ingest" in done.output
    assert not (site.aggregator.parent / "aggregator-2.toml").exists()
