"""What `sealtrace site show` tells of a site: who is in it, how long for, and what needs doing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from protocol.directory import (
    AGGREGATOR,
    AUDITOR,
    BOX,
    CUSTODIAN,
    INVESTIGATOR,
    REGISTRAR,
    Principal,
    open_directory,
)
from protocol.errors import ProtocolError
from provisioning.authority.cluster import cluster_problems
from provisioning.authority.consequences import none_can_be_approved
from provisioning.authority.directory_files import kept_path
from provisioning.authority.ledger import Ledger
from provisioning.authority.office import days_left, read_certificate
from provisioning.authority.policy_upgrade import recommended_floors
from provisioning.authority.site_places import places_problem
from provisioning.formats import layout, pki
from provisioning.formats.opened import Site
from provisioning.formats.plan import BROKER_NAME
from provisioning.registrar.broker_rights import HEADQUARTERS_ACL
from runtime.bundle import BundleError
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.text import quoted

SOON_DAYS = 7
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One principal, as shown.

    Args:
        certificate_days: whole days left, None without a certificate.
        folder: where its folder is, None when it is not here.
    """

    name: str
    duties: str
    detail: str
    fingerprint: str
    certificate_days: int | None
    revoked_at: datetime | None
    folder: Path | None


@dataclass(frozen=True, slots=True)
class Report:
    """A site's principals, passkeys, places and outside witnesses, and what is wrong or due.

    All but the principals in one line each.
    """

    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    registers: tuple[str, ...] = ()


def inspect_site(site: Site, *, now: datetime | None = None) -> Report:
    """Look through a site's folder: certificates, copies of the directory, what runs out.

    Raises:
        OperationError: the list of certificates cannot be read.
    """
    now = now or datetime.now(UTC)
    ledger = Ledger.load(site.paths.ledger)
    rows = tuple(
        _row(site, ledger, principal, now)
        for principal in sorted(site.directory.principals.values(), key=_order)
    )
    problems = [
        *_policy_problems(site, now),
        *_missing_roles(site),
        *_due(rows, ledger, site, now),
        *_broker_problems(site),
        *_register_problems(site),
        *cluster_problems(site, within_days=SOON_DAYS, now=now),
        *(problem for row in rows if row.folder for problem in _folder_problems(site, row)),
    ]
    return Report(rows, tuple(problems), tuple(_registers(site)))


def _registers(site: Site) -> Iterator[str]:
    """Say what the directory lists besides principals."""
    directory = site.directory
    for name, one in sorted(directory.principals.items()):
        for passkey in one.passkeys:
            yield f"passkey {passkey.fingerprint} of {name}, at {passkey.origin}"
    if directory.places is not None:
        yield f"register of places {kept_path(site.paths)}, SHA-256 {directory.places.hex()}"
    for witness in directory.outside_witnesses:
        yield f"outside witness {witness.name} ({witness.verify_key.fingerprint}), {witness.url}"


def _register_problems(site: Site) -> Iterator[str]:
    if (wrong := places_problem(site)) is not None:
        yield wrong
    needed, listed = site.policy.outside_witnesses, len(site.directory.outside_witnesses)
    if listed < needed:
        yield (
            f"the policy asks for {needed} outside witnesses, and the directory lists {listed}; run"
            f" `sealtrace site witness add {quoted(site.paths.root)} NAME`"
        )


def role_folder(site: Site, principal: Principal) -> Path:
    """Return where the folder of ``principal`` lies if it is here."""
    paths = site.paths
    if BOX in principal.duties:
        return paths.box(principal.name).parent
    if CUSTODIAN in principal.duties:
        return paths.custodian(principal.name).parent
    if AGGREGATOR in principal.duties:
        return paths.aggregator.parent
    if REGISTRAR in principal.duties:
        return paths.registrar.parent
    return paths.officer(principal.name).parent


def _row(site: Site, ledger: Ledger, principal: Principal, now: datetime) -> Row:
    issued = ledger.newest(principal.name)
    folder = role_folder(site, principal)
    revoked = principal.revoked_at_ms
    return Row(
        name=principal.name,
        duties=", ".join(sorted(principal.duties)),
        detail=", ".join(principal.cameras) or principal.url or "",
        fingerprint=principal.verify_key.fingerprint,
        certificate_days=None if issued is None else days_left(issued.not_after, now),
        revoked_at=None if revoked is None else datetime.fromtimestamp(revoked / 1000, UTC),
        folder=folder if folder.is_dir() else None,
    )


def _order(principal: Principal) -> tuple[int, str]:
    for rank, duty in enumerate((CUSTODIAN, AGGREGATOR, REGISTRAR)):
        if duty in principal.duties:
            return rank, principal.name
    return (4 if BOX in principal.duties else 3), principal.name


def _policy_problems(site: Site, now: datetime) -> list[str]:
    left = days_left(datetime.fromtimestamp(site.policy.programme_ends_ms / 1000, UTC), now)
    if left < 0:
        return ["the programme has ended: nothing is granted any more"]
    found = []
    if left <= SOON_DAYS:
        found.append(f"the programme ends in {left} days: nothing is granted after that")
    try:
        floorless = sorted(set(recommended_floors(site)) - set(site.policy.threshold_floor))
    except BundleError as error:
        return [*found, str(error)]
    if floorless:
        found.append(
            f"the policy states no threshold_floor for {', '.join(floorless)}: no query may compare"
            f" with it; see `sealtrace site policy upgrade {quoted(site.paths.root)} --dry-run`"
        )
    return found


def _missing_roles(site: Site) -> list[str]:
    """Return what the site lacks so that it can open, or show, nothing; and who counts twice."""
    directory = site.directory
    found = [
        f"{' and '.join(names)} have one and the same key: they count as one; revoke all but one"
        for names in directory.shared_keys()
    ]
    custodians = len(directory.custodians())
    if custodians < directory.threshold:
        found.append(
            f"{custodians} custodians are in force of the {directory.threshold} that must agree:"
            " nothing can be opened"
        )
    if not directory.with_duty(AGGREGATOR):
        found.append("the site has no aggregator in force: nothing is taken in or searched")
    add = f"run `sealtrace site add-officer {quoted(site.paths.root)} NAME --duty"
    for duty, effect in ((AUDITOR, "nothing is granted"), (INVESTIGATOR, "nobody can ask")):
        if not directory.with_duty(duty):
            found.append(f"no {duty} is in force: {effect}; {add} {duty}`")
    if none_can_be_approved(directory, site.policy):
        found.append(f"too few approvers are in force for any query; {add} approver`")
    return found


def _broker_problems(site: Site) -> list[str]:
    """Check that the broker has the listener on which the boxes' CA makes nobody the aggregator."""
    path = site.paths.broker_config
    if not path.exists() or f"acl_file {HEADQUARTERS_ACL}".encode() in read_file(path, _MAX_BYTES):
        return []
    return [
        f"{path} is of an earlier version, with one listener and few limits; run"
        f" `sealtrace site broker {quoted(site.paths.root)}`"
    ]


def _due(rows: tuple[Row, ...], ledger: Ledger, site: Site, now: datetime) -> list[str]:
    days = {row.name: row.certificate_days for row in rows if row.revoked_at is None}
    broker = ledger.newest(BROKER_NAME)
    if broker is not None:
        days[BROKER_NAME] = days_left(broker.not_after, now)
    due = [
        f"{name} ({left} d)"
        for name, left in days.items()
        if left is not None and left <= SOON_DAYS
    ]
    if not due:
        return []
    return [
        f"certificates run out: {', '.join(due)}; run"
        f" `sealtrace site renew {quoted(site.paths.root)}`"
    ]


def _folder_problems(site: Site, row: Row) -> list[str]:
    """Check a role folder: is its directory the newest, its certificate this site's and its own."""
    if row.folder is None or row.revoked_at is not None:
        return []
    problems = []
    try:
        data = read_file(row.folder / layout.DIRECTORY_FILE, _MAX_BYTES)
        version = open_directory(data, site.authority, site=site.plan.site).version
        if version != site.directory.version:
            problems.append(
                f"{row.folder} has directory version {version}, not {site.directory.version}; run"
                f" `sealtrace site update {quoted(site.paths.root)}`"
            )
        if _has_other_policy(site, row.folder):
            problems.append(
                f"{row.folder} has another policy than the one in force, version"
                f" {site.policy.version}; run `sealtrace site update {quoted(site.paths.root)}`"
            )
    except (OperationError, ProtocolError) as error:
        problems.append(f"{row.folder}: {error}")
    path = row.folder / layout.TLS_FOLDER / layout.CERTIFICATE_FILE
    if row.certificate_days is not None:
        try:
            certificate = read_certificate(path)
            issuing = read_certificate(site.paths.issuing_certificate)
            pki.check_issued(certificate, issuing, what=str(path))
            if pki.common_name(certificate) != row.name:
                problems.append(f"{path} is the certificate of someone else")
        except OperationError as error:
            problems.append(str(error))
    return problems


def _has_other_policy(site: Site, folder: Path) -> bool:
    path = folder / layout.POLICY_FILE
    if not path.exists():  # boxes and the registrar have none
        return False
    return hashlib.sha256(read_file(path, _MAX_BYTES)).digest() != site.policy.digest
