"""A new site is whole: every role's folder works with that role's own code, or nothing is there."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.config import AggregatorConfig
from custodian.config import CustodianConfig
from edge_agent.config import BoxConfig
from protocol import hpke
from protocol.directory import AGGREGATOR, APPROVER, AUDITOR, BOX, CUSTODIAN, INVESTIGATOR
from protocol.signing import SigningKey
from provisioning.authority import SiteError, SitePaths, SitePlan, create_site, open_site
from provisioning.authority.inspect import inspect_site
from provisioning.authority.policy_text import floors_of
from runtime.bundle import load_bundle
from runtime.config import TlsConfig, load
from runtime.keyfiles import WrongPassphrase, is_sealed, read_secret
from runtime.officer import OfficerConfig
from runtime.tls import client_context, common_name, server_context

MakePlan = Callable[..., SitePlan]


def test_the_directory_lists_everyone_with_their_duty(made_site: SitePaths) -> None:
    directory = open_site(made_site.root).directory
    assert (directory.site, directory.version, directory.threshold) == ("demo", 1, 2)
    held = {duty: [p.name for p in directory.with_duty(duty)] for duty in _DUTIES}
    assert held == {
        CUSTODIAN: ["c1", "c2", "c3"],
        AGGREGATOR: ["aggregator"],
        INVESTIGATOR: ["ana"],
        APPROVER: ["bo", "cy"],
        AUDITOR: ["eve"],
        BOX: ["box-1", "box-2"],
    }
    assert directory.require("c2", CUSTODIAN).url == "https://localhost:8442"
    assert directory.box_of_camera("cam-2").name == "box-2"


def test_every_role_reads_its_own_file(made_site: SitePaths) -> None:
    authority = open_site(made_site.root).authority
    custodian = load(made_site.custodian("c1"), CustodianConfig)
    aggregator = load(made_site.aggregator, AggregatorConfig)
    officer = load(made_site.officer("ana"), OfficerConfig)
    box = load(made_site.box("box-1"), BoxConfig)
    assert (custodian.name, custodian.http.port) == ("c1", 8441)
    assert (aggregator.http.host, aggregator.mqtt.port) == ("127.0.0.1", 8884)
    assert [(c.name, c.source) for c in box.cameras] == [("cam-1", "/clips/1.mp4")]
    for config in (custodian, aggregator, officer, box):
        assert config.authority_key == authority
        assert config.directory.read_bytes() == made_site.directory.read_bytes()
    for config in (custodian, aggregator, officer):
        assert config.policy.read_bytes() == made_site.policy.read_bytes()
        assert config.policy_signature.read_bytes() == made_site.policy_signature.read_bytes()


def test_a_box_is_told_what_its_own_keys_mean(made_site: SitePaths) -> None:
    text = made_site.box("box-1").read_text()
    assert '# Name of this box.\nbox = "box-1"' in text
    assert "copied into every box" not in text
    assert "# Keys and sections that are copied into every box" in made_site.registrar.read_text()


def test_secret_keys_fit_the_directory_and_open_with_the_passphrase_alone(
    made_site: SitePaths, passphrase: bytes
) -> None:
    directory = open_site(made_site.root).directory
    folders = {
        "c1": made_site.custodian("c1").parent,
        "aggregator": made_site.aggregator.parent,
        "ana": made_site.officer("ana").parent,
    }
    for name, folder in folders.items():
        path = folder / "identity.secret"
        key = SigningKey(name, read_secret(path, passphrase, "identity"))
        assert key.verify_key == directory.principals[name].verify_key
        with pytest.raises(WrongPassphrase):
            read_secret(path, passphrase + b"!", "identity")
    sealing = hpke.PrivateKey(read_secret(folders["ana"] / "sealing.secret", passphrase, "sealing"))
    listed = directory.principals["ana"].seal_key
    assert listed is not None
    assert sealing.public.raw == listed.raw
    box = read_secret(made_site.box("box-1").parent / "identity.key", None, "identity")
    assert SigningKey("box-1", box).verify_key == directory.principals["box-1"].verify_key


def test_no_secret_can_be_read_by_others_and_offline_ones_are_sealed(made_site: SitePaths) -> None:
    secrets = [
        path
        for path in made_site.root.rglob("*")
        if path.name.endswith((".secret", ".key")) or path.name == "private-key.pem"
    ]
    offline, services, officers, boxes, broker, registrar = 3, 4 * 2, 4 * 3, 2 * 2, 1, 3
    assert len(secrets) == offline + services + officers + boxes + broker + registrar
    for path in (*secrets, made_site.plan, made_site.box("box-1")):
        assert path.stat().st_mode & 0o077 == 0, path
    assert made_site.root.stat().st_mode & 0o777 == 0o700
    for path in (made_site.root_key, made_site.issuing_key, made_site.authority_secret):
        assert is_sealed(path)


def test_the_parts_meet_over_mutual_tls(made_site: SitePaths) -> None:
    server = server_context(load(made_site.custodian("c1"), CustodianConfig).tls)
    officer = load(made_site.officer("ana"), OfficerConfig).tls
    assert officer is not None
    assert _handshake(server, client_context(officer)) == ("c1", "ana")
    box = load(made_site.box("box-1"), BoxConfig).mqtt.tls
    assert box is not None
    broker = made_site.broker / "certs"
    broker_tls = TlsConfig(
        ca=broker / "ca.pem",
        certificate=broker / "certificate.pem",
        private_key=broker / "private-key.pem",
    )
    assert _handshake(server_context(broker_tls), client_context(box)) == ("broker", "box-1")


def test_a_role_may_have_a_passphrase_of_its_own(
    tmp_path: Path, make_plan: MakePlan, passphrase: bytes
) -> None:
    own = {"c2": b"another one altogether"}
    paths = create_site(make_plan(), tmp_path / "site", passphrase, role_passphrases=own)
    secret = paths.custodian("c2").parent / "identity.secret"
    assert read_secret(secret, own["c2"], "identity")
    with pytest.raises(WrongPassphrase):
        read_secret(secret, passphrase, "identity")


def test_nothing_is_overwritten(tmp_path: Path, make_plan: MakePlan, passphrase: bytes) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine").write_text("keep")
    with pytest.raises(SiteError, match="exists already"):
        create_site(make_plan(), tmp_path / "site", passphrase)
    assert [path.name for path in tmp_path.rglob("*")] == ["site", "mine"]


def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, make_plan: MakePlan, passphrase: bytes
) -> None:
    def interrupt(line: str) -> None:
        if line == "box box-1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_site(make_plan(), tmp_path / "site", passphrase, notify=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_broker_needs_no_certificates(
    tmp_path: Path, make_plan: MakePlan, passphrase: bytes
) -> None:
    plan = make_plan(broker={"kind": "embedded", "port": 1883})
    paths = create_site(plan, tmp_path / "site", passphrase)
    assert not paths.broker.exists()
    box = load(paths.box("box-1"), BoxConfig)
    assert (box.mqtt.host, box.mqtt.port, box.mqtt.tls) == ("localhost", 1883, None)
    assert inspect_site(open_site(paths.root)).problems == ()


def test_settings_reach_the_role_files(
    tmp_path: Path, make_plan: MakePlan, passphrase: bytes
) -> None:
    plan = make_plan(
        aggregator={"settings": {"matching": {"processes": 1}, "http": {"port": 9000}}},
        boxes=[
            {
                "name": "box-1",
                "cameras": [
                    {
                        "name": "cam-1",
                        "source": "a.mp4",
                        "pace": "fast",
                        "recorded_at": "2027-01-01T08:00:00Z",
                    }
                ],
                "settings": {"exit_when_done": True, "outbox": {"max_mb": 5.0}},
            }
        ],
    )
    paths = create_site(plan, tmp_path / "site", passphrase)
    aggregator = load(paths.aggregator, AggregatorConfig)
    assert (aggregator.matching.processes, aggregator.http.port) == (1, 9000)
    assert aggregator.http.host == "127.0.0.1"
    box = load(paths.box("box-1"), BoxConfig)
    assert (box.exit_when_done, box.outbox.max_mb, box.cameras[0].pace) == (True, 5.0, "fast")


@pytest.mark.models
def test_the_models_are_vouched_for_by_the_authority(
    tmp_path: Path, make_plan: MakePlan, passphrase: bytes, model_bundle_path: Path
) -> None:
    plan = make_plan(bundle=model_bundle_path)
    paths = create_site(plan, tmp_path / "site", passphrase)
    authority = open_site(paths.root).authority.raw
    box = load(paths.box("box-1"), BoxConfig)
    assert box.bundle == paths.box("box-1").parent / "models"
    assert load_bundle(box.bundle, [authority]).signer == authority
    officer = load(paths.officer("ana"), OfficerConfig)
    assert officer.bundle is not None
    load_bundle(officer.bundle, [authority])
    assert not (paths.custodian("c1").parent / "models").exists()
    model = next(box.bundle.glob("*.onnx"))
    assert model.samefile(paths.models / model.name)
    floors = floors_of(load_bundle(box.bundle, [authority]))
    assert floors
    assert min(floors.values()) > 0.2
    assert open_site(paths.root).policy.threshold_floor == floors


_DUTIES = (CUSTODIAN, AGGREGATOR, INVESTIGATOR, APPROVER, AUDITOR, BOX)


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str | None, str | None]:
    """Return the names that the client and the server see of each other."""
    left, right = socket.socketpair()
    seen: list[str | None] = []

    def serve() -> None:
        with server.wrap_socket(right, server_side=True) as sock:
            seen.append(common_name(sock.getpeercert()))
            sock.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(left, server_hostname="localhost") as sock:
        name = common_name(sock.getpeercert())
        sock.send(b"x")
        thread.join(60)
    return name, seen[0]
