"""Where everything lies in a site's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DIRECTORY_FILE = "directory.cbor"
FIRST_DIRECTORY_FILE = "directory-1.cbor"
"""The same in the form that machines of the first version read."""
POLICY_FILE = "policy.toml"
POLICY_SIGNATURE_FILE = "policy.toml.sig"
IDENTITY_SECRET = "identity.secret"  # noqa: S105 - a file's name
SEALING_SECRET = "sealing.secret"  # noqa: S105 - a file's name
BOX_IDENTITY = "identity.key"
MODELS_FOLDER = "models"
TLS_FOLDER = "tls"
CA_FILE = "ca.pem"
CERTIFICATE_FILE = "certificate.pem"
KEY_FILE = "private-key.pem"
CRL_FILE = "crl.pem"
README_FILE = "README.txt"
PLACES_FILE = "places.register"
ADMISSIONS_FILE = "admissions.cbor"
REGISTRAR_FILE = "registrar.toml"
FORMER_REGISTRAR_FOLDER, FORMER_REGISTRAR_FILE = "enrolment", "enrolment.toml"
"""As version 1 called the registrar's folder and configuration. A site made then keeps them."""


def registrar_config(folder: Path) -> Path:
    """Return the registrar's configuration in its ``folder``; the former name, if that is there."""
    former = folder / FORMER_REGISTRAR_FILE
    return former if former.exists() else folder / REGISTRAR_FILE


@dataclass(frozen=True, slots=True)
class BoxesCaPaths:
    """The CA that the registrar issues boxes' certificates with.

    Its files bear the service's former name, as its certificate does (`runtime.tls.BOXES_CA`): it
    lasts ten years, so both will be met for as long.
    """

    folder: Path

    @property
    def trust(self) -> Path:
        """The CA certificates that every role trusts: the root's, the offline issuing CA's."""
        return self.folder / CA_FILE

    @property
    def certificate(self) -> Path:
        """This CA's certificate."""
        return self.folder / "enrolment.pem"

    @property
    def key(self) -> Path:
        """This CA's key, encrypted under the passphrase of the service."""
        return self.folder / "enrolment-key.secret"

    @property
    def first_crl(self) -> Path:
        """Its revocation list as made with it; newer ones are in the service's state folder."""
        return self.folder / CRL_FILE


@dataclass(frozen=True, slots=True)
class SitePaths:
    """The files of the site in ``root``; nothing is checked, the paths need not exist."""

    root: Path

    @property
    def plan(self) -> Path:
        """``site.toml``: what the site was made from."""
        return self.root / "site.toml"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the site."""
        return self.root / ".lock"

    @property
    def ca(self) -> Path:
        """Folder of the certificate authorities: to be kept offline."""
        return self.root / "ca"

    @property
    def root_certificate(self) -> Path:
        """The root CA's certificate."""
        return self.ca / "root.pem"

    @property
    def root_key(self) -> Path:
        """The root CA's key, encrypted."""
        return self.ca / "root-key.secret"

    @property
    def issuing_certificate(self) -> Path:
        """The issuing CA's certificate."""
        return self.ca / "issuing.pem"

    @property
    def issuing_key(self) -> Path:
        """The issuing CA's key, encrypted."""
        return self.ca / "issuing-key.secret"

    @property
    def crl(self) -> Path:
        """The newest revocation lists of both CAs."""
        return self.ca / CRL_FILE

    @property
    def ledger(self) -> Path:
        """Every certificate that was issued."""
        return self.ca / "issued.json"

    @property
    def cluster_certificate(self) -> Path:
        """The certificate of the CA of the machines that match; absent without a cluster."""
        return self.ca / "cluster.pem"

    @property
    def cluster_key(self) -> Path:
        """That CA's key, encrypted."""
        return self.ca / "cluster-key.secret"

    @property
    def cluster_ledger(self) -> Path:
        """Every certificate that was issued by it."""
        return self.ca / "cluster-issued.json"

    @property
    def cluster(self) -> Path:
        """Folder of the cluster's scheduler and match workers, a folder each."""
        return self.root / "cluster"

    @property
    def authority(self) -> Path:
        """Folder of the site's signing authority: to be kept offline."""
        return self.root / "authority"

    @property
    def authority_secret(self) -> Path:
        """The authority's signing key, encrypted."""
        return self.authority / "authority.secret"

    @property
    def authority_public(self) -> Path:
        """The authority's public key, 64 hexadecimal digits."""
        return self.authority / "authority.pub"

    @property
    def directory(self) -> Path:
        """The newest signed directory."""
        return self.authority / DIRECTORY_FILE

    @property
    def first_directory(self) -> Path:
        """The same in its first form; absent where the site was last changed by older software."""
        return self.authority / FIRST_DIRECTORY_FILE

    @property
    def policy(self) -> Path:
        """The signed policy."""
        return self.authority / POLICY_FILE

    @property
    def policy_signature(self) -> Path:
        """Its detached signature."""
        return self.authority / POLICY_SIGNATURE_FILE

    @property
    def places(self) -> Path:
        """The register of places whose digest the directory names; absent without one."""
        return self.authority / PLACES_FILE

    @property
    def former_places(self) -> Path:
        """Where earlier versions kept it, as the CSV file that it was."""
        return self.authority / "places.csv"

    @property
    def former_policies(self) -> Path:
        """Folder of the policies that were in force before, by digest, each with its signature."""
        return self.authority / "policies"

    @property
    def models(self) -> Path:
        """The model bundle, signed by the authority too (when the site has one)."""
        return self.root / MODELS_FOLDER

    @property
    def broker(self) -> Path:
        """Folder of the broker."""
        return self.root / "broker"

    def further_broker(self, number: int) -> Path:
        """Folder of a further broker: 2 is the first of those."""
        return self.root / f"broker-{number}"

    @property
    def brokers(self) -> list[Path]:
        """The folders of the brokers that are here."""
        further = (self.further_broker(number) for number in range(2, 9))
        return [folder for folder in (self.broker, *further) if folder.is_dir()]

    @property
    def broker_config(self) -> Path:
        """``mosquitto.conf`` (absent with the embedded broker)."""
        return self.broker / "mosquitto.conf"

    @property
    def aggregator(self) -> Path:
        """The aggregator's configuration; its folder is this file's."""
        return self.root / "aggregator" / "aggregator.toml"

    @property
    def registrar(self) -> Path:
        """The registrar's configuration; its folder is this file's."""
        former = self.root / FORMER_REGISTRAR_FOLDER
        return registrar_config(former if former.is_dir() else self.root / "registrar")

    @property
    def admissions(self) -> Path:
        """The newest admissions of a registrar that runs in its folder here."""
        return self.registrar.parent / "state" / ADMISSIONS_FILE

    @property
    def boxes_ca(self) -> BoxesCaPaths:
        """The files of the registrar's own CA."""
        return BoxesCaPaths(self.registrar.parent / "ca")

    def custodian(self, name: str) -> Path:
        """Return a custodian's configuration; its folder is this file's."""
        return self.root / "custodians" / name / "custodian.toml"

    def officer(self, name: str) -> Path:
        """Return an officer's configuration; its folder is this file's."""
        return self.root / "officers" / name / "officer.toml"

    def box(self, name: str) -> Path:
        """Return a box's configuration; its folder is this file's."""
        return self.root / "boxes" / name / "box.toml"

    def role_folders(self) -> list[Path]:
        """Return the folders of all principals that are here (not those moved away), sorted."""
        single = (self.aggregator.parent, self.registrar.parent)
        found = [folder for folder in single if folder.is_dir()]
        for group in ("boxes", "custodians", "officers"):
            folder = self.root / group
            if folder.is_dir():
                found += sorted(entry for entry in folder.iterdir() if entry.is_dir())
        return [folder for folder in found if not folder.name.startswith(".")]
