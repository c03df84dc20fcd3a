"""Change a site: add officers, revoke anyone, renew certificates, sign a changed policy.

Each change may be run again after an interruption and then does only what is still missing. The
order is: private folders and certificates first, then the signed directory, then the copies of it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from protocol.directory import (
    AGGREGATOR,
    BOX,
    CUSTODIAN,
    REGISTRAR,
    Principal,
)
from protocol.errors import MalformedMessage, ProtocolError
from protocol.policy import Policy, open_policy, parse_policy, sign_policy
from protocol.signing import SigningKey
from provisioning.authority.consequences import Consequence, Weight, of_policy, of_revocation
from provisioning.authority.create import make_officer, making_in
from provisioning.authority.directory_files import write_directory
from provisioning.authority.ledger import Ledger
from provisioning.authority.office import Office, days_left
from provisioning.authority.spread import spread
from provisioning.formats import layout
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import (
    Site,
    SiteError,
    changing,
    milliseconds,
    open_site,
    read_authority,
)
from provisioning.formats.plan import BROKER_NAME, RESERVED_NAMES, OfficerPlan
from provisioning.formats.secretfiles import open_authority
from provisioning.registrar import mosquitto
from runtime.fsio import atomic_write, fsync_folder, private_folder, read_file, write_if_new
from runtime.lookalikes import alike, checked_name

_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did: the site as it is now, and the files of role folders that changed."""

    site: Site
    changed: bool
    files: tuple[Path, ...] = ()


def check_officer(site: Site, officer: OfficerPlan) -> bool:
    """Check that ``officer`` can be added; tell whether they are there already, just so.

    Raises:
        SiteError: the name is taken.
    """
    principal = site.directory.principals.get(officer.name)
    if principal is None:
        if officer.name in RESERVED_NAMES:
            raise SiteError(f"'{officer.name}' is reserved; choose another name")
        return False
    if principal.revoked_at_ms is not None:
        raise SiteError(
            f"'{officer.name}' has been revoked, and what they once signed must stay their own;"
            " choose a new name"
        )
    if principal.duties == frozenset(officer.duties):
        return True
    held = ", ".join(sorted(principal.duties))
    raise SiteError(f"the site has a '{officer.name}' already ({held}); choose another name")


def add_officer(
    path: Path,
    officer: OfficerPlan,
    passphrase: bytes,
    *,
    own_passphrase: bytes | None = None,
    now: datetime | None = None,
) -> Change:
    """Make a folder for ``officer`` and list them in a new version of the directory.

    Args:
        own_passphrase: of their secret files; the site's by default.

    Raises:
        SiteError: the name is taken.
        KeyFileError: wrong passphrase.
    """
    moment = whole_second(now)
    with changing(SitePaths(path.absolute())):
        site = open_site(path)
        if check_officer(site, officer):
            return spread_changes(site, changed=False)
        authority = open_authority(site.paths, passphrase)
        making = making_in(site, passphrase, moment)
        if own_passphrase is not None:
            making.secrets = replace(making.secrets, passphrase=own_passphrase)
        target = site.paths.officer(officer.name).parent
        if target.exists():
            if not (target / "officer.toml").exists():
                raise SiteError(f"{target} is in the way and is not an officer's; move it away")
            shutil.rmtree(target)  # left by an interrupted run: nobody knows its keys
        with new_folder(target) as folder:
            make_officer(making, officer, folder)
        principals = {**site.directory.principals, **making.principals}
        return publish(site, principals, authority, moment)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a path to make a folder at, which becomes ``target`` when all went well.

    Raises:
        FileProblem: the folder above cannot be written.
    """
    private_folder(target.parent)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield staging / target.name
        (staging / target.name).rename(target)
        fsync_folder(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_revocation(site: Site, name: str) -> list[Consequence]:
    """Return what revoking ``name`` will mean; nothing for who has been revoked already.

    Raises:
        SiteError: nobody is called that.
    """
    principal = site.directory.principals.get(name)
    if principal is None:
        if name == BROKER_NAME:
            text = "the broker's certificate is revoked: boxes are not told, renew it at once"
            return [Consequence(Weight.ASKED, text)]
        known = ", ".join(sorted(site.directory.principals))
        raise SiteError(f"the site has no '{name}'; it has: {known}")
    if principal.revoked_at_ms is not None:
        return []
    return of_revocation(site.directory, site.policy, name)


def is_revoked(site: Site, name: str) -> bool:
    """Tell whether the directory and the list of certificates both have ``name`` as revoked."""
    principal = site.directory.principals.get(name)
    listed = principal is None or principal.revoked_at_ms is not None
    ledger = Ledger.load(site.paths.ledger)
    return listed and ledger.revoked(name, datetime.now(UTC)) == ledger


def revoke(path: Path, name: str, passphrase: bytes, *, now: datetime | None = None) -> Change:
    """Revoke any principal: its certificates, and its entry in a new version of the directory.

    Raises:
        SiteError: nobody is called that.
        KeyFileError: wrong passphrase.
    """
    moment = whole_second(now)
    with changing(SitePaths(path.absolute())):
        site = open_site(path)
        check_revocation(site, name)
        if is_revoked(site, name):
            return spread_changes(site, changed=False)
        office = Office.open(site.paths, site.plan, passphrase)
        listed = office.revoke(name, now=moment)
        principal = site.directory.principals.get(name)
        if principal is None or principal.revoked_at_ms is not None:
            return spread_changes(site, changed=listed)
        authority = open_authority(site.paths, passphrase)
        directory = site.directory.revoke(name, at_ms=milliseconds(moment))
        return publish(site, dict(directory.principals), authority, moment)


def due_for_renewal(site: Site, within_days: int, *, now: datetime | None = None) -> list[str]:
    """Return who is in force and has a certificate with at most ``within_days`` days left."""
    left = certificate_days(site, now)
    return [name for name in renewable(site) if left.get(name, 0) <= within_days]


def renewable(site: Site) -> list[str]:
    """Return everyone who holds a certificate: principals in force, and the broker."""
    mosquitto = site.plan.broker.kind == "mosquitto"
    names = [
        name
        for name, principal in sorted(site.directory.principals.items())
        if principal.revoked_at_ms is None and (mosquitto or BOX not in principal.duties)
    ]
    return [*names, BROKER_NAME] if mosquitto else names


def renew(
    path: Path, names: Iterable[str], passphrase: bytes, *, now: datetime | None = None
) -> list[Path]:
    """Issue new certificates with new keys; return the folders that now hold them.

    Raises:
        SiteError: someone among ``names`` holds no certificate.
        KeyFileError: wrong passphrase.
    """
    moment = whole_second(now)
    with changing(SitePaths(path.absolute())):
        site = open_site(path)
        wanted, known = list(names), renewable(site)
        if unknown := [name for name in wanted if name not in known]:
            raise SiteError(
                f"nobody in force is called {', '.join(unknown)}; there are: {', '.join(known)}"
            )
        office = Office.open(site.paths, site.plan, passphrase)
        return [_renew(site, office, name, moment) for name in wanted]


def certificate_days(site: Site, now: datetime | None = None) -> dict[str, int]:
    """Return for everyone how many days their newest certificate still holds."""
    ledger = Ledger.load(site.paths.ledger)
    return {entry.name: days_left(entry.not_after, now) for entry in ledger.entries}


def check_policy(site: Site, text: bytes) -> bool:
    """Check that ``text`` may become the site's policy; tell whether it is another one.

    Raises:
        SiteError: it is not a policy, of another site, or its version did not go up.
    """
    try:
        policy = parse_policy(text)
    except MalformedMessage as error:
        raise SiteError(f"{error}; correct the file") from error
    if policy.digest == site.policy.digest:
        return False
    if policy.site != site.plan.site or policy.version <= site.policy.version:
        raise SiteError(
            f"the file is policy version {policy.version} of site '{policy.site}'; it must be"
            f" of site '{site.plan.site}' and above version {site.policy.version}"
        )
    _check_purposes(policy)
    return True


def _check_purposes(policy: Policy) -> None:
    """Check that what queries may be for is written as it is read, and told apart.

    Raises:
        SiteError: it is not.
    """
    purposes = sorted(policy.purposes or ())
    try:
        for one in purposes:
            if checked_name(one, what=f"the purpose '{one}'") != one:
                raise SiteError(
                    f"the purpose '{one}' is not in Unicode's normal form C with single blanks; "
                    "correct the file"
                )
    except MalformedMessage as error:
        raise SiteError(f"{error}; correct the file") from error
    for one, other in alike(purposes):
        raise SiteError(f"the purposes '{one}' and '{other}' look alike; keep one of them")


def check_policy_change(site: Site, text: bytes) -> list[Consequence]:
    """Return what putting ``text`` in force as the policy will mean; nothing if it is already.

    Raises:
        SiteError: it is not a policy, of another site, or its version did not go up.
    """
    if not check_policy(site, text):
        return []
    return of_policy(site.directory, site.policy, parse_policy(text))


def change_policy(path: Path, text: bytes, passphrase: bytes) -> bool:
    """Sign ``text`` as the site's new policy and spread it; tell whether it is a new one.

    Raises:
        SiteError: it is not a policy, of another site, or its version did not go up.
        KeyFileError: wrong passphrase.
    """
    paths = SitePaths(path.absolute())
    with changing(paths):
        _finish(paths)
        site = open_site(path)
        changed = check_policy(site, text)
        if changed:
            authority = open_authority(paths, passphrase)
            _keep_former(paths, site.policy.digest)
            pending = _pending_policy(paths)
            atomic_write(pending, text)
            atomic_write(paths.policy_signature, sign_policy(text, authority))
            pending.replace(paths.policy)
        spread_changes(site, changed=changed)
        return changed


def _pending_policy(paths: SitePaths) -> Path:
    return paths.policy.with_name(".policy.toml.new")


def finish_policy(path: Path) -> None:
    """Put a signed policy in its place if an interruption came between its two files."""
    paths = SitePaths(path.absolute())
    if _pending_policy(paths).exists():
        with changing(paths):
            _finish(paths)


def _keep_former(paths: SitePaths, digest: bytes) -> None:
    """Keep the policy in force, so that an auditor can be given the one that a query names."""
    private_folder(paths.former_policies)
    kept = paths.former_policies / f"{digest.hex()}.toml"
    write_if_new(kept, read_file(paths.policy, _MAX_BYTES))
    write_if_new(kept.with_suffix(".sig"), read_file(paths.policy_signature, _MAX_BYTES))


def _finish(paths: SitePaths) -> None:
    pending = _pending_policy(paths)
    if not pending.exists():
        return
    try:
        open_policy(
            read_file(pending, _MAX_BYTES),
            read_file(paths.policy_signature, _MAX_BYTES),
            read_authority(paths),
        )
    except ProtocolError:
        pending.unlink()
    else:
        pending.replace(paths.policy)


def _renew(site: Site, office: Office, name: str, now: datetime) -> Path:
    if name == BROKER_NAME:
        office.issue_broker(site.paths.broker, now=now)
        mosquitto.give_to_mosquitto(site.paths.broker)
        for number, broker in enumerate(site.plan.broker.further, start=2):
            further = site.paths.further_broker(number)
            office.issue_broker(further, now=now, service=broker)
            mosquitto.give_to_mosquitto(further)
        return site.paths.broker
    principal = site.directory.principals[name]
    if BOX in principal.duties:
        folder = site.paths.box(name).parent / layout.TLS_FOLDER
        office.issue_box(folder, name, now=now)
    elif CUSTODIAN in principal.duties:
        folder = site.paths.custodian(name).parent / layout.TLS_FOLDER
        service = next(entry for entry in site.plan.custodians if entry.name == name)
        office.issue_service(folder, name, service, now=now)
    elif AGGREGATOR in principal.duties:
        folder = site.paths.aggregator.parent / layout.TLS_FOLDER
        office.issue_service(folder, name, site.plan.aggregator, now=now)
    elif REGISTRAR in principal.duties and site.plan.registrar is not None:
        folder = site.paths.registrar.parent / layout.TLS_FOLDER
        office.issue_service(folder, name, site.plan.registrar, now=now)
    else:
        folder = site.paths.officer(name).parent / layout.TLS_FOLDER
        office.issue_officer(folder, name, now=now)
    return folder


def publish(
    site: Site, principals: Mapping[str, Principal], authority: SigningKey, now: datetime
) -> Change:
    """Sign the next version of the directory and bring it to the role folders."""
    directory = site.directory.next_version(principals, at_ms=milliseconds(now))
    directory = write_directory(site.paths, directory, authority)
    return spread_changes(replace(site, directory=directory), changed=True)


def sign_again(path: Path, passphrase: bytes, *, now: datetime | None = None) -> Change:
    """Sign a new version of the directory that says the same, in every form that there is now.

    Raises:
        KeyFileError: wrong passphrase.
    """
    moment = whole_second(now)
    with changing(SitePaths(path.absolute())):
        site = open_site(path)
        authority = open_authority(site.paths, passphrase)
        return publish(site, site.directory.principals, authority, moment)


def spread_changes(site: Site, *, changed: bool) -> Change:
    """Bring the role folders up to date."""
    files = spread(site.paths, site.plan)
    return Change(site, changed or bool(files), tuple(files))


def whole_second(now: datetime | None) -> datetime:
    """Return ``now``, or the present, to the second, as certificates have it."""
    return (now or datetime.now(UTC)).replace(microsecond=0)
