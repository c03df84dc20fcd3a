"""The custodian's configuration: one TOML file, read once (`sealtrace custodian serve`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.signing import VerifyKey
from runtime.config import HttpConfig, RoleConfig, Section, TlsConfig


class HttpSection(HttpConfig):
    """Where the HTTP interface listens (mutual TLS, always)."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8444
    """TCP port; 0 takes a free one, which the log line ``ready`` names."""


class LimitsSection(Section):
    """What is taken from callers, and what is not."""

    clock_skew_s: Annotated[int, Field(ge=1, le=3600)] = 120
    """Seconds by which the time of a grant request may differ from this machine's."""
    grants_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 600
    """Grant requests taken in a minute; more are told to wait."""
    changes_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 120
    """Withdrawals and directories taken in a minute from one caller."""
    max_request_bytes: Annotated[int, Field(ge=4096, le=MAX_MESSAGE_BYTES)] = MAX_MESSAGE_BYTES
    """Larger requests are refused unread."""


class CustodianConfig(RoleConfig):
    """Configuration of a key custodian."""

    site: str
    """Name of the site."""
    name: str
    """This custodian's name in the site's directory."""
    authority: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The site authority's Ed25519 public key, hex: directory and policy must be signed by it."""
    identity: Path = Path("identity.secret")
    """This custodian's own signing key, protected by a passphrase."""
    directory: Path = Path("directory.cbor")
    """The site's signed directory as installed; a newer one is kept in ``state_dir``."""
    policy: Path = Path("policy.toml")
    """The site's policy, a copy that this custodian holds itself."""
    policy_signature: Path = Path("policy.toml.sig")
    """The authority's signature over the policy."""
    state_dir: Path = Path("state")
    """Folder for the day keys (sealed), the database and the audit log; made when missing."""
    days_ahead: Annotated[int, Field(ge=1, le=30)] = 7
    """For how many days ahead day keys are published; boards can seal so long without us."""
    http: HttpSection = HttpSection()
    """The HTTP interface."""
    tls: TlsConfig
    """Certificates of the HTTP interface."""
    limits: LimitsSection = LimitsSection()
    """Limits on what callers send."""

    @property
    def authority_key(self) -> VerifyKey:
        """The site authority's public key."""
        return VerifyKey(bytes.fromhex(self.authority))

    @property
    def key_file(self) -> Path:
        """Where the day keys are."""
        return self.state_dir / "day-keys.secret"

    @property
    def database(self) -> Path:
        """Where the database is."""
        return self.state_dir / "custodian.db"
