"""The CA of the machines that match, and their certificates: beside the site's CAs, not under them.

Dask asks nothing of a certificate but its CA, so this one certifies the cluster and nobody else. A
certificate of the site, a box's above all, is worth nothing there. It has no revocation list: who
loses a machine makes another CA with everybody's certificates (``anew``), which takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import tomlkit

from protocol.names import require_name
from protocol.textformats import parse_toml
from provisioning.authority import roles
from provisioning.authority.changes import whole_second
from provisioning.authority.ledger import Ledger
from provisioning.authority.office import days_left, read_certificate
from provisioning.formats import layout, pki
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import Site, SiteError, changing, open_site
from provisioning.formats.secretfiles import CA_KEY, Secrets
from runtime import keyfiles
from runtime.fsio import atomic_write, private_folder, read_file, write_if_new
from runtime.text import quoted
from runtime.tls import CLUSTER_AGGREGATOR, CLUSTER_CA, CLUSTER_SCHEDULER, CLUSTER_WORKER

AGGREGATOR_FOLDER = "cluster"
"""In the aggregator's folder: what it is known by in the cluster."""
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Need:
    """A certificate that a run of the command issues.

    Args:
        name: of the machine, as its certificate says; the aggregator and scheduler are called so.
        duty: what it may do in the cluster.
        folder: where its certificate, key and the CA go.
        days_left: of the one that it has; None without one.
    """

    name: str
    duty: str
    folder: Path
    days_left: int | None


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """What is to be done for a site's cluster.

    Args:
        founds: whether a CA is made.
        needs: certificates that are issued.
        address: of the scheduler; "" where it is not known.
    """

    founds: bool
    needs: tuple[Need, ...]
    address: str


def plan_cluster(
    site: Site,
    workers: Sequence[str] = (),
    *,
    address: str = "",
    within_days: int,
    anew: bool = False,
    now: datetime | None = None,
) -> ClusterPlan:
    """Return what there is to do so that the cluster has its CA and everybody a certificate.

    Args:
        workers: machines that match, besides those that have a certificate already.
        address: of the scheduler, host:port; needed the first time.
        within_days: certificates with at most so many days left are issued anew.
        anew: make another CA, and everybody's certificate with it.

    Raises:
        SiteError: the address is missing or none, or a name is taken.
        MalformedMessage: a name is none.
    """
    paths = site.paths
    for name in workers:
        require_name(name, what=f"'{name}'")
        if name in {CLUSTER_AGGREGATOR, CLUSTER_SCHEDULER}:
            raise SiteError(f"'{name}' is the name of another part of the cluster; choose another")
    founds = anew or not paths.cluster_certificate.exists()
    ledger = Ledger.load(paths.cluster_ledger) if paths.cluster_ledger.exists() else Ledger()
    known = {entry.name for entry in ledger.entries}
    machines = sorted((known | set(workers)) - {CLUSTER_AGGREGATOR, CLUSTER_SCHEDULER})
    address = _checked_address(address or _address_of(paths))
    needs = [
        Need(name, duty, folder, left)
        for name, duty, folder in _members(paths, machines)
        if (left := _days(ledger, name, now)) is None or founds or left <= within_days
    ]
    return ClusterPlan(founds, tuple(needs), address)


def make_cluster(
    path: Path, plan: ClusterPlan, passphrase: bytes, *, now: datetime | None = None
) -> list[Path]:
    """Do what `plan_cluster` found; return the folders that are to be carried to their machines.

    Raises:
        KeyFileError: wrong passphrase.
        FileProblem: a file cannot be written.
    """
    moment = whole_second(now)
    with changing(SitePaths(path.absolute())):
        site = open_site(path)
        paths = site.paths
        authority = _authority(site, plan, passphrase, moment)
        ledger = Ledger.load(paths.cluster_ledger)
        for need in plan.needs:
            usages = (pki.CLIENT,) if need.duty == CLUSTER_AGGREGATOR else (pki.CLIENT, pki.SERVER)
            leaf = pki.issue(
                authority,
                need.name,
                usages=usages,
                now=moment,
                days=site.plan.certificates.service_days,
                unit=need.duty,
            )
            ledger = ledger.issued(leaf.certificate)
            ledger.save(paths.cluster_ledger)
            private_folder(need.folder)
            atomic_write(need.folder / layout.KEY_FILE, leaf.key_pem, 0o600)
            atomic_write(need.folder / layout.CERTIFICATE_FILE, leaf.chain_pem)
            atomic_write(need.folder / layout.CA_FILE, pki.pem(authority.certificate))
        return [*_configured(paths, plan)]


def cluster_problems(site: Site, *, within_days: int, now: datetime | None = None) -> Iterator[str]:
    """Yield what of a site's cluster runs out."""
    if not site.paths.cluster_ledger.exists():
        return
    ledger = Ledger.load(site.paths.cluster_ledger)
    left = {entry.name: _days(ledger, entry.name, now) or 0 for entry in ledger.entries}
    due = [f"{name} ({days} d)" for name, days in sorted(left.items()) if days <= within_days]
    if due:
        yield (
            f"certificates of the cluster that matches run out: {', '.join(due)}; run"
            f" `sealtrace site cluster {quoted(site.paths.root)}`"
        )


def _members(paths: SitePaths, machines: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
    yield CLUSTER_AGGREGATOR, CLUSTER_AGGREGATOR, paths.aggregator.parent / AGGREGATOR_FOLDER
    yield CLUSTER_SCHEDULER, CLUSTER_SCHEDULER, _folder(paths, CLUSTER_SCHEDULER)
    for name in machines:
        yield name, CLUSTER_WORKER, _folder(paths, name)


def _folder(paths: SitePaths, name: str) -> Path:
    return paths.cluster / name / layout.TLS_FOLDER


def _days(ledger: Ledger, name: str, now: datetime | None) -> int | None:
    newest = ledger.newest(name)
    if newest is None or newest.revoked_at is not None:
        return None
    return days_left(newest.not_after, now)


def _authority(site: Site, plan: ClusterPlan, passphrase: bytes, now: datetime) -> pki.Authority:
    """Open the cluster's CA; make it where there is none, or another is asked for."""
    paths = site.paths
    # Somebody who does not know the site's passphrase makes no CA under another.
    keyfiles.read_secret(paths.issuing_key, passphrase, CA_KEY)
    if plan.founds:
        years = site.plan.certificates.ca_years
        made = pki.new_root(site.plan.site, now=now, years=years, title=CLUSTER_CA, path_length=0)
        paths.cluster_certificate.unlink(missing_ok=True)
        paths.cluster_key.unlink(missing_ok=True)
        ledger = Ledger.load(paths.cluster_ledger) if paths.cluster_ledger.exists() else Ledger()
        for name in {entry.name for entry in ledger.entries}:
            ledger = ledger.revoked(name, now)  # who they are is kept: all are certified anew
        ledger.save(paths.cluster_ledger)
        Secrets(passphrase).write_ca_key(paths.cluster_key, pki.key_pem(made.key))
        atomic_write(paths.cluster_certificate, pki.pem(made.certificate))
        return made
    secret = keyfiles.read_secret(paths.cluster_key, passphrase, CA_KEY)
    key = pki.load_key(secret, what=str(paths.cluster_key))
    return pki.Authority(read_certificate(paths.cluster_certificate), key)


def _configured(paths: SitePaths, plan: ClusterPlan) -> Iterator[Path]:
    """Write configurations that are not there; yield every folder with a new certificate."""
    for need in plan.needs:
        if need.duty == CLUSTER_AGGREGATOR:
            yield need.folder.parent
            continue
        folder = need.folder.parent
        if need.duty == CLUSTER_SCHEDULER:
            text = roles.scheduler_toml(plan.address)
            write_if_new(folder / "scheduler.toml", text.encode())
        else:
            text = roles.match_worker_toml(plan.address, need.name)
            write_if_new(folder / "match-worker.toml", text.encode())
        yield folder
    _name_in_aggregator(paths.aggregator, plan.address)


def _name_in_aggregator(path: Path, address: str) -> None:
    """Have ``aggregator.toml`` name the cluster, comments and all; what stands there stays."""
    if not path.exists():
        return
    document = tomlkit.parse(read_file(path, _MAX_BYTES).decode())
    if "cluster" in document:
        return
    section, tls = tomlkit.table(), tomlkit.table()
    section["scheduler"] = address
    tls["ca"] = f"{AGGREGATOR_FOLDER}/{layout.CA_FILE}"
    tls["certificate"] = f"{AGGREGATOR_FOLDER}/{layout.CERTIFICATE_FILE}"
    tls["private_key"] = f"{AGGREGATOR_FOLDER}/{layout.KEY_FILE}"
    section["tls"] = tls
    document["cluster"] = section
    atomic_write(path, tomlkit.dumps(document).encode(), path.stat().st_mode & 0o777)


def _address_of(paths: SitePaths) -> str:
    """Return the address that the scheduler's configuration has; "" where it is not here."""
    path = paths.cluster / CLUSTER_SCHEDULER / "scheduler.toml"
    if not path.exists():
        return ""
    try:
        table = parse_toml(read_file(path, _MAX_BYTES).decode())
        return f"{table['host']}:{table['port']}"
    except (ValueError, LookupError, TypeError) as error:
        raise SiteError(f"{path} cannot be read: {error}; correct it") from error


def _checked_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise SiteError(
            "say where the cluster's scheduler is, as all reach it: --scheduler 10.0.0.5:8786"
            + (f" ('{address}' is no host:port)" if address else "")
        )
    return address
