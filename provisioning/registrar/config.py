"""The registrar's configuration: one TOML file, written by `sealtrace site init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from provisioning.formats.layout import BoxesCaPaths
from runtime.config import BrokerAddress, HttpConfig, Name, PrincipalConfig, Section, TlsConfig
from runtime.metrics_config import MetricsConfig


class ClaimsSection(Section):
    """The one-time claims that boxes join with."""

    hours: Annotated[int, Field(ge=1, le=24 * 90)] = 72
    """Hours within which a flashed box must come."""
    retry_minutes: Annotated[int, Field(ge=0, le=60)] = 10
    """Minutes in which a box that lost the answer may ask again with the same keys."""


class CertificatesSection(Section):
    """The certificates that boxes get."""

    days: Annotated[int, Field(ge=1, le=825)] = 30
    """Days that they hold; boxes renew them by themselves when a third is left."""


class BrokerSection(Section):
    """The broker, as boxes reach it."""

    host: str = "localhost"
    """Host name or address, as in its certificate."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8883
    """TCP port."""
    tls: bool = True
    """Whether it wants client certificates (Mosquitto does, the demo's embedded broker not)."""
    further: tuple[BrokerAddress, ...] = ()
    """Other brokers of the site, as boxes reach them."""
    aggregator: str = "aggregator"
    """The aggregator's name in its access list."""
    folder: Path | None = None
    """The broker's folder when it runs on this machine: revocations are written there, and it is
    signalled. Without, they are written to ``state_dir/broker``."""
    further_folders: tuple[Path, ...] = ()
    """The folders of the other brokers, those that run on this machine."""
    push: tuple[str, ...] = ()
    """A command, started in the folder with ``acl*`` and ``certs/crl*.pem``, that brings them to
    the broker's machine and has the broker read them; run again until it succeeds."""


class RegistrarConfig(PrincipalConfig):
    """Configuration of the registrar."""

    name: Name = "registrar"
    """This service's name in the site's directory."""
    ca_dir: Path = Path("ca")
    """Folder of the boxes' CA: its certificate, its key (protected by the passphrase)."""
    url: str
    """Where boxes reach this service, for claims: https://HOST:PORT."""
    http: HttpConfig = HttpConfig(port=8445)
    """Where it listens (TLS; boxes that have a certificate must show it)."""
    tls: TlsConfig
    """Its certificate, and the CA of the boxes."""
    claims: ClaimsSection = ClaimsSection()
    """Claims."""
    certificates: CertificatesSection = CertificatesSection()
    """Certificates."""
    broker: BrokerSection = BrokerSection()
    """The broker."""
    metrics: MetricsConfig = MetricsConfig()
    """Monitoring."""
    box: dict[str, Any] = Field(default_factory=dict)
    """Keys and sections that are copied into every box's box.toml, such as [box.outbox]."""

    @property
    def database(self) -> Path:
        """Where the database is; the file has the service's former name, as sites hold it."""
        return self.state_dir / "enrolment.db"

    @property
    def ca_files(self) -> BoxesCaPaths:
        """The files of the boxes' CA."""
        return BoxesCaPaths(self.ca_dir)
