"""Real processes and a real Mosquitto: who joins is known everywhere, who is revoked nowhere."""

from __future__ import annotations

import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest
from waiting import wait_for

from demo.local_site import CUSTODIANS, LocalSite, plan_of
from demo.processes import run_command, sealtrace
from edge_agent.config import load_box
from edge_agent.identity import load_board_key
from protocol.admissions import ADMISSIONS_KIND, Admissions
from protocol.signing import Signed
from protocol.telemetry import ONLINE, Health
from provisioning.box.firstboot import steps
from provisioning.box.firstboot.install import Folder
from provisioning.box.firstboot.keys import FileKeys
from runtime.config import TlsConfig
from runtime.http import client
from runtime.mqtt import Session

pytestmark = [
    pytest.mark.system,
    pytest.mark.mosquitto,
    pytest.mark.skipif(
        shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None,
        reason="Mosquitto is not installed (Debian: apt install mosquitto)",
    ),
]
Connect = Callable[..., AbstractContextManager[Any]]
WITHIN_S = 60.0
_NOBODY = "No matching subscribers"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    plan = plan_of({"cam-1": {"source": "file:none.mp4"}}, bundle=None, broker="mosquitto")
    made = LocalSite.create(plan, tmp_path_factory.mktemp("everyone"))
    try:
        made.start("broker", *CUSTODIANS, "aggregator", "registrar")
        yield made
    finally:
        made.stop()


def command(site: LocalSite, *arguments: str) -> str:
    done = run_command(
        sealtrace(*arguments), folder=site.folder, environment=site.environment, expect=0
    )
    return done.stdout


def join(site: LocalSite, name: str, camera: str) -> Folder:
    """Claim at headquarters, join at the camera."""
    root = site.paths.root
    command(site, "box", "claim", str(root), name, "--camera", f"{camera}=rtsp://10.0.0.7/s1")
    folder, claim = steps.begin(site.folder / "at" / name, site.folder / f"{name}.claim.toml")
    steps.join(folder, claim, FileKeys(folder.path))
    return folder


def wait_until_everyone_has(site: LocalSite, version: int, *but: str) -> None:
    def has(name: str) -> bool:
        events = site.services[name].events("directory_accepted")
        return any(int(str(event["admissions"])) >= version for event in events)

    for name in (*CUSTODIANS, "aggregator"):
        if name not in but:
            wait_for(partial(has, name), f"{name}", timeout_s=WITHIN_S)


def health(folder: Folder) -> tuple[str, bytes]:
    config = load_box(folder.box_toml)
    report = Health("demo", config.box, ONLINE, time.time_ns() // 1_000_000, "1", {})
    return f"st/v1/demo/{config.box}/health", report.sign(load_board_key(config)).to_bytes()


def asked(site: LocalSite, path: str) -> Any:
    """What the aggregator answers the registrar."""
    tls = site.paths.registrar.parent / "tls"
    config = TlsConfig(
        ca=tls / "ca.pem", certificate=tls / "certificate.pem", private_key=tls / "private-key.pem"
    )
    with client(site.plan.aggregator.url, config) as http:
        return http.get(path).json()


def last_seen(site: LocalSite, box: str) -> Any:
    rows = {row["box"]: row for row in asked(site, "/v1/boxes")}
    return rows.get(box, {}).get("last_seen_ms")


def test_an_admitted_box_is_taken_in_and_a_revoked_one_refused_by_all_within_a_minute(
    site: LocalSite, mqtt_client: Connect
) -> None:
    folder = join(site, "box-7", "door")
    wait_until_everyone_has(site, 1)
    port = site.plan.broker.port
    with mqtt_client(port, folder.path) as box:
        topic, report = health(folder)
        assert box.publish(topic, report, retain=True) == "Success"
        wait_for(lambda: last_seen(site, "box-7"), "the aggregator to see it")
        box.subscribe("st/v1/demo/admissions")
        relayed = Signed.parse(box.wait_for("message").payload, kind=ADMISSIONS_KIND)
        assert "box-7" in Admissions.parse(relayed.payload).boxes
        listed = command(site, "box", "list", str(site.paths.registrar.parent), "--live")
        assert "box-7" in listed and "online" in listed

        film = "st/v1/demo/box-7/film-1/epoch"
        assert box.publish(film) == "Not authorized"
        given = ("box", "recordings", str(site.paths.root), "box-7", "--camera", "film-1", "--push")
        assert "may import films of film-1: directory version 2" in command(site, *given)
        wait_for(
            lambda: box.publish(film) in {"Success", _NOBODY},
            "the broker to let the box bring films",
            timeout_s=WITHIN_S,
        )

        site.services["c3"].stop()  # it must hear of it later
        told = command(site, "box", "revoke", str(site.paths.root), "box-7")
        assert "box-7 is revoked" in told and "✗ c3" in told
        wait_for(
            lambda: box.publish(topic, report) == "Not authorized",
            "the broker to refuse the connected box",
            timeout_s=WITHIN_S,
        )
    with pytest.raises((ConnectionError, ssl.SSLError)), mqtt_client(port, folder.path):
        pass
    wait_until_everyone_has(site, 2, "c3")
    site.start("c3")
    wait_until_everyone_has(site, 2)
    with mqtt_client(port, site.paths.box("box-1").parent) as other:
        assert other.publish("st/v1/demo/box-1/health") in {"Success", _NOBODY}
    assert site.plan.registrar is not None
    with client(site.plan.registrar.url, folder.tls(FileKeys(folder.path))) as http:
        assert http.get("/v1/box/configuration").status_code == 403


def test_a_revocation_outlives_a_restart_of_everything(
    site: LocalSite, mqtt_client: Connect
) -> None:
    folder = join(site, "box-8", "yard")
    wait_for(lambda: "yard" in str(asked(site, "/v1/cameras")), "the aggregator to know it")
    command(site, "box", "revoke", str(site.paths.registrar.parent), "box-8")
    for name in ("broker", "aggregator", "registrar", "c1"):
        site.services[name].stop()
    command(site, "site", "update", str(site.paths.root))  # must not take anything back
    site.start("broker", "c1", "aggregator", "registrar")
    with (
        pytest.raises((ConnectionError, ssl.SSLError)),
        mqtt_client(site.plan.broker.port, folder.path),
    ):
        pass
    assert "yard" not in str(asked(site, "/v1/cameras"))


def test_a_running_session_takes_the_renewed_certificate_when_it_connects_again(
    site: LocalSite,
) -> None:
    """Told apart by name: another box's certificate is put in the place of the first."""
    first, second = join(site, "box-10", "gate"), join(site, "box-11", "hall")
    config = load_box(first.box_toml)
    outcomes: list[str] = []
    with Session(config.mqtt, client_id="box-10") as session:
        assert session.wait_connected(60)
        for name in ("certificate.pem", "private-key.pem"):
            shutil.copy(second.path / "tls" / name, first.path / "tls" / name)
        site.services["broker"].stop()
        site.start("broker")
        wait_for(lambda: session.connections == 2 and session.connected, "a second connection")
        session.publish(
            "st/v1/demo/box-11/health",
            b"x",
            on_done=lambda outcome: outcomes.append(outcome.result),
        )
        wait_for(lambda: outcomes, "the broker's answer")
    assert outcomes == ["acknowledged"]
