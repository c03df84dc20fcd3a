"""A site with two Mosquittos: everybody knows both, and both know everybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from aggregator.config import AggregatorConfig
from demo.local_site import PASSPHRASE, plan_of
from edge_agent.config import BoxConfig
from provisioning.authority import SitePaths, create_site
from provisioning.authority.office import read_certificate
from provisioning.formats import pki
from provisioning.formats.plan import SitePlan
from provisioning.registrar.config import RegistrarConfig
from runtime.config import MqttConfig, load, parse, render

SECOND = {"host": "broker-2.example", "port": 9883}


def planned(**broker: object) -> SitePlan:
    plan = plan_of({"cam-1": {"source": "file:none.mp4"}}, bundle=None, broker="mosquitto")
    values = plan.model_dump(mode="json", exclude_unset=True)
    values["broker"] |= {"further": [SECOND], **broker}
    return SitePlan.model_validate(values)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> SitePaths:
    return create_site(planned(), tmp_path_factory.mktemp("two") / "site", PASSPHRASE.encode())


def addresses(mqtt: MqttConfig) -> list[tuple[str, int]]:
    return [(one.host, one.port) for one in mqtt.each][1:]


def test_boxes_and_headquarters_know_both_each_at_its_port(two: SitePaths) -> None:
    box = load(two.box("box-1"), BoxConfig)
    assert addresses(box.mqtt) == [("broker-2.example", 9883)]
    aggregator = load(two.aggregator, AggregatorConfig)
    assert addresses(aggregator.mqtt) == [("broker-2.example", 9884)]
    registrar = load(two.registrar, RegistrarConfig)
    assert [one.host for one in registrar.broker.further] == ["broker-2.example"]
    assert [one.name for one in registrar.broker.further_folders] == ["broker-2"]


def test_both_brokers_have_a_configuration_a_certificate_and_the_same_rights(
    two: SitePaths,
) -> None:
    first, second = two.brokers
    assert second.name == "broker-2"
    assert "listener 9883 0.0.0.0" in (second / "mosquitto.conf").read_text()
    assert "listener 9884 0.0.0.0" in (second / "mosquitto.conf").read_text()
    certificate = read_certificate(second / "certs" / "certificate.pem")
    assert pki.common_name(certificate) == "broker"
    for name in ("acl-boxes", "acl-headquarters", "certs/crl.pem"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert "user box-1\n" in (second / "acl-boxes").read_text()


def test_the_embedded_broker_is_alone() -> None:
    with pytest.raises(ValidationError, match="Mosquittos"):
        planned(kind="embedded", host="localhost")


def test_further_brokers_are_printed_as_they_are_read() -> None:
    one = MqttConfig.model_validate({"further": [{"host": "b", "port": 1}]})
    assert (
        parse(__import__("tomllib").loads(render(one)), MqttConfig, source="it", folder=Path())
        == one
    )
