"""What a box may install: one list, each wheel by its hash, that the site's authority has signed.

The signature covers ``sealtrace/v1 software``, the site's name and the list, a line each, so that
nothing else that the authority signs can be taken for it (those are CBOR, or begin otherwise), nor
the list of another site. It is Ed25519 over plain text because a blank box checks it with what its
system has, `openssl`, before any software of ours is there (`firstboot_files`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import SignatureInvalid
from protocol.signing import SIGNATURE_BYTES, SigningKey, VerifyKey
from provisioning.fleet.image.errors import ImageError, SoftwareUnsigned
from provisioning.fleet.image.settings import CardFile
from runtime.fsio import atomic_write, read_file

DOMAIN = "sealtrace/v1 software"
"""First line of what is signed; the site's name is the second."""
MAX_LIST_BYTES = 1 << 20
_SIGN_WITH = "run `sealtrace image sign` on the machine with the authority's key"
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9._+!]+(?: *;[^#@]*)?")


@dataclass(frozen=True, slots=True)
class SoftwareList:
    """A list of software, one wheel a line, and the authority's signature over it (64 bytes)."""

    text: str
    signature: bytes

    def verify(self, authority: VerifyKey, site: str, *, what: str) -> None:
        """Check that ``authority`` signed just this list for ``site``.

        Raises:
            SoftwareUnsigned: it did not.
        """
        try:
            authority.verify_bytes(self.signature, _to_be_signed(site, self.text))
        except SignatureInvalid:
            raise SoftwareUnsigned(
                f"{what} is not what the authority of site '{site}' signed: something was changed, "
                "added or taken away since, or another site signed it; look at what differs, then "
                + _SIGN_WITH
            ) from None


def sign_list(text: str, site: str, authority: SigningKey) -> SoftwareList:
    """Sign a list of software for the boxes of ``site``."""
    return SoftwareList(text, authority.sign_bytes(_to_be_signed(site, text)))


def signature_file(listed: Path) -> Path:
    """Return where the signature lies: in a folder of wheels, or beside a list."""
    return listed / "software.sig" if listed.is_dir() else listed.with_name(f"{listed.name}.sig")


def write_signature(signed: SoftwareList, path: Path) -> bool:
    """Write a signature as hexadecimal digits; tell whether that changed anything.

    Raises:
        FileProblem: it cannot be written.
    """
    data = f"{signed.signature.hex()}\n".encode()
    if path.exists() and read_file(path, 1024) == data:
        return False
    atomic_write(path, data)
    return True


def open_list(text: str, listed: Path, authority: VerifyKey, site: str) -> SoftwareList:
    """Return the list ``text`` with the signature that lies with ``listed``, verified.

    Args:
        listed: the folder of wheels, or the file, that ``text`` was made from.

    Raises:
        SoftwareUnsigned: there is none, or it is not the authority's for this site.
    """
    path = signature_file(listed)
    if not path.exists():
        raise SoftwareUnsigned(
            f"{listed} is not signed (there is no {path}), and boxes install nothing else; "
            + _SIGN_WITH
        )
    signed = SoftwareList(text, parse_signature(read_file(path, 1024).decode("ascii", "replace")))
    signed.verify(authority, site, what=str(listed))
    return signed


def parse_signature(digits: str) -> bytes:
    """Return a signature's 64 bytes; none if ``digits`` are not one, which verifies nothing."""
    found = re.fullmatch(rf"([0-9a-f]{{{2 * SIGNATURE_BYTES}}})\n?", digits)
    return bytes.fromhex(found[1]) if found else b""


def _to_be_signed(site: str, text: str) -> bytes:
    return f"{DOMAIN}\n{site}\n{text}".encode()


def list_of_wheels(wheels: Sequence[CardFile]) -> str:
    """Return wheels as a list that pip installs from with ``--require-hashes``."""
    found: dict[str, list[str]] = {}
    for wheel in wheels:
        name, version = wheel.path.name.split("-")[:2]
        found.setdefault(f"{name}=={version}", []).append(wheel.sha256)
    return "".join(
        " ".join([requirement, *(f"--hash=sha256:{digest}" for digest in sorted(digests))]) + "\n"
        for requirement, digests in sorted(found.items())
    )


def read_requirements(path: Path) -> str:
    """Return a list of requirements, one a line: each an exact version with its hashes.

    Raises:
        ImageError: a line could bring anything that is not named by hash, or sealtrace is not in
            it.
    """
    text = read_file(path, MAX_LIST_BYTES).decode("utf-8", "replace").replace("\\\n", " ")
    stripped = (re.sub(r"(^|\s)#.*", "", line) for line in text.splitlines())
    lines = [" ".join(line.split()) for line in stripped if line.strip()]
    for line in lines:
        if not _by_hash(line):
            raise ImageError(
                f"{path}: {line[:80]!r} is not NAME==VERSION --hash=sha256:...; a box installs "
                "nothing that is not named by its hash: write the list with `uv pip compile "
                "--generate-hashes`"
            )
    if not any(line.startswith("sealtrace==") for line in lines):
        raise ImageError(f"{path} does not name sealtrace; add its wheel with its hash")
    return "".join(f"{line}\n" for line in lines)


def _by_hash(line: str) -> bool:
    """Tell whether a line names one version and its hashes, in time that grows as its length."""
    requirement, *hashes = line.split(" --hash=")
    return (
        bool(hashes)
        and _REQUIREMENT.fullmatch(requirement) is not None
        and all(_HASH.fullmatch(digest) for digest in hashes)
    )
