"""Throw-away certificates and brokers for the tests of connections."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provisioning.broker import BrokerPlace, EmbeddedBroker
from runtime.config import TlsConfig

DEADLINE_S = 30.0


def wait_until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Return as soon as ``condition`` holds; fail the test after ``DEADLINE_S``."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.01)


@dataclass
class Authority:
    """A certificate authority in a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test ca")])
        certificate = (
            self._builder(self.name, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        (self.folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, *common_names: str) -> TlsConfig:
        """Make a certificate that is good for a client and for a server on loopback."""
        name = "-".join(common_names)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn) for cn in common_names])
        certificate = (
            self._builder(subject, key)
            .add_extension(
                x509.SubjectAlternativeName(
                    [
                        x509.DNSName("localhost"),
                        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                    ]
                ),
                critical=False,
            )
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
                ),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        (self.folder / f"{name}.pem").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
        )
        (self.folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return TlsConfig(
            ca=self.folder / "ca.pem",
            certificate=self.folder / f"{name}.pem",
            private_key=self.folder / f"{name}.key",
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other-ca"))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Embedded(EmbeddedBroker):
    """The embedded broker on a free loopback port."""

    keeps_sessions_over_a_restart = False

    def __init__(self, folder: Path) -> None:
        super().__init__(BrokerPlace(free_port(), folder / "broker"))
        self.port = self.place.port


class Mosquitto:
    """Mosquitto on a loopback port, with more configuration if wanted."""

    keeps_sessions_over_a_restart = True

    def __init__(self, folder: Path, extra: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self._folder = folder
        self._config = folder / "mosquitto.conf"
        # Started by root, Mosquitto becomes the user "mosquitto", who cannot read test folders.
        self._config.write_text(
            f"per_listener_settings false\nuser root\npersistence true\n"
            f"persistence_location {folder}/\nmax_queued_messages 0\n"
            f"listener {self.port} 127.0.0.1\n{extra}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(executable()), "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "mosquitto.log").open("ab"),
        )
        wait_until(lambda: listens(self.port), "Mosquitto listening")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)
            self._process = None


def executable() -> str | None:
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


AnyBroker = Embedded | Mosquitto


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyBroker]:
    """Each test with this fixture runs against both brokers."""
    one: AnyBroker
    if request.param == "mosquitto":
        if executable() is None:
            pytest.skip("Mosquitto is not installed")
        one = Mosquitto(tmp_path)
    else:
        one = Embedded(tmp_path)
    one.start()
    yield one
    one.stop()


@pytest.fixture
def mosquitto_with(tmp_path: Path) -> Iterator[Callable[[str], Mosquitto]]:
    """Start Mosquitto with the given lines of configuration; skipped where it is absent."""
    if executable() is None:
        pytest.skip("Mosquitto is not installed")
    running: list[Mosquitto] = []

    def start(extra: str) -> Mosquitto:
        one = Mosquitto(tmp_path, extra)
        one.start()
        running.append(one)
        return one

    yield start
    for one in running:
        one.stop()


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., None]:
    """Return `wait_until`, for test files (which cannot import this one)."""
    return wait_until
