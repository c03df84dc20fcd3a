"""Mosquitto lets in the site's certificates alone, and keeps each box to its own topics."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from film_set import FilmSet
from puppet_box import PuppetBox, person, slots_ago
from running_site import RunningSite
from throwaway_ca import ThrowawayCa
from waiting import wait_for

from demo.wiretap import Wiretap
from protocol.names import (
    CameraAddress,
    box_health_topic,
    day_keys_topic,
    directory_topic,
    notice_topic,
)
from runtime.config import MqttConfig, TlsConfig
from runtime.mqtt import MqttError, PublishFailed, Session

pytestmark = pytest.mark.mosquitto


@pytest.fixture(scope="module")
def site(mosquitto_film_set: FilmSet) -> Iterator[RunningSite]:
    """The site with Mosquitto; its boxes have done their work and make room for tests."""
    site = mosquitto_film_set.site
    for box in ("box-1", "box-2", "box-3"):
        site.local.services[box].stop()
    yield site


def why_not(config: MqttConfig, name: str) -> str:
    """Try to connect; return why it does not succeed (empty if it does)."""
    session = Session(config, client_id=name, backoff_s=(0.05, 0.1))
    session.start()
    try:
        wait_for(lambda: session.connected or session.down_reason, "an answer of the broker")
        return "" if session.connected else session.down_reason
    finally:
        session.stop()


def test_a_client_without_a_certificate_is_refused(site: RunningSite) -> None:
    plain = MqttConfig(host="localhost", port=site.plan.broker.port)
    assert why_not(plain, "box-1")


def test_a_certificate_of_another_ca_is_refused(site: RunningSite, tmp_path: Path) -> None:
    theirs = ThrowawayCa(tmp_path / "ca").issue("box-1")
    ours = site.tls("box-1")
    mixed = TlsConfig(ca=ours.ca, certificate=theirs.certificate, private_key=theirs.private_key)
    assert why_not(MqttConfig(host="localhost", port=site.plan.broker.port, tls=mixed), "box-1")
    assert why_not(site.mqtt("box-1"), "box-1") == ""


def test_old_tls_is_refused(site: RunningSite) -> None:
    tls = site.tls("box-1")
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.load_cert_chain(tls.certificate, tls.private_key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", site.plan.broker.port), 10) as plain,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(plain, server_hostname="localhost"),
    ):
        pass


@pytest.mark.parametrize(
    "topic",
    [
        CameraAddress("demo", "box-2", "cam-2").topic("envelope"),
        CameraAddress("demo", "box-2", "cam-2").topic("epoch"),
        box_health_topic("demo", "box-2"),
        CameraAddress("demo", "box-1", "cam-1").topic("receipt"),
        directory_topic("demo"),
        directory_topic("demo", 2),
        day_keys_topic("demo", "c1"),
        day_keys_topic("demo", "c1", 2),
        notice_topic("demo"),
        "elsewhere",
    ],
)
def test_a_box_cannot_publish_what_is_not_its_own(site: RunningSite, topic: str) -> None:
    with PuppetBox(site, "box-1") as box:
        before = site.stored("cam-2"), site.rejects("box-2")
        with pytest.raises(PublishFailed, match="refused"):
            box.publish_at(topic, b"anything")
        assert (site.stored("cam-2"), site.rejects("box-2")) == before


def test_a_box_publishes_its_own(site: RunningSite) -> None:
    stored = len(site.stored("cam-1"))
    with PuppetBox(site, "box-1") as box:
        box.sequence = max(n.sequence for n in site.numbered("cam-1")) + 1
        box.generation += 1_000_000
        box.show(slots_ago(2), person(1))
        site.wait_stored("cam-1", stored + 1)


def hears(site: RunningSite, name: str, act: Callable[[], None], until: str) -> set[str]:
    """Subscribe to everything as ``name``; act; return the topics heard once ``until`` is."""
    tap = Wiretap(site.mqtt(name))
    tap.start()
    try:
        act()
        wait_for(lambda: tap.messages(until), f"{name} to hear {until}")
        return {message.topic for message in tap.messages()}
    finally:
        tap.stop()


def test_a_box_hears_what_is_meant_for_it_alone(site: RunningSite) -> None:
    def others_speak() -> None:
        with PuppetBox(site, "box-2") as other:
            other.sequence = max(n.sequence for n in site.numbered("cam-2")) + 1
            other.generation += 1_000_000
            stored = len(site.stored("cam-2"))
            other.show(slots_ago(2), person(2))
            site.wait_stored("cam-2", stored + 1)

    heard = hears(site, "box-1", others_speak, "/receipt")
    of_boxes = {topic for topic in heard if "/box-" in topic}
    assert "st/v1/demo/box-1/cam-1/receipt" in of_boxes
    assert of_boxes <= {f"st/v1/demo/box-1/cam-1/{what}" for what in ("receipt", "hours")}
    for form in (1, 2):
        assert directory_topic("demo", form) in heard
        assert day_keys_topic("demo", "c2", form) in heard
    assert notice_topic("demo") in heard


def test_an_officers_certificate_is_no_box(site: RunningSite) -> None:
    topic = CameraAddress("demo", "box-1", "cam-1").topic("epoch")
    with Session(site.mqtt("ana"), client_id="ana") as session:
        assert session.wait_connected(60)
        with pytest.raises(PublishFailed, match="refused"):
            session.publish_and_wait(topic, b"anything")


def test_a_boxs_certificate_opens_no_http_door(site: RunningSite) -> None:
    assert site.problem("box-1", "aggregator", "/v1/queries", b"\x00") == "not-an-officer"
    assert site.problem("box-1", "c1", "/v1/grants", b"\x00") == "duty-required"


def test_a_revoked_box_is_out_of_the_broker_at_once(site: RunningSite) -> None:
    with PuppetBox(site, "box-4") as box:
        box.report()
        site.command(
            "box", "revoke", str(site.local.paths.root), "box-4", "--push",
            "--officer", str(site.local.officer("eve")),
        )  # fmt: skip
        wait_for(lambda: is_refused(box), "the broker to refuse the revoked box")
    assert why_not(site.mqtt("box-4"), "box-4")
    assert why_not(site.mqtt("box-2"), "box-2") == ""


def is_refused(box: PuppetBox) -> bool:
    try:
        box.report()
    except MqttError:
        return True
    return False
