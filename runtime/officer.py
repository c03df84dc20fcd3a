"""An officer's own configuration, `officer.toml`: the one file that every officer's command reads.

Investigators, approvers and auditors have one each; provisioning writes it. It is named with
``--officer`` or by the environment variable SEALTRACE_OFFICER.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from runtime.config import ConfigError, HexKey, PolicyReaderConfig, TlsConfig, load
from runtime.zones import ZoneName

OFFICER_ENVIRONMENT = "SEALTRACE_OFFICER"


class OfficerConfig(PolicyReaderConfig):
    """Configuration of an officer: an investigator, approver or auditor."""

    sealing: Path = Path("sealing.secret")
    """The key that opens what is sealed to the officer, protected by a passphrase."""
    places: Path = Path("places.csv")
    """A copy of the register of places that the directory names: which camera is where. Without
    one it is fetched from the aggregator."""
    plan: Path = Path("plan.geojson")
    """The site's plan or map as GeoJSON, which its cameras are drawn over; may be missing."""
    time_zone: ZoneName | None = None
    """The site's time zone, such as Asia/Seoul. Times that name no zone are read in it, and all are
    shown in it. Left out: this machine's."""
    bundle: Path | None = None
    """Folder of the signed model bundle."""
    bundle_keys: tuple[HexKey, ...] = ()
    """Further Ed25519 public keys, hex, that may vouch for the bundle beside the authority."""
    desk_port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    """Port of this machine on which `sealtrace desk` serves its pages. Left out: that of your
    passkeys, else one that is always the same for you."""
    tls: TlsConfig | None = None
    """Certificates to speak with: the aggregator and the custodians want to know who calls."""

    @property
    def bundle_signers(self) -> list[bytes]:
        """The public keys, 32 bytes each, that may vouch for the model bundle."""
        return [bytes.fromhex(key) for key in (self.authority, *self.bundle_keys)]


def officer_file(path: Path | None) -> Path:
    """Return which file is an officer's configuration: ``path``, else what the environment says.

    Raises:
        ConfigError: neither says, and there is none here.
    """
    if path is not None:
        return path
    named = os.environ.get(OFFICER_ENVIRONMENT)
    path = Path(named) if named else Path("officer.toml")
    if not named and not path.exists():
        raise ConfigError(
            f"no officer is named: give your officer.toml with --officer, or set "
            f"{OFFICER_ENVIRONMENT} to its path"
        )
    return path


def load_officer(path: Path | None) -> OfficerConfig:
    """Read the officer's configuration from ``path``, or from where the environment says.

    Raises:
        ConfigError: there is none, or it cannot be used.
    """
    return load(officer_file(path), OfficerConfig)
