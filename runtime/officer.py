"""An officer's own configuration, `officer.toml`: the one file that every officer's command reads.

Investigators, approvers and auditors have one each; provisioning writes it. It is named with
``--officer`` or by the environment variable SEALTRACE_OFFICER.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from protocol.signing import VerifyKey
from runtime.config import ConfigError, RoleConfig, TlsConfig, load

OFFICER_ENVIRONMENT = "SEALTRACE_OFFICER"
_HEX_KEY = r"^[0-9a-f]{64}$"


class OfficerConfig(RoleConfig):
    """Configuration of an officer: an investigator, approver or auditor."""

    site: str
    """Name of the site."""
    name: str
    """The officer's name in the site's directory."""
    authority: Annotated[str, Field(pattern=_HEX_KEY)]
    """The site authority's Ed25519 public key, hex: directory and policy must be signed by it."""
    identity: Path = Path("identity.secret")
    """The officer's signing key, protected by a passphrase."""
    sealing: Path = Path("sealing.secret")
    """The key that opens what is sealed to the officer, protected by a passphrase."""
    directory: Path = Path("directory.cbor")
    """The site's signed directory as installed; a newer one is kept in ``state_dir``."""
    policy: Path = Path("policy.toml")
    """The site's policy."""
    policy_signature: Path = Path("policy.toml.sig")
    """The authority's signature over the policy."""
    state_dir: Path = Path("state")
    """Folder for a newer directory and for what the officer signed; made when needed."""
    bundle: Path | None = None
    """Folder of the signed model bundle."""
    bundle_keys: tuple[Annotated[str, Field(pattern=_HEX_KEY)], ...] = ()
    """Further Ed25519 public keys, hex, that may vouch for the bundle beside the authority."""
    tls: TlsConfig | None = None
    """Certificates to speak with: the aggregator and the custodians want to know who calls."""

    @property
    def authority_key(self) -> VerifyKey:
        """The site authority's public key."""
        return VerifyKey(bytes.fromhex(self.authority))

    @property
    def bundle_signers(self) -> list[bytes]:
        """The public keys, 32 bytes each, that may vouch for the model bundle."""
        return [bytes.fromhex(key) for key in (self.authority, *self.bundle_keys)]


def load_officer(path: Path | None) -> OfficerConfig:
    """Read the officer's configuration from ``path``, or from where the environment says.

    Raises:
        ConfigError: there is none, or it cannot be used.
    """
    if path is None:
        named = os.environ.get(OFFICER_ENVIRONMENT)
        path = Path(named) if named else Path("officer.toml")
        if not named and not path.exists():
            raise ConfigError(
                f"no officer is named: give your officer.toml with --officer, or set "
                f"{OFFICER_ENVIRONMENT} to its path"
            )
    return load(path, OfficerConfig)
