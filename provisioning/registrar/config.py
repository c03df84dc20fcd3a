"""The enrolment service's configuration: one TOML file, written by `sealtrace site init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from protocol.signing import VerifyKey
from provisioning.formats.layout import EnrolmentCaPaths
from runtime.config import HttpConfig, RoleConfig, Section, TlsConfig


class HttpSection(HttpConfig):
    """Where the service listens (TLS; boxes that have a certificate must show it)."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8445
    """TCP port; 0 takes a free one, which the log line ``ready`` names."""


class ClaimsSection(Section):
    """The one-time claims that boxes enrol with."""

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
    aggregator: str = "aggregator"
    """The aggregator's name in its access list."""
    folder: Path | None = None
    """The broker's folder when it runs on this machine: revocations are written there, and it is
    signalled. Without, they are written to ``state_dir/broker``."""
    push: tuple[str, ...] = ()
    """A command, started in the folder with ``acl*`` and ``certs/crl*.pem``, that brings them to
    the broker's machine and has the broker read them; run again until it succeeds."""


class EnrolmentConfig(RoleConfig):
    """Configuration of the enrolment service."""

    site: str
    """Name of the site."""
    name: str = "registrar"
    """This service's name in the site's directory."""
    authority: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The site authority's Ed25519 public key, hex."""
    identity: Path = Path("identity.secret")
    """The registrar's signing key, protected by a passphrase."""
    directory: Path = Path("directory.cbor")
    """The site's signed directory as installed; a newer one is kept in ``state_dir``."""
    ca_dir: Path = Path("ca")
    """Folder of the enrolment CA: its certificate, its key (protected by the passphrase)."""
    state_dir: Path = Path("state")
    """Folder of the database: claims, boxes, certificates, admissions."""
    url: str
    """Where boxes reach this service, for claims: https://HOST:PORT."""
    http: HttpSection = HttpSection()
    """Where it listens."""
    tls: TlsConfig
    """Its certificate, and the CA of the boxes."""
    claims: ClaimsSection = ClaimsSection()
    """Claims."""
    certificates: CertificatesSection = CertificatesSection()
    """Certificates."""
    broker: BrokerSection = BrokerSection()
    """The broker."""
    box: dict[str, Any] = Field(default_factory=dict)
    """Keys and sections that are copied into every box's box.toml, such as [box.outbox]."""

    @property
    def authority_key(self) -> VerifyKey:
        """The site authority's public key."""
        return VerifyKey(bytes.fromhex(self.authority))

    @property
    def database(self) -> Path:
        """Where the database is."""
        return self.state_dir / "enrolment.db"

    @property
    def ca_files(self) -> EnrolmentCaPaths:
        """The files of the enrolment CA."""
        return EnrolmentCaPaths(self.ca_dir)
