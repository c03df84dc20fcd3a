"""What a box must know to update itself: the file `updates.toml`."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from protocol.releases import ALL, KINDS, NAME_PATTERN, Kind
from runtime import config
from runtime.config import RoleConfig, Section, TlsConfig
from runtime.tls import ServerChecked, TlsError, client_context

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Command = Annotated[tuple[str, ...], Field(min_length=1)]


class MirrorTls(Section):
    """Whose certificate the repository's server must show, and which one this box shows."""

    ca: Path
    """PEM file of the certificate authority that the server's certificate must come from."""
    certificate: Path | None = None
    """PEM file of this box's certificate, where the server asks for one."""
    private_key: Path | None = None
    """PEM file of its private key."""


class ServiceConfig(Section):
    """How the agent is restarted, and what it takes to call it healthy again."""

    restart: Command = ("systemctl", "restart", "sealtrace-edge")
    """Command that restarts the agent."""
    health: Command = ("systemctl", "is-active", "--quiet", "sealtrace-edge")
    """Command that exits with 0 while the agent is well."""
    status_file: Path | None = None
    """File that a healthy agent keeps rewriting; its time must advance after the restart."""
    deadline_s: Annotated[float, Field(gt=0, le=3600)] = 180.0
    """Seconds within which health must come back; else the version before returns."""
    interval_s: Annotated[float, Field(gt=0, le=60)] = 3.0
    """Seconds between two looks."""
    times: Annotated[int, Field(ge=1, le=100)] = 10
    """How many looks in a row must find it well."""


class UpdatesConfig(RoleConfig):
    """Where a box gets releases from, what it believes, and how it installs them."""

    repository: str
    """Address of the release repository or a mirror: ``https://...``, or ``file:///...``."""
    root: Path = Path("trusted-root.json")
    """The root of releases that this box was admitted with."""
    group: Annotated[str, Field(pattern=NAME_PATTERN)] = ALL
    """The group of boxes that this one takes its versions with."""
    authority: PublicKey
    """Ed25519 public key of the site's authority, in hexadecimal: it vouches for models."""
    bundle_keys: tuple[PublicKey, ...] = ()
    """Further public keys that may vouch for models."""
    kinds: tuple[Kind, ...] = KINDS
    """What this box updates."""
    state_dir: Path = Path("updates")
    """Folder of ``state.json``, of what was seen, and of downloads."""
    bundles: Path = Path("bundles")
    """Folder of model bundles; ``current`` in it is the one that runs (``bundle`` in box.toml)."""
    agents: Path = Path("agents")
    """Folder of agents; ``current`` in it is the one that runs (PYTHONPATH of its unit)."""
    python: Path = Path(sys.executable)
    """The Python that runs the agent; it has the libraries that an agent's package lacks."""
    max_package_mb: Annotated[int, Field(ge=1, le=1 << 16)] = 2048
    """Larger packages are refused, whoever signed them."""
    tls: MirrorTls | None = None
    """Certificates; without them the system's authorities are believed."""
    service: ServiceConfig = ServiceConfig()
    """The agent's service."""

    @field_validator("repository")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme == "file" and parts.path.startswith("/"):
            return value
        if parts.scheme == "https" and parts.hostname:
            return value
        if parts.scheme == "http" and parts.hostname in _LOOPBACK:
            return value
        raise ValueError("give https://HOST/PATH, or file:///FOLDER for a stick")

    @property
    def model_keys(self) -> tuple[bytes, ...]:
        """Raw public keys that may vouch for a model bundle."""
        return tuple(bytes.fromhex(key) for key in (self.authority, *self.bundle_keys))

    def context(self) -> ssl.SSLContext | None:
        """Return how connections to the repository are made; None where nothing is special.

        Raises:
            TlsError: a file cannot be used.
        """
        if self.tls is None:
            return None
        if self.tls.certificate is not None:
            return client_context(
                TlsConfig(
                    ca=self.tls.ca,
                    certificate=self.tls.certificate,
                    private_key=self.tls.private_key,
                )
            )
        try:
            context = ssl.create_default_context(cafile=self.tls.ca)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(
                f"{self.tls.ca} holds no usable CA certificate ({error}); give the site's ca.pem"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.sslsocket_class = ServerChecked
        return context


def load_updates(path: Path) -> UpdatesConfig:
    """Read `updates.toml`.

    Raises:
        ConfigError: see `runtime.config.load`.
    """
    return config.load(path, UpdatesConfig)


def example() -> UpdatesConfig:
    """Return a configuration to start from."""
    return UpdatesConfig(repository="https://releases.example/", authority="0" * 64)
