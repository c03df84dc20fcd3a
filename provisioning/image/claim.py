"""The claim file: what `sealtrace box claim` hands over so that one box may enrol once.

JSON text, so that an installer can look at it. It holds no private key: a random one-time claim,
and what the box needs to know whom it talks to (the site's root CA, the authority's public key).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protocol.errors import MalformedMessage
from protocol.names import require_name
from provisioning.image.errors import ClaimUnusable
from runtime.fsio import atomic_write, read_file

KIND = "sealtrace-enrolment-claim"
MAX_BYTES = 64 * 1024
_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _ClaimFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["sealtrace-enrolment-claim"]
    version: Literal[1]
    site: str
    box: str
    url: Annotated[str, Field(max_length=500)]
    claim: _Hex32
    expires_ms: Annotated[int, Field(gt=0, lt=1 << 53)]
    authority: _Hex32
    root_ca: Annotated[str, Field(max_length=32_768)]


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one box to enrol once.

    Attributes:
        site: name of the site.
        box: name of the box.
        url: address of the enrolment service, https.
        claim: 32 random bytes, known to this file alone; the service keeps their hash.
        expires_ms: when the service stops taking it.
        authority: the site authority's Ed25519 public key, 32 bytes.
        root_ca: the site's root certificates, PEM.
    """

    site: str
    box: str
    url: str
    claim: bytes = field(repr=False)
    expires_ms: int
    authority: bytes
    root_ca: str

    @property
    def expires(self) -> datetime:
        """When it runs out."""
        return datetime.fromtimestamp(self.expires_ms / 1000, UTC)

    def to_json(self) -> str:
        """Return the file's text; the same claim gives the same text."""
        values = {
            "kind": KIND,
            "version": 1,
            "site": self.site,
            "box": self.box,
            "url": self.url,
            "claim": self.claim.hex(),
            "expires_ms": self.expires_ms,
            "authority": self.authority.hex(),
            "root_ca": self.root_ca,
        }
        return json.dumps(values, indent=2) + "\n"

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the file, readable by its owner only.

        :raises FileProblem: it exists already, or cannot be written.
        """
        atomic_write(path, self.to_json().encode(), mode=0o600, overwrite=overwrite)

    @classmethod
    def parse(cls, data: bytes, *, what: str = "the claim file") -> Claim:
        """Read a claim file's bytes.

        The certificates are re-encoded: nothing that stands around them in the text gets through.

        :raises ClaimUnusable: not a claim file, or not well-formed.
        """
        try:
            values: Any = json.loads(data)
            checked = _ClaimFile.model_validate(values)
            site = require_name(checked.site, what="site")
            box = require_name(checked.box, what="box")
            _require_https(checked.url)
            root_ca = _certificates(checked.root_ca)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "its content"
            raise ClaimUnusable(_malformed(what, f"{place}: {first['msg']}")) from None
        except (ValueError, RecursionError, MalformedMessage) as error:
            reason = "it is not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
            raise ClaimUnusable(_malformed(what, reason)) from None
        return cls(
            site=site,
            box=box,
            url=checked.url,
            claim=bytes.fromhex(checked.claim),
            expires_ms=checked.expires_ms,
            authority=bytes.fromhex(checked.authority),
            root_ca=root_ca,
        )

    @classmethod
    def read(cls, path: Path) -> Claim:
        """Read a claim file.

        :raises ClaimUnusable: not a claim file, or not well-formed.
        :raises FileProblem: it cannot be read.
        """
        return cls.parse(read_file(path, MAX_BYTES), what=str(path))

    def require_usable(self, *, box: str | None = None, now: datetime | None = None) -> None:
        """Check that the claim has not run out and, if ``box`` is given, is that box's.

        :raises ClaimUnusable: otherwise.
        """
        if box is not None and box != self.box:
            raise ClaimUnusable(
                f"the claim is for box '{self.box}', not '{box}'; use that box's claim file, or "
                f"make one with `sealtrace box claim {box}`"
            )
        if (now or datetime.now(UTC)) >= self.expires:
            raise ClaimUnusable(
                f"the claim for '{self.box}' ran out at {self.expires:%Y-%m-%d %H:%M} UTC; make a "
                f"new one with `sealtrace box claim {self.box}`"
            )


def _malformed(what: str, reason: str) -> str:
    return f"{what} is not a usable claim: {reason}; make it again with `sealtrace box claim`"


def _require_https(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query:
        raise ValueError("url: must be an https:// address without user name or query")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("url: has characters that do not belong into an address")


def _certificates(pem: str) -> str:
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise ValueError("root_ca: holds no certificate in PEM form") from error
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in found)
