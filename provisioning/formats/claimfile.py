"""The claim file, part of an image: all that a blank box needs to join, and no private key."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field

from protocol.signing import VerifyKey
from runtime import tomltext
from runtime.config import Name, Section, load
from runtime.fsio import atomic_write

CLAIM_BYTES = 32


def new_claim() -> bytes:
    """Draw a claim."""
    return secrets.token_bytes(CLAIM_BYTES)


class ClaimFile(Section):
    """A one-time claim of one box, and what the box must know to use it safely."""

    site: Name
    """Name of the site."""
    box: Name
    """Name of the box; the claim is good for no other."""
    url: Annotated[str, Field(pattern=r"^https://[^\s/]+$", max_length=300)]
    """Where the registrar is."""
    authority: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The site authority's public key: what the box will believe."""
    claim: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    """The claim, a secret until it is used; empty afterwards."""
    expires_at: AwareDatetime
    """After this moment the service refuses it."""
    ca: Annotated[str, Field(min_length=1, max_length=16_384)]
    """The site's root CA certificate (PEM)."""
    directory_version: Annotated[int, Field(ge=0)] = 0
    """The site's directory when the claim was made: the box takes no older one, whoever shows it.
    0: the claim is of a version that did not say, and lasts for hours; then any that is signed."""
    directory_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """SHA-256 of that signed directory: another one of the same version is refused."""
    admissions_version: Annotated[int, Field(ge=0)] = 0
    """The registrar's list of boxes at that moment: the box takes no older one. 0: none yet."""
    registrar: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """The registrar's public key, which may tell the time; empty: the claim is of a version that
    did not say."""
    made_at: AwareDatetime | None = None
    """When the claim was made: it is no earlier."""

    @property
    def secret(self) -> bytes:
        """The claim's bytes; none once it has been used."""
        return bytes.fromhex(self.claim)

    @property
    def authority_key(self) -> VerifyKey:
        """The site authority's public key."""
        return VerifyKey(bytes.fromhex(self.authority))

    def to_toml(self) -> str:
        """Return the file's text."""
        return (
            f"# One-time claim of the box '{self.box}', site '{self.site}'."
            " Whoever has it first can join as this box:\n"
            f"# keep it until then like a key. Good until {self.expires_at:%Y-%m-%d %H:%M} UTC.\n\n"
            + tomltext.table(self.model_dump(exclude_none=True))
        )

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the file (0600).

        Raises:
            FileProblem: it exists, or cannot be written.
        """
        atomic_write(path, self.to_toml().encode(), 0o600, overwrite=overwrite)

    def used(self) -> ClaimFile:
        """Return the same without the claim."""
        return self.model_copy(update={"claim": ""})


def load_claim(path: Path) -> ClaimFile:
    """Read a claim file.

    Raises:
        ConfigError: it is missing or not one.
    """
    return load(path, ClaimFile)


def moment(time_ms: int) -> datetime:
    """Return milliseconds since 1970 as an aware datetime, to the second."""
    return datetime.fromtimestamp(time_ms // 1000, UTC)
