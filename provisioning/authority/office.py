"""Issues the certificates of the site's roles, keeps the list of them and the revocation lists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from provisioning.authority.ledger import Ledger
from provisioning.formats import layout, pki
from provisioning.formats.layout import SitePaths
from provisioning.formats.plan import BROKER_NAME, REGISTRAR_NAME, SitePlan
from provisioning.formats.plan_services import ServicePlan
from provisioning.formats.secretfiles import CA_KEY, Secrets
from provisioning.registrar import mosquitto
from runtime import keyfiles
from runtime.fsio import atomic_write, read_file
from runtime.tls import BOXES_CA

_MAX_PEM = 64 << 20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Office:
    """The issuing CA at work for one site; what it issues is on the list before it is handed out.

    Args:
        issuing: the issuing CA with its key.
    """

    def __init__(self, paths: SitePaths, plan: SitePlan, issuing: pki.Authority) -> None:
        self._paths = paths
        self._plan = plan
        self._issuing = issuing
        self.ledger = Ledger.load(paths.ledger)

    @classmethod
    def found(cls, paths: SitePaths, plan: SitePlan, secrets: Secrets, *, now: datetime) -> Office:
        """Make both CAs of a new site and write their files.

        Their keys rest as secret files and not as encrypted PEM: the PBKDF2 of PEM files would
        make the passphrase, which opens the other secrets too, cheap to guess.

        Raises:
            FileProblem: a file cannot be written.
        """
        years = plan.certificates.ca_years
        root = pki.new_root(plan.site, now=now, years=years)
        issuing = pki.new_issuing(root, plan.site, now=now, years=years)
        paths.ca.mkdir(mode=0o700, parents=True)
        for certificate, key, authority in (
            (paths.root_certificate, paths.root_key, root),
            (paths.issuing_certificate, paths.issuing_key, issuing),
        ):
            atomic_write(certificate, pki.pem(authority.certificate))
            secrets.write_ca_key(key, pki.key_pem(authority.key))
        atomic_write(_root_crl(paths), pki.pem(pki.revocation_list(root, (), number=1, now=now)))
        if plan.registrar is not None:
            _found_boxes_ca(paths, plan, secrets, root, issuing, now=now)
        Ledger().save(paths.ledger)
        office = cls(paths, plan, issuing)
        office.write_crl(now=now)
        return office

    @classmethod
    def open(cls, paths: SitePaths, plan: SitePlan, passphrase: bytes) -> Office:
        """Unlock the issuing CA of a site.

        Raises:
            KeyFileError: wrong passphrase.
            CertificateError: the CA's files are damaged.
        """
        root = read_certificate(paths.root_certificate)
        certificate = read_certificate(paths.issuing_certificate)
        secret = keyfiles.read_secret(paths.issuing_key, passphrase, CA_KEY)
        key = pki.load_key(secret, what=str(paths.issuing_key))
        return cls(paths, plan, pki.Authority(certificate, key, (root,)))

    @property
    def trust_pem(self) -> bytes:
        """The CA certificates that every role trusts."""
        return self._issuing.trust_pem

    def issue_service(
        self, folder: Path, name: str, service: ServicePlan, *, now: datetime
    ) -> None:
        """Write the TLS folder of an HTTP service, which is a client of others too."""
        usages = (pki.SERVER, pki.CLIENT)
        days = self._plan.certificates.service_days
        self._write(folder, self._issue(name, usages, _hosts(service), now=now, days=days))

    def issue_broker(
        self, folder: Path, *, now: datetime, service: ServicePlan | None = None
    ) -> None:
        """Write a broker's certificate files; without a ``service``, the first one's."""
        hosts = _hosts(service or self._plan.broker)
        days = self._plan.certificates.service_days
        leaf = self._issue(BROKER_NAME, (pki.SERVER,), hosts, now=now, days=days)
        mosquitto.write_certificates(
            folder, ca_pem=self.trust_pem, certificate_pem=leaf.chain_pem, key_pem=leaf.key_pem
        )

    def issue_process(self, folder: Path, name: str, *, now: datetime) -> None:
        """Write the TLS folder with which a further process of the aggregator meets the broker."""
        days = self._plan.certificates.service_days
        self._write(folder, self._issue(name, (pki.CLIENT,), (), now=now, days=days))

    def issue_officer(self, folder: Path, name: str, *, now: datetime) -> None:
        """Write the TLS folder of an officer."""
        days = self._plan.certificates.officer_days
        self._write(folder, self._issue(name, (pki.CLIENT,), (), now=now, days=days))

    def issue_box(self, folder: Path, name: str, *, now: datetime) -> None:
        """Write the TLS folder of a box."""
        days = self._plan.certificates.box_days
        self._write(folder, self._issue(name, (pki.CLIENT,), (), now=now, days=days))

    def revoke(self, name: str, *, now: datetime) -> bool:
        """Put what ``name`` holds on the revocation list; tell whether that changed it."""
        changed = self.ledger.revoked(name, now)
        if changed == self.ledger:
            return False
        self.ledger = changed
        self.write_crl(now=now)
        return True

    def write_crl(self, *, now: datetime) -> None:
        """Sign the revocation list anew and write it with the root's."""
        number = self.ledger.crl_number + 1
        self.ledger = Ledger(self.ledger.entries, number)
        self.ledger.save(self._paths.ledger)
        crl = pki.revocation_list(self._issuing, self.ledger.in_crl(now), number=number, now=now)
        root_crl = read_file(_root_crl(self._paths), _MAX_PEM)
        atomic_write(self._paths.crl, pki.pem(crl) + root_crl)

    def _issue(
        self,
        name: str,
        usages: Sequence[x509.ObjectIdentifier],
        hosts: Iterable[str],
        *,
        now: datetime,
        days: int,
    ) -> pki.Leaf:
        leaf = pki.issue(self._issuing, name, usages=usages, hosts=hosts, now=now, days=days)
        self.ledger = self.ledger.issued(leaf.certificate)
        self.ledger.save(self._paths.ledger)
        return leaf

    def _write(self, folder: Path, leaf: pki.Leaf) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_write(folder / layout.KEY_FILE, leaf.key_pem, 0o600)
        atomic_write(folder / layout.CERTIFICATE_FILE, leaf.chain_pem)
        atomic_write(folder / layout.CA_FILE, self.trust_pem)


def read_certificate(path: Path) -> x509.Certificate:
    """Return the first certificate of a PEM file.

    Raises:
        CertificateError: it holds none.
        FileProblem: it cannot be read.
    """
    return pki.load_certificates(read_file(path, _MAX_PEM), what=str(path))[0]


def days_left(until: datetime, now: datetime | None = None) -> int:
    """Return days until ``until``, begun ones counted; 0 or less when it is past."""
    return math.ceil((until - (now or datetime.now(UTC))) / timedelta(days=1))


def _hosts(service: ServicePlan) -> list[str]:
    loopback = _LOOPBACK if service.host in _LOOPBACK else ()
    return list(dict.fromkeys((service.host, *service.names, *loopback)))


def _found_boxes_ca(
    paths: SitePaths,
    plan: SitePlan,
    secrets: Secrets,
    root: pki.Authority,
    issuing: pki.Authority,
    *,
    now: datetime,
) -> None:
    """Make the boxes' CA, which the registrar holds.

    A CA of its own, not a copy of the offline one: its keeper, which is on the network, signs a
    revocation list that nobody else writes, and the root can take this CA back alone.
    """
    years, usages = plan.certificates.ca_years, (pki.CLIENT,)
    boxes = pki.new_issuing(root, plan.site, now=now, years=years, title=BOXES_CA, usages=usages)
    files = paths.boxes_ca
    files.folder.mkdir(mode=0o700, parents=True)
    files.folder.parent.chmod(0o700)
    atomic_write(files.trust, issuing.trust_pem)
    atomic_write(files.certificate, pki.pem(boxes.certificate))
    secrets.write_ca_key(files.key, pki.key_pem(boxes.key), name=REGISTRAR_NAME)
    crl = pki.revocation_list(boxes, (), number=1, now=now)
    atomic_write(files.first_crl, pki.pem(crl))
    atomic_write(paths.ca / files.certificate.name, pki.pem(boxes.certificate))


def _root_crl(paths: SitePaths) -> Path:
    return paths.ca / "root-crl.pem"
