"""Turn a certificate and a signed configuration into a box's folder, believing no unsigned byte."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from protocol.admissions import open_admissions
from protocol.directory import BOX, REGISTRAR, Directory, open_directory
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import DirectoryRollback, ProtocolError
from protocol.joining import CONFIGURATION_KIND, BoxConfiguration
from protocol.signing import Signed, SigningKey
from protocol.textformats import parse_toml
from provisioning.box.firstboot.errors import FirstBootError, InstallRefused
from provisioning.box.firstboot.keys import BoxKeys
from provisioning.formats import layout, pki
from provisioning.formats.claimfile import ClaimFile, load_claim
from runtime import tomltext
from runtime.config import MAX_CONFIG_BYTES, TlsConfig
from runtime.fsio import atomic_write, private_folder, read_file
from runtime.trust import Trust

BOX_TOML, CLAIM_FILE, CONFIGURATION_FILE = "box.toml", "claim.toml", "configuration.cbor"
STATE_FOLDER = "state"
DEFAULT_MODELS = "../models"
_OURS = frozenset({"site", "box", "authority", "identity", "directory", "state_dir", "mqtt"})
_NEVER_FROM_OUTSIDE = frozenset({"bundle_keys"})


@dataclass(frozen=True, slots=True)
class Folder:
    """A box's folder and the files in it."""

    path: Path

    @property
    def claim(self) -> Path:
        """The claim file, without its claim once that was used."""
        return self.path / CLAIM_FILE

    @property
    def box_toml(self) -> Path:
        """The agent's configuration; it is written last."""
        return self.path / BOX_TOML

    @property
    def certificate(self) -> Path:
        """The certificate and the CAs above it."""
        return self.path / layout.TLS_FOLDER / layout.CERTIFICATE_FILE

    @property
    def ca(self) -> Path:
        """The CA certificates that are trusted."""
        return self.path / layout.TLS_FOLDER / layout.CA_FILE

    def tls(self, keys: BoxKeys) -> TlsConfig:
        """Return what to connect with."""
        return TlsConfig(ca=self.ca, certificate=self.certificate, private_key=keys.tls_file)

    def read_certificate(self) -> x509.Certificate | None:
        """Return this box's certificate; None when it has none."""
        if not self.certificate.exists():
            return None
        data = read_file(self.certificate, MAX_MESSAGE_BYTES)
        return pki.load_certificates(data, what=str(self.certificate))[0]

    def read_claim(self) -> ClaimFile:
        """Return who this box is, and of which site.

        Raises:
            FirstBootError: it has not begun to join.
        """
        if not self.claim.exists():
            raise FirstBootError(
                f"{self.path} is not an admitted box's folder (no {CLAIM_FILE}); run"
                " `sealtrace box join --claim-file FILE` first"
            )
        return load_claim(self.claim)


def write_certificate(
    folder: Folder, certificate: x509.Certificate, chain: Sequence[x509.Certificate], root_pem: str
) -> None:
    """Write the certificate with its chain, and the root if no CA file is there yet."""
    private_folder(folder.certificate.parent)
    if not folder.ca.exists():
        atomic_write(folder.ca, root_pem.encode())
    atomic_write(folder.certificate, b"".join(pki.pem(one) for one in (certificate, *chain)))


def verify_configuration(
    data: bytes, claim: ClaimFile, identity: SigningKey
) -> tuple[BoxConfiguration, Directory]:
    """Verify a configuration from the claim's authority key down; return it and its directory.

    The authority signed the directory, which names the registrar, who signed the configuration.

    Raises:
        InstallRefused: a signature is wrong, or it is for another box, site or key.
    """
    try:
        signed = Signed.parse(data, kind=CONFIGURATION_KIND)
        directory = open_directory(
            BoxConfiguration.parse(signed.payload).directory, claim.authority_key, site=claim.site
        )
        told = BoxConfiguration.parse(signed.verify(directory.resolver(REGISTRAR)))
    except ProtocolError as error:
        raise InstallRefused(
            f"the configuration is not this site's: {error}; it was altered, or the claim is of"
            " another site"
        ) from error
    if (told.site, told.box) != (claim.site, claim.box):
        raise InstallRefused(f"the configuration is for box '{told.box}' of site '{told.site}'")
    if identity.signer != claim.box:
        raise InstallRefused("the identity is another box's")
    return told, directory


def _check_not_older(told: BoxConfiguration, directory: Directory, claim: ClaimFile) -> None:
    """Check the configuration's directory and admissions against those in force at the claim.

    A blank box has seen no directory yet, and its clock may be wrong: without this it would take
    an old one, which lists whoever has been revoked since, from anybody who had kept it.

    Raises:
        InstallRefused: one of them is older, or another of the same version.
    """
    why = (
        "somebody may be replaying it; ask headquarters, and make a new claim if all is well there"
    )
    if directory.version < claim.directory_version:
        raise InstallRefused(
            f"the configuration brings directory version {directory.version}, but version"
            f" {claim.directory_version} was in force when the claim was made: {why}"
        )
    digest = hashlib.sha256(told.directory).hexdigest()
    if directory.version == claim.directory_version and claim.directory_digest not in {"", digest}:
        raise InstallRefused(
            f"the configuration brings another directory of version {directory.version} than was"
            f" in force when the claim was made: {why}"
        )
    if not claim.admissions_version:
        return
    try:
        listed = open_admissions(told.admissions or b"", directory).version
    except ProtocolError as error:
        raise InstallRefused(f"the configuration's list of boxes: {error}") from error
    if listed < claim.admissions_version:
        raise InstallRefused(
            f"the configuration brings version {listed} of the list of boxes, but version"
            f" {claim.admissions_version} was in force when the claim was made: {why}"
        )


def install(
    folder: Folder,
    data: bytes,
    *,
    claim: ClaimFile,
    identity: SigningKey,
    keys: BoxKeys,
    sources: Mapping[str, str] | None = None,
) -> bool:
    """Verify a configuration and write the box's folder; tell whether the agent must be restarted.

    Args:
        sources: camera name to source, instead of those that headquarters has.

    Raises:
        InstallRefused: it is not for this box, not signed properly, or older than before or than
            the claim.
        OperationError: a file cannot be written.
    """
    told, directory = verify_configuration(data, claim, identity)
    _check_not_older(told, directory, claim)
    known = folder.path / CONFIGURATION_FILE
    if known.exists():
        before, _ = verify_configuration(read_file(known, MAX_MESSAGE_BYTES), claim, identity)
        if told.issued_at_ms < before.issued_at_ms:
            raise InstallRefused("the configuration is older than the one installed; get a new one")
    state = private_folder(folder.path / STATE_FOLDER)
    trust = _trust(folder, claim, told, state)
    try:
        listed = trust.directory.require(claim.box, BOX)
    except ProtocolError as error:
        raise InstallRefused(f"{error}: this box is not in the site") from error
    if listed.verify_key != identity.verify_key:
        raise InstallRefused(f"the site knows '{claim.box}' by another key")
    text = _box_toml(told, claim, folder, keys, sources or {})
    atomic_write(folder.ca, told.ca_pem.encode())
    content = text.encode()
    changed = not folder.box_toml.exists() or folder.box_toml.read_bytes() != content
    if changed:
        atomic_write(folder.box_toml, content, 0o600)
    atomic_write(known, data, 0o600)
    return changed


def _trust(folder: Folder, claim: ClaimFile, told: BoxConfiguration, state: Path) -> Trust:
    """Put directory and admissions where the agent finds them, never older ones."""
    installed = folder.path / layout.DIRECTORY_FILE
    if not installed.exists():
        atomic_write(installed, told.directory)
    trust = Trust(
        site=claim.site, authority=claim.authority_key, installed=installed, state_dir=state
    )
    for document in (told.directory, told.admissions):
        try:
            if document is not None:
                trust.accept(document)
        except DirectoryRollback:
            continue  # the broker has brought a newer one since
        except ProtocolError as error:
            raise InstallRefused(f"the site's list of boxes: {error}") from error
    return trust


def _box_toml(
    told: BoxConfiguration,
    claim: ClaimFile,
    folder: Folder,
    keys: BoxKeys,
    sources: Mapping[str, str],
) -> str:
    """Return box.toml: who the box is and whom it believes from the claim, the rest as told."""
    if forbidden := sorted(_NEVER_FROM_OUTSIDE & set(told.settings)):
        raise InstallRefused(
            f"the configuration sets {forbidden[0]}, which only this box's own claim may decide"
        )
    broker = told.settings.get("mqtt")
    cameras = told.settings.get("cameras")
    if not isinstance(broker, dict) or not isinstance(cameras, list):
        raise InstallRefused("the configuration names no broker or no cameras")
    mqtt: dict[str, Any] = {"host": broker.get("host"), "port": broker.get("port")}
    if further := broker.get("further"):
        mqtt["further"] = [_place(one) for one in further]
    if broker.get("tls", True):
        mqtt["tls"] = {
            "ca": _relative(folder.ca, folder),
            "certificate": _relative(folder.certificate, folder),
            "private_key": _relative(keys.tls_file, folder),
        }
    rest = {
        key: value for key, value in told.settings.items() if key not in _OURS and key != "cameras"
    }
    before = _installed_before(folder)
    ground = _ground_measured(before)
    content = {
        "site": claim.site,
        "box": claim.box,
        "authority": claim.authority,
        "identity": _relative(keys.identity_file, folder),
        "directory": layout.DIRECTORY_FILE,
        "state_dir": STATE_FOLDER,
        "bundle": DEFAULT_MODELS,
        "recordings": _films_as_before(before, cameras),
        **rest,
        "mqtt": mqtt,
        "cameras": [_with_ground(_with_source(camera, sources), ground) for camera in cameras],
    }
    head = (
        "# Written by `sealtrace box` from what headquarters signed. Changes are overwritten, but\n"
        "# for the ground measured by `sealtrace camera calibrate`, and [[recordings]].\n\n"
    )
    try:
        return head + tomltext.table(content)
    except (TypeError, KeyError, AttributeError) as error:
        raise InstallRefused(f"the configuration cannot be written as TOML: {error}") from error


def _place(broker: Any) -> dict[str, Any]:
    """Return where a further broker is, and nothing else of what was told of it."""
    if not isinstance(broker, dict):
        raise InstallRefused("the configuration has a further broker that is no table")
    return {"host": broker.get("host"), "port": broker.get("port")}


def _with_source(camera: Any, sources: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(camera, dict) or not isinstance(camera.get("name"), str):
        raise InstallRefused("the configuration has a camera without a name")
    source = sources.get(camera["name"])
    return dict(camera) if source is None else {**camera, "source": source}


def _installed_before(folder: Folder) -> dict[str, Any]:
    """Return what stands in box.toml so far."""
    if not folder.box_toml.exists():
        return {}
    try:
        return parse_toml(read_file(folder.box_toml, MAX_CONFIG_BYTES).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}  # damaged: it is about to be written anew


def _ground_measured(before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ground planes, by camera, that `sealtrace camera calibrate` put into box.toml."""
    try:
        return {c["name"]: c["homography"] for c in before["cameras"] if c.get("homography")}
    except (LookupError, TypeError, AttributeError):
        return {}


def _with_ground(camera: dict[str, Any], ground: Mapping[str, Any]) -> dict[str, Any]:
    measured = ground.get(camera["name"])
    return camera if measured is None else {"homography": measured, **camera}


def _films_as_before(before: Mapping[str, Any], cameras: Sequence[Any]) -> list[Any] | None:
    """Return how films of other cameras are looked at: this box's to say, in [[recordings]]."""
    try:
        own = {camera["name"] for camera in cameras}
        return [film for film in before["recordings"] if film["name"] not in own] or None
    except (LookupError, TypeError):
        return None


def _relative(path: Path, folder: Folder) -> str:
    return str(path.relative_to(folder.path) if path.is_relative_to(folder.path) else path)
