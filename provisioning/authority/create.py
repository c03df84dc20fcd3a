"""Make a whole site: authorities, keys, certificates, directory, policy, one folder a role."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from protocol import hpke
from protocol.directory import (
    AGGREGATOR,
    AUTHORITY,
    BOX,
    CUSTODIAN,
    INVESTIGATOR,
    REGISTRAR,
    Directory,
    Principal,
)
from protocol.policy import sign_policy
from protocol.signing import SigningKey
from provisioning.authority import roles
from provisioning.authority.directory_files import write_directory
from provisioning.authority.modelbundle import install_bundle, link_bundle
from provisioning.authority.office import Office
from provisioning.authority.policy_text import floors_of, policy_text
from provisioning.authority.readme import readme
from provisioning.authority.spread import spread
from provisioning.formats import layout
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import Site, SiteError
from provisioning.formats.plan import (
    AGGREGATOR_NAME,
    REGISTRAR_NAME,
    OfficerPlan,
    SitePlan,
    site_toml,
)
from provisioning.formats.plan_boxes import BoxPlan
from provisioning.formats.plan_services import ServicePlan
from provisioning.formats.secretfiles import Secrets, write_box_identity
from provisioning.registrar import mosquitto
from runtime.fsio import FileProblem, atomic_write, fsync_folder
from runtime.keyfiles import Cost

Notify = Callable[[str], None]


@dataclass(slots=True)
class Making:
    """What the steps of making a site, or of adding to it, share."""

    paths: SitePaths
    plan: SitePlan
    authority: str
    secrets: Secrets
    office: Office
    now: datetime
    notify: Notify
    bundle: bool
    principals: dict[str, Principal] = field(default_factory=dict)


def create_site(
    plan: SitePlan,
    path: Path,
    passphrase: bytes,
    *,
    role_passphrases: Mapping[str, bytes] | None = None,
    now: datetime | None = None,
    notify: Notify | None = None,
) -> SitePaths:
    """Make the site of ``plan`` in the new folder ``path``; it appears whole or not at all.

    Args:
        passphrase: protects the CA keys, the authority's key and the roles' secret files.
        role_passphrases: custodian, officer or aggregator name to a passphrase of its own.
        now: when (aware); the present by default.
        notify: called with a line about each step.

    Raises:
        SiteError: ``path`` exists already, or fewer investigators than must confirm a hit.
        OperationError: a file cannot be written, or the model bundle cannot be used.
    """
    path = path.absolute()
    refuse_existing(path)
    refuse_too_few(plan)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise FileProblem(
            f"cannot create {path}: {error.strerror}; choose a folder that you may write to"
        ) from error
    try:
        cost = Cost(memory_kib=plan.security.argon2_memory_kib)
        _build(
            plan,
            SitePaths(staging),
            Secrets(passphrase, role_passphrases or {}, cost),
            now=(now or datetime.now(UTC)).replace(microsecond=0),
            notify=notify or (lambda _line: None),
        )
        refuse_existing(path)
        staging.rename(path)
        fsync_folder(path.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return SitePaths(path)


def refuse_existing(path: Path) -> None:
    """Check that nothing would be overwritten.

    Raises:
        SiteError: something is there.
    """
    if path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
        raise SiteError(
            f"{path} exists already and is left as it is; choose another folder"
            " (`sealtrace site show` tells what a site folder holds)"
        )


def refuse_too_few(plan: SitePlan) -> None:
    """Check that a new site has the investigators whom its policy has confirm hits.

    Raises:
        SiteError: it has not.
    """
    try:
        plan.check_confirmers()
    except ValueError as error:
        raise SiteError(str(error)) from None


def make_box(making: Making, box: BoxPlan, folder: Path) -> None:
    """Write a box's folder and add it to the principals."""
    folder.mkdir(mode=0o700, parents=True)
    key = SigningKey.generate(box.name)
    write_box_identity(folder / layout.BOX_IDENTITY, key.seed)
    if making.plan.broker.kind == "mosquitto":
        making.office.issue_box(folder / layout.TLS_FOLDER, box.name, now=making.now)
    text = roles.box_toml(making.plan, box, making.authority)
    atomic_write(folder / "box.toml", text.encode(), 0o600)
    _finish_folder(folder, readme("box" if box.cameras else "station", box.name))
    cameras = tuple(camera.name for camera in box.cameras)
    link_bundle(making.paths, folder)
    making.principals[box.name] = Principal(
        box.name, frozenset({BOX}), key.verify_key, cameras=cameras, recordings=box.recordings
    )


def _build(
    plan: SitePlan, paths: SitePaths, secrets: Secrets, *, now: datetime, notify: Notify
) -> None:
    notify("certificate authorities")
    office = Office.found(paths, plan, secrets, now=now)
    notify("site authority")
    authority = SigningKey.generate(AUTHORITY)
    paths.authority.mkdir(mode=0o700)
    secrets.write_identity(paths.authority_secret, AUTHORITY, authority.seed)
    public = authority.verify_key.raw.hex()
    atomic_write(paths.authority_public, f"{public}\n".encode())
    bundle = plan.bundle is not None
    making = Making(paths, plan, public, secrets, office, now, notify, bundle)
    _make_services(making)
    for officer in plan.officers:
        notify(f"officer {officer.name}")
        make_officer(making, officer, paths.officer(officer.name).parent)
    for box in plan.boxes:
        notify(f"box {box.name}")
        make_box(making, box, paths.box(box.name).parent)
    floors: dict[str, float] = {}
    if plan.bundle is not None:
        notify("model bundle")
        loaded = install_bundle(paths, plan.bundle, authority, signer=plan.bundle_signer)
        floors = floors_of(loaded)
    notify("directory and policy")
    issued_ms = int(now.timestamp() * 1000)
    directory = Directory(plan.site, 1, issued_ms, plan.threshold, making.principals)
    write_directory(paths, directory, authority)
    text = policy_text(plan.site, plan.policy, default_floors=floors)
    atomic_write(paths.policy, text)
    atomic_write(paths.policy_signature, sign_policy(text, authority))
    atomic_write(paths.plan, site_toml(plan).encode(), 0o600)
    atomic_write(paths.root / layout.README_FILE, readme("site", plan.site).encode())
    spread(paths, plan)


def _make_services(making: Making) -> None:
    plan, paths, now = making.plan, making.paths, making.now
    for custodian in plan.custodians:
        making.notify(f"custodian {custodian.name}")
        path = paths.custodian(custodian.name)
        path.parent.mkdir(mode=0o700, parents=True)
        key = _identity(making, path.parent, custodian.name)
        tls = path.parent / layout.TLS_FOLDER
        making.office.issue_service(tls, custodian.name, custodian, now=now)
        atomic_write(path, roles.custodian_toml(plan, custodian, making.authority).encode())
        _finish_folder(path.parent, readme("custodian", custodian.name))
        making.principals[custodian.name] = Principal(
            custodian.name, frozenset({CUSTODIAN}), key.verify_key, url=custodian.url
        )
    making.notify("aggregator")
    folder = paths.aggregator.parent
    folder.mkdir(mode=0o700)
    key = _identity(making, folder, AGGREGATOR_NAME)
    making.office.issue_service(
        folder / layout.TLS_FOLDER, AGGREGATOR_NAME, plan.aggregator, now=now
    )
    text = roles.aggregator_toml(plan, making.authority, bundle=making.bundle)
    atomic_write(paths.aggregator, text.encode())
    _finish_folder(folder, readme("aggregator", AGGREGATOR_NAME))
    making.principals[AGGREGATOR_NAME] = Principal(
        AGGREGATOR_NAME, frozenset({AGGREGATOR}), key.verify_key, url=plan.aggregator.url
    )
    if plan.registrar is not None:
        making.notify("registrar")
        folder = paths.registrar.parent
        key = _identity(making, folder, REGISTRAR_NAME)
        making.office.issue_service(
            folder / layout.TLS_FOLDER, REGISTRAR_NAME, plan.registrar, now=now
        )
        text = roles.registrar_toml(plan, plan.registrar, making.authority)
        atomic_write(paths.registrar, text.encode(), 0o600)
        _finish_folder(folder, readme("registrar", plan.site))
        making.principals[REGISTRAR_NAME] = Principal(
            REGISTRAR_NAME, frozenset({REGISTRAR}), key.verify_key, url=plan.registrar.url
        )
    if plan.broker.kind == "mosquitto":
        making.notify("broker")
        _make_broker(making)


def _make_broker(making: Making) -> None:
    first = making.plan.broker
    folders: dict[Path, tuple[ServicePlan, int]] = {
        making.paths.broker: (first, first.headquarters)
    }
    for number, another in enumerate(first.further, start=2):
        folders[making.paths.further_broker(number)] = (another, another.headquarters)
    for folder, (broker, headquarters_port) in folders.items():
        mosquitto.write_config(
            folder,
            site=making.plan.site,
            host=broker.listen_address,
            port=broker.port,
            headquarters_port=headquarters_port,
            aggregator=AGGREGATOR_NAME,
            limits=mosquitto.BrokerLimits(max_message_bytes=first.max_message_bytes),
        )
        making.office.issue_broker(folder, now=making.now, service=broker)
        _finish_folder(folder, readme("broker", making.plan.site))


def make_officer(making: Making, officer: OfficerPlan, folder: Path) -> None:
    """Write an officer's folder and add them to the principals."""
    folder.mkdir(mode=0o700, parents=True)
    key = _identity(making, folder, officer.name)
    seal = hpke.PrivateKey.generate()
    making.secrets.write_sealing(folder / layout.SEALING_SECRET, officer.name, seal.seed)
    making.office.issue_officer(folder / layout.TLS_FOLDER, officer.name, now=making.now)
    bundle = making.bundle and INVESTIGATOR in officer.duties
    text = roles.officer_toml(making.plan, officer, making.authority, bundle=bundle)
    atomic_write(folder / "officer.toml", text.encode())
    _finish_folder(folder, readme("officer", officer.name))
    if bundle:
        link_bundle(making.paths, folder)
    making.principals[officer.name] = Principal(
        officer.name, frozenset(officer.duties), key.verify_key, seal_key=seal.public
    )


def making_in(site: Site, passphrase: bytes, now: datetime) -> Making:
    """Return what it takes to add to an existing site.

    Raises:
        KeyFileError: wrong passphrase.
    """
    return Making(
        paths=site.paths,
        plan=site.plan,
        authority=site.authority.raw.hex(),
        secrets=Secrets(passphrase, {}, Cost(memory_kib=site.plan.security.argon2_memory_kib)),
        office=Office.open(site.paths, site.plan, passphrase),
        now=now,
        notify=lambda _line: None,
        bundle=site.paths.models.is_dir(),
    )


def _identity(making: Making, folder: Path, name: str) -> SigningKey:
    key = SigningKey.generate(name)
    making.secrets.write_identity(folder / layout.IDENTITY_SECRET, name, key.seed)
    return key


def _finish_folder(folder: Path, text: str) -> None:
    atomic_write(folder / layout.README_FILE, text.encode())
