"""Copy what the authority signed (directory, policy) and the revocations into the role folders."""

from __future__ import annotations

from pathlib import Path

from protocol.admissions import ADMISSIONS_KIND, Admissions
from protocol.directory import DIRECTORY_KIND, Directory
from protocol.signing import Signed
from provisioning import mosquitto
from provisioning.site import layout, pki
from provisioning.site.layout import SitePaths
from provisioning.site.plan import AGGREGATOR_NAME, SitePlan
from runtime.fsio import FileProblem, atomic_write, read_file

_MAX_BYTES = 64 << 20


def spread(paths: SitePaths, plan: SitePlan) -> list[Path]:
    """Bring every role folder that is still here up to date; return the files that changed.

    :raises FileProblem: a file cannot be read or written.
    """
    directory = read_file(paths.directory, _MAX_BYTES)
    policy = {
        layout.POLICY_FILE: read_file(paths.policy, _MAX_BYTES),
        layout.POLICY_SIGNATURE_FILE: read_file(paths.policy_signature, _MAX_BYTES),
    }
    changed: list[Path] = []
    boxes, enrolment = paths.root / "boxes", paths.enrolment.parent
    for folder in paths.role_folders():
        files = {layout.DIRECTORY_FILE: directory}
        if folder.parent != boxes and folder != enrolment:
            files |= policy
        for name, data in files.items():
            if _write_if_new(folder / name, data):
                changed.append(folder / name)
    if paths.broker_config.exists():
        changed += _spread_to_broker(paths, plan, directory)
    return changed


def _spread_to_broker(paths: SitePaths, plan: SitePlan, directory: bytes) -> list[Path]:
    payload = Signed.parse(directory, kind=DIRECTORY_KIND).payload  # our own file: not verified
    principals = Directory.parse(payload).principals.values()
    revoked = [principal.name for principal in principals if principal.revoked_at_ms is not None]
    if paths.enrolment_admissions.exists():
        admissions = Signed.parse(
            read_file(paths.enrolment_admissions, _MAX_BYTES), kind=ADMISSIONS_KIND
        )
        revoked += sorted(Admissions.parse(admissions.payload).revoked_at_ms)
    acl = mosquitto.mosquitto_acl(plan.site, aggregator=AGGREGATOR_NAME, revoked=revoked)
    acl_file = paths.broker / mosquitto.ACL_FILE
    crl_file = paths.broker / mosquitto.CERTIFICATES / layout.CRL_FILE
    changed = []
    if _write_if_new(acl_file, acl.encode(), 0o600):
        changed.append(acl_file)
    crls = [paths.crl, paths.enrolment_ca.first_crl, crl_file]
    lists = [read_file(path, _MAX_BYTES) for path in crls if path.exists()]
    if _write_if_new(crl_file, pki.merged_crls(*lists)):
        changed.append(crl_file)
    mosquitto.give_to_mosquitto(paths.broker)
    return changed


def _write_if_new(path: Path, data: bytes, mode: int = 0o644) -> bool:
    try:
        if path.exists() and read_file(path, _MAX_BYTES) == data:
            return False
    except FileProblem:
        pass
    atomic_write(path, data, mode)
    return True
