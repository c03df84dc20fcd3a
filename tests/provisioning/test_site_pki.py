"""The certificates do what TLS needs of them, and OpenSSL's strict checks find nothing."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from provisioning.authority import SitePaths
from provisioning.authority.ledger import Ledger, LedgerError
from provisioning.formats import pki
from runtime.tls import BOXES_CA

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def root() -> pki.Authority:
    return pki.new_root("demo", now=NOW, years=10)


@pytest.fixture(scope="module")
def issuing(root: pki.Authority) -> pki.Authority:
    return pki.new_issuing(root, "demo", now=NOW, years=10)


def _openssl(tmp_path: Path, trust: bytes, crl: bytes, leaf: bytes, purpose: str) -> str:
    for name, data in (("ca", trust), ("crl", crl), ("leaf", leaf)):
        (tmp_path / name).write_bytes(data)
    command = ["openssl", "verify", "-x509_strict", "-crl_check_all", "-purpose", purpose]
    command += ["-CRLfile", "crl", "-CAfile", "ca", "leaf"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    return answer.stdout + answer.stderr


def _crls(root: pki.Authority, issuing: pki.Authority, *serials: int) -> bytes:
    revoked = [(serial, NOW) for serial in serials]
    return pki.pem(pki.revocation_list(issuing, revoked, number=2, now=NOW)) + pki.pem(
        pki.revocation_list(root, (), number=1, now=NOW)
    )


@pytest.mark.processes
def test_openssl_accepts_a_leaf_until_it_is_revoked(
    tmp_path: Path, root: pki.Authority, issuing: pki.Authority
) -> None:
    leaf = pki.issue(issuing, "box-1", usages=[pki.CLIENT], now=NOW, days=30)
    trust, chain = issuing.trust_pem, leaf.chain_pem
    assert "leaf: OK" in _openssl(tmp_path, trust, _crls(root, issuing), chain, "sslclient")
    assert "purpose" in _openssl(tmp_path, trust, _crls(root, issuing), chain, "sslserver")
    revoked = _crls(root, issuing, leaf.certificate.serial_number)
    assert "certificate revoked" in _openssl(tmp_path, trust, revoked, chain, "sslclient")
    other = pki.issue(issuing, "box-2", usages=[pki.CLIENT], now=NOW, days=30)
    assert "leaf: OK" in _openssl(tmp_path, trust, revoked, other.chain_pem, "sslclient")


@pytest.mark.processes
def test_what_the_boxes_ca_signs_is_no_servers_certificate(
    tmp_path: Path, root: pki.Authority
) -> None:
    boxes = pki.new_issuing(root, "demo", now=NOW, years=10, title=BOXES_CA, usages=(pki.CLIENT,))
    leaf = pki.issue(boxes, "c1", usages=[pki.CLIENT, pki.SERVER], now=NOW, days=30)
    said = {
        purpose: _openssl(tmp_path, boxes.trust_pem, _crls(root, boxes), leaf.chain_pem, purpose)
        for purpose in ("sslclient", "sslserver")
    }
    assert "leaf: OK" in said["sslclient"]
    assert "OK" not in said["sslserver"]


def test_a_new_sites_boxes_ca_is_for_clients_alone(made_site: SitePaths) -> None:
    certificate = pki.load_certificates(
        made_site.boxes_ca.certificate.read_bytes(), what="the boxes' CA"
    )[0]
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [pki.CLIENT]
    assert pki.common_name(certificate) == BOXES_CA


def test_a_leaf_says_who_where_and_what_for(issuing: pki.Authority) -> None:
    leaf = pki.issue(
        issuing,
        "c1",
        usages=[pki.SERVER, pki.CLIENT],
        hosts=["localhost", "10.0.0.1", "::1"],
        now=NOW,
        days=30,
    ).certificate
    assert pki.common_name(leaf) == "c1"
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "::1"]
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc == NOW + timedelta(days=30)


def test_the_issuing_ca_can_make_no_further_ca(issuing: pki.Authority) -> None:
    constraints = issuing.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, True)
    assert constraints.value.path_length == 0


def test_a_leaf_never_outlives_its_ca(root: pki.Authority) -> None:
    short = pki.new_issuing(root, "demo", now=NOW, years=1)
    leaf = pki.issue(short, "c1", usages=[pki.CLIENT], now=NOW, days=825)
    assert leaf.certificate.not_valid_after_utc == short.certificate.not_valid_after_utc


def test_certificates_of_another_ca_are_told_apart(issuing: pki.Authority) -> None:
    stranger = pki.new_root("demo", now=NOW, years=1)
    leaf = pki.issue(stranger, "box-1", usages=[pki.CLIENT], now=NOW, days=1).certificate
    pki.check_issued(leaf, stranger.certificate, what="leaf")
    with pytest.raises(pki.CertificateError, match="not issued by this site"):
        pki.check_issued(leaf, issuing.certificate, what="leaf")


def test_keys_read_back_and_damage_is_told(issuing: pki.Authority) -> None:
    key = pki.load_key(pki.key_pem(issuing.key), what="key")
    assert key.public_key() == issuing.key.public_key()
    with pytest.raises(pki.CertificateError, match="backup"):
        pki.load_key(b"nonsense", what="key")
    with pytest.raises(pki.CertificateError, match="backup"):
        pki.load_certificates(b"nonsense", what="certificate")


def test_the_ledger_reads_back_and_lists_only_what_still_matters(
    tmp_path: Path, issuing: pki.Authority
) -> None:
    ledger = Ledger()
    for name, days in (("box-1", 30), ("box-2", 30), ("box-1", 1)):
        leaf = pki.issue(issuing, name, usages=[pki.CLIENT], now=NOW, days=days)
        ledger = ledger.issued(leaf.certificate)
    ledger = ledger.revoked("box-1", NOW)
    ledger.save(tmp_path / "issued.json")
    assert Ledger.load(tmp_path / "issued.json") == ledger
    first, _, third = ledger.entries
    assert [serial for serial, _ in ledger.in_crl(NOW)] == [first.serial, third.serial]
    later = NOW + timedelta(days=2)
    assert [serial for serial, _ in ledger.in_crl(later)] == [first.serial]
    assert ledger.newest("box-1") == third
    assert ledger.revoked("box-1", later) == ledger


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}'])
def test_a_damaged_ledger_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "issued.json").write_text(text)
    with pytest.raises(LedgerError):
        Ledger.load(tmp_path / "issued.json")
