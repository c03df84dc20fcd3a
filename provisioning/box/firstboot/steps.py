"""The steps of a box's life as commands run them: join, ask by USB stick, install, renew."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import structlog
from cryptography import x509

from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import ProtocolError
from protocol.joining import BoxIdentity, OfflineAdmission, OfflineRequest
from protocol.signing import SigningKey
from protocol.textformats import parse_json, parse_toml
from provisioning.box.firstboot import est_client
from provisioning.box.firstboot.errors import FirstBootError, InstallRefused
from provisioning.box.firstboot.install import (
    Folder,
    install,
    verify_configuration,
    write_certificate,
)
from provisioning.box.firstboot.keys import BoxKeys, give_to_owner, make_request
from provisioning.box.firstboot.wiping import replace_wiped
from provisioning.formats import pki
from provisioning.formats.claimfile import ClaimFile, load_claim
from runtime.fsio import FileProblem, atomic_write, private_folder, read_file

RENEW_SHARE = 1 / 3
"""A certificate is renewed when less than this share of its life is left."""

_Message = TypeVar("_Message")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Done:
    """What a step did: until when the certificate holds, and whether the agent must restart."""

    box: str
    until: datetime
    changed: bool
    fingerprint: str


def begin(path: Path, claim_file: Path | None) -> tuple[Folder, ClaimFile]:
    """Prepare the box's folder for a claim; a claim of another box is refused.

    Raises:
        FirstBootError: the folder is another box's, or there is no claim at all.
    """
    folder = Folder(private_folder(path).absolute())
    if claim_file is None or (not claim_file.exists() and folder.claim.exists()):
        return folder, folder.read_claim()
    claim = load_claim(claim_file)
    if folder.claim.exists():
        before = folder.read_claim()
        ours = (before.site, before.box, before.authority)
        if ours != (claim.site, claim.box, claim.authority):
            raise FirstBootError(
                f"{path} is the folder of box '{before.box}', the claim is of '{claim.box}': use"
                " an empty folder for another box"
            )
        if before.claim == "" and folder.box_toml.exists() and not claim.claim:
            return folder, before
        if before == claim:
            return folder, claim  # written once, so that one copy has to be wiped
    claim.write(folder.claim, overwrite=True)
    return folder, claim


def join(
    folder: Folder, claim: ClaimFile, keys: BoxKeys, *, sources: Mapping[str, str] | None = None
) -> Done:
    """Make the keys, get a certificate for the claim, fetch and install the configuration.

    May be run again after an interruption: keys and a certificate that are there are used.

    Raises:
        OperationError: with what is wrong and what to do.
    """
    keys.make()
    identity, key = keys.load(claim.box)
    certificate = folder.read_certificate()
    if certificate is None or certificate.not_valid_after_utc <= datetime.now(UTC):
        certificate, chain = est_client.join(claim, identity, key)
        write_certificate(folder, certificate, chain, claim.ca)
    claim = _used(folder, claim)
    data = est_client.configuration(claim, folder.tls(keys))
    return _finish(
        folder,
        claim,
        keys,
        identity=identity,
        data=data,
        certificate=certificate,
        sources=sources,
    )


def request(folder: Folder, claim: ClaimFile, keys: BoxKeys) -> OfflineRequest:
    """Make the keys and what headquarters needs to admit this box without a network.

    Raises:
        FirstBootError: the claim has been used.
    """
    if not claim.claim:
        raise FirstBootError(
            "the claim has been used; for another, run `sealtrace box claim` at headquarters"
        )
    keys.make()
    identity, key = keys.load(claim.box)
    made = make_request(claim.box, key)
    proof = BoxIdentity.of(claim.site, identity, made).to_bytes()
    return OfflineRequest(claim.site, claim.box, claim.secret, made, proof)


def accept(
    folder: Folder,
    admission: OfflineAdmission,
    keys: BoxKeys,
    *,
    sources: Mapping[str, str] | None = None,
) -> Done:
    """Install what headquarters answered to :func:`request`.

    Raises:
        InstallRefused: it is not the answer to this box's request, or not of its site.
    """
    claim = folder.read_claim()
    if admission.box != claim.box:
        raise InstallRefused(f"the answer is for box '{admission.box}', this is '{claim.box}'")
    if not keys.exist():
        raise FirstBootError("this box has no keys yet; run `sealtrace box request` first")
    identity, key = keys.load(claim.box)
    try:
        certificate = x509.load_der_x509_certificate(admission.certificate)
    except pki.UNREADABLE as error:
        raise InstallRefused("the answer holds no certificate; make it again") from error
    told, _ = verify_configuration(admission.configuration, claim, identity)
    above = pki.load_certificates(told.ca_pem.encode(), what="the configuration's CAs")
    chain = est_client.check_certificate(certificate, above, claim=claim, key=key)
    write_certificate(folder, certificate, chain, claim.ca)
    claim = _used(folder, claim)
    return _finish(
        folder,
        claim,
        keys,
        identity=identity,
        data=admission.configuration,
        certificate=certificate,
        sources=sources,
    )


def _used(folder: Folder, claim: ClaimFile) -> ClaimFile:
    """Keep the claim file without its claim, which is overwritten where it lay."""
    used = claim.used()
    replace_wiped(folder.claim, lambda: used.write(folder.claim, overwrite=True))
    return used


def renewal_due(certificate: x509.Certificate, now: datetime | None = None) -> bool:
    """Tell whether less than a third of the certificate's life is left."""
    whole = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - (now or datetime.now(UTC)) < whole * RENEW_SHARE


def renew(
    folder: Folder, keys: BoxKeys, *, if_due: bool = False, now: datetime | None = None
) -> tuple[Done, bool]:
    """Renew the certificate (the key stays) and fetch the configuration anew.

    The agent reads the new certificate at its next connection; nothing has to be restarted for it.

    Args:
        if_due: leave a certificate alone that has more than a third of its life left.

    Returns:
        what was done, and whether the certificate is a new one.

    Raises:
        FirstBootError: there is none to renew, or it has run out.
    """
    claim, certificate = folder.read_claim(), folder.read_certificate()
    if certificate is None:
        raise FirstBootError("this box has no certificate yet; run `sealtrace box join`")
    moment = now or datetime.now(UTC)
    if certificate.not_valid_after_utc <= moment:
        raise FirstBootError(
            f"the certificate ran out at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC and"
            f" cannot renew itself; run `sealtrace box claim DIR {claim.box}` at headquarters and"
            " `sealtrace box join --claim-file FILE` here"
        )
    identity, key = keys.load(claim.box)
    due = not if_due or renewal_due(certificate, moment)
    if due:
        certificate, chain = est_client.renew(claim, identity, key, folder.tls(keys))
        write_certificate(folder, certificate, chain, claim.ca)
        _log.info("certificate_renewed", until=str(certificate.not_valid_after_utc))
    data = est_client.configuration(claim, folder.tls(keys))
    done = _finish(
        folder,
        claim,
        keys,
        identity=identity,
        data=data,
        certificate=certificate,
        sources=None,
    )
    return done, due


def sources_in(folder: Folder) -> dict[str, str]:
    """Return the camera sources that were given on this box itself."""
    path = folder.path / "sources.json"
    return read_sources(path) if path.exists() else {}


def read_sources(path: Path) -> dict[str, str]:
    """Read camera sources: a JSON list of ``{"name", "source"}``, or TOML ``[[cameras]]``.

    Raises:
        FirstBootError: it is neither.
    """
    text = read_file(path, MAX_MESSAGE_BYTES)
    try:
        toml = path.suffix == ".toml"
        rows = parse_toml(text.decode())["cameras"] if toml else parse_json(text)
        return {str(row["name"]): str(row["source"]) for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FirstBootError(
            f'{path} is not a list of cameras, such as [{{"name": "door", "source": "rtsp://…"}}]'
        ) from error


def _finish(
    folder: Folder,
    claim: ClaimFile,
    keys: BoxKeys,
    *,
    identity: SigningKey,
    data: bytes,
    certificate: x509.Certificate,
    sources: Mapping[str, str] | None,
) -> Done:
    if sources:
        text = json.dumps([{"name": n, "source": s} for n, s in sources.items()], indent=2)
        atomic_write(folder.path / "sources.json", f"{text}\n".encode(), 0o600)
    changed = install(
        folder,
        data,
        claim=claim,
        identity=identity,
        keys=keys,
        sources=sources or sources_in(folder),
    )
    give_to_owner(folder.path, keys.identity_file.parent, owner_of=folder.path)
    return Done(
        claim.box,
        certificate.not_valid_after_utc,
        changed,
        identity.verify_key.fingerprint,
    )


def read_request(path: Path) -> OfflineRequest:
    """Read a request file.

    Raises:
        FirstBootError: it is none.
    """
    return _read(path, OfflineRequest.parse, "a box's request")


def read_admission(path: Path) -> OfflineAdmission:
    """Read an answer file.

    Raises:
        FirstBootError: it is none.
    """
    return _read(path, OfflineAdmission.parse, "headquarters' answer")


def _read(path: Path, parse: Callable[[bytes], _Message], what: str) -> _Message:
    try:
        return parse(read_file(path, MAX_MESSAGE_BYTES))
    except ProtocolError as error:
        raise FirstBootError(f"{path} is not {what}: {error}") from error


def write_exchange(path: Path, data: bytes) -> None:
    """Write a file for the USB stick; another in its place is replaced.

    Raises:
        FileProblem: the stick cannot be written.
    """
    if path.is_dir():
        raise FileProblem(f"{path} is a folder; name the file itself")
    atomic_write(path, data, 0o600)
