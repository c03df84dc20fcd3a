"""Copy what the authority signed (directory, policy) and the revocations into the role folders."""

from __future__ import annotations

from pathlib import Path

from protocol.admissions import ADMISSIONS_KIND, Admissions
from protocol.directory import DIRECTORY_KIND, Directory
from protocol.signing import Signed
from provisioning.authority.directory_files import kept_register, read_directory
from provisioning.formats import layout, pki
from provisioning.formats.layout import SitePaths
from provisioning.formats.plan import AGGREGATOR_NAME, SitePlan
from provisioning.registrar import mosquitto
from provisioning.registrar.broker_rights import Rights
from runtime.fsio import read_file, write_if_new

_MAX_BYTES = 64 << 20


def spread(paths: SitePaths, plan: SitePlan) -> list[Path]:
    """Bring every role folder that is still here up to date; return the files that changed.

    Raises:
        FileProblem: a file cannot be read or written.
    """
    directory = read_directory(paths)
    policy = {
        layout.POLICY_FILE: read_file(paths.policy, _MAX_BYTES),
        layout.POLICY_SIGNATURE_FILE: read_file(paths.policy_signature, _MAX_BYTES),
    }
    register = kept_register(paths, _listed(directory[layout.DIRECTORY_FILE]))
    changed: list[Path] = []
    boxes, registrar = paths.root / "boxes", paths.registrar.parent
    for folder in paths.role_folders():
        files = dict(directory)
        if folder.parent != boxes and folder != registrar:
            files |= policy
        if folder == paths.aggregator.parent and register is not None:
            files[layout.PLACES_FILE] = register
        for name, data in files.items():
            if write_if_new(folder / name, data):
                changed.append(folder / name)
    if paths.broker_config.exists():
        changed += _spread_to_broker(paths, plan, directory[layout.DIRECTORY_FILE])
    return changed


def _spread_to_broker(paths: SitePaths, plan: SitePlan, directory: bytes) -> list[Path]:
    listed = _listed(directory)
    revoked: list[str] = []
    if paths.admissions.exists():
        admissions = Signed.parse(read_file(paths.admissions, _MAX_BYTES), kind=ADMISSIONS_KIND)
        admitted = Admissions.parse(admissions.payload)
        listed, revoked = admitted.apply(listed), sorted(admitted.revoked_at_ms)
    rights = Rights.of(listed, aggregator=AGGREGATOR_NAME, revoked=revoked)
    changed: list[Path] = []
    for folder in paths.brokers:
        changed += mosquitto.write_rights(folder, rights)
        crl_file = folder / mosquitto.CERTIFICATES / layout.CRL_FILE
        files = [paths.crl, paths.boxes_ca.first_crl, crl_file]
        lists = [read_file(path, _MAX_BYTES) for path in files if path.exists()]
        crls = pki.merged_crls(*lists)
        changed += mosquitto.write_revocations(folder, crls, pki.without_boxes(crls))
        mosquitto.give_to_mosquitto(folder)
    return changed


def _listed(directory: bytes) -> Directory:
    """Read our own directory: it is not verified."""
    return Directory.parse(Signed.parse(directory, kind=DIRECTORY_KIND).payload)
