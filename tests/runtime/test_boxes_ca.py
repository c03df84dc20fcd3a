"""The boxes' CA, whose key is on the network, can make boxes and nobody else, whatever it signs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI, Request
from throwaway_ca import ThrowawayCa
from waiting import wait_for

from protocol.signing import SigningKey
from provisioning.box.firstboot import est_client
from provisioning.formats.claimfile import ClaimFile
from runtime.config import MqttConfig, TlsConfig
from runtime.http import (
    PeerUnreachable,
    Ready,
    client,
    install_problem_handlers,
    peer_of,
    serve,
)
from runtime.lifecycle import Stop
from runtime.mqtt import Session
from runtime.tls import BOXES_CA

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def boxes_ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    """A CA of the boxes' CA's name, in the hands of whoever took its key."""
    return ThrowawayCa(tmp_path_factory.mktemp("boxes-ca"), BOXES_CA)


@pytest.fixture(scope="module")
def both(
    authority: ThrowawayCa, boxes_ca: ThrowawayCa, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What everybody trusts: both CAs (of a real site: their common root)."""
    path = tmp_path_factory.mktemp("both") / "ca.pem"
    path.write_bytes(b"".join((ca.folder / "ca.pem").read_bytes() for ca in (authority, boxes_ca)))
    return path


def trusting(tls: TlsConfig, ca: Path) -> TlsConfig:
    return tls.model_copy(update={"ca": ca})


@contextmanager
def served(tls: TlsConfig) -> Iterator[str]:
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/officer")
    def officer(request: Request) -> str:
        return peer_of(request)

    @app.get("/box")
    def box(request: Request) -> str:
        return peer_of(request, boxes=True)

    stop, ready = Stop(), Ready()
    thread = threading.Thread(
        target=serve, args=(app, "127.0.0.1", 0, tls, stop), kwargs={"ready": ready}
    )
    thread.start()
    try:
        yield f"https://localhost:{ready.wait(DEADLINE_S)}"
    finally:
        stop.set("test over")
        thread.join(DEADLINE_S)


@pytest.mark.parametrize("name", ["ana", "aggregator", "c1", "registrar", "box-1"])
def test_a_certificate_of_the_boxes_ca_opens_only_doors_for_boxes(
    authority: ThrowawayCa, boxes_ca: ThrowawayCa, both: Path, name: str
) -> None:
    true, false = authority.issue(name), boxes_ca.issue(name)
    with served(trusting(authority.issue("server"), both)) as url:
        with client(url, trusting(true, both), DEADLINE_S) as one:
            assert one.get("/officer").json() == name
        with client(url, trusting(false, both), DEADLINE_S) as one:
            answer = one.get("/officer")
            assert (answer.status_code, answer.json()["type"].rsplit(":", 1)[-1]) == (
                403,
                "box-certificate",
            )
            assert one.get("/box").json() == name


def test_no_client_takes_a_certificate_of_the_boxes_ca_for_a_server(
    authority: ThrowawayCa, boxes_ca: ThrowawayCa, both: Path
) -> None:
    ours = trusting(authority.issue("ana"), both)
    with (
        served(trusting(boxes_ca.issue("server"), both)) as url,
        client(url, ours, DEADLINE_S) as one,
        pytest.raises(PeerUnreachable, match="not acceptable"),
    ):
        one.get("/officer")


def test_a_blank_box_takes_no_certificate_of_the_boxes_ca_for_headquarters(
    boxes_ca: ThrowawayCa, both: Path
) -> None:
    with served(trusting(boxes_ca.issue("server"), both)) as url:
        claim = ClaimFile(
            site="demo",
            box="box-7",
            url=url,
            authority="ab" * 32,
            claim="cd" * 32,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
            ca=both.read_text(),
        )
        with pytest.raises(PeerUnreachable, match="not a server's"):
            est_client.join(
                claim, SigningKey.generate("box-7"), ec.generate_private_key(ec.SECP256R1())
            )


@pytest.mark.mosquitto
def test_nobody_takes_a_certificate_of_the_boxes_ca_for_the_broker(
    authority: ThrowawayCa,
    boxes_ca: ThrowawayCa,
    both: Path,
    mosquitto_with: Callable[[str], Any],
) -> None:
    server = boxes_ca.issue("broker")
    broker = mosquitto_with(
        f"cafile {both}\ncertfile {server.certificate}\nkeyfile {server.private_key}\n"
        "require_certificate true\nuse_identity_as_username true\nallow_anonymous false\n"
    )
    config = MqttConfig(
        host="localhost", port=broker.port, tls=trusting(authority.issue("box-1"), both)
    )
    session = Session(config, client_id="box-1", backoff_s=(0.02, 0.1))
    session.start()
    try:
        reason = wait_for(lambda: session.down_reason or session.connected, "an answer")
        assert "not a server's" in str(reason)
    finally:
        session.stop()
