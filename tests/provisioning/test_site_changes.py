"""Revoking, renewing and changing the policy: whole, told everywhere, and safe to run again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from protocol.directory import APPROVER, CUSTODIAN, open_directory
from protocol.errors import PrincipalRevoked
from protocol.policy import open_policy
from protocol.signing import SigningKey
from provisioning.authority import SiteError, SitePaths, changes, open_site
from provisioning.authority.inspect import inspect_site
from provisioning.authority.office import read_certificate
from provisioning.formats.plan import OfficerPlan
from provisioning.formats.secretfiles import open_authority
from runtime.config import load
from runtime.keyfiles import WrongPassphrase, read_secret
from runtime.officer import OfficerConfig


def test_revoking_reaches_directory_crl_rights_and_copies(
    site: SitePaths, passphrase: bytes
) -> None:
    serial = read_certificate(site.custodian("c1").parent / "tls/certificate.pem").serial_number
    change = changes.revoke(site.root, "c1", passphrase)
    assert change.changed
    assert change.site.directory.version == 2
    opened = open_site(site.root)
    with pytest.raises(PrincipalRevoked):
        opened.directory.require("c1", CUSTODIAN)
    crl = x509.load_pem_x509_crl((site.broker / "certs/crl.pem").read_bytes())
    assert crl.get_revoked_certificate_by_serial_number(serial) is not None
    assert "user c1\ntopic deny st/v1/" in (site.broker / "acl").read_text()
    for folder in (site.authority, *site.role_folders()):
        for form, name in ((2, "directory.cbor"), (1, "directory-1.cbor")):
            copy = open_directory((folder / name).read_bytes(), opened.authority)
            assert (copy.version, copy.form) == (2, form)


def test_revoking_again_changes_nothing_and_asks_for_no_key(
    site: SitePaths, passphrase: bytes
) -> None:
    changes.revoke(site.root, "eve", passphrase)
    before = site.crl.read_bytes(), site.directory.read_bytes()
    assert not changes.revoke(site.root, "eve", b"").changed
    assert (site.crl.read_bytes(), site.directory.read_bytes()) == before


def test_an_interrupted_revocation_is_finished_by_the_next_run(
    site: SitePaths, passphrase: bytes
) -> None:
    old = site.directory.read_bytes()
    changes.revoke(site.root, "box-1", passphrase)
    site.directory.write_bytes(old)  # as if it had stopped after the certificates
    assert changes.revoke(site.root, "box-1", passphrase).site.directory.version == 2
    (site.box("box-2").parent / "directory.cbor").write_bytes(old)  # ... or between the copies
    change = changes.revoke(site.root, "box-1", passphrase)
    assert change.files == (site.box("box-2").parent / "directory.cbor",)


def test_what_the_second_form_says_of_a_box_survives_every_change(
    site: SitePaths, passphrase: bytes
) -> None:
    opened = open_site(site.root)
    principals = dict(opened.directory.principals)
    principals["box-2"] = replace(principals["box-2"], recordings=("film-2",), version_1_until_ms=5)
    with_places = replace(opened, directory=replace(opened.directory, places=bytes(32)))
    authority = open_authority(site, passphrase)
    changes.publish(with_places, principals, authority, changes.whole_second(None))
    changes.revoke(site.root, "box-1", passphrase)
    directory = open_site(site.root).directory
    assert directory.principals["box-2"] == principals["box-2"]
    assert directory.places == bytes(32)


def test_the_wrong_passphrase_changes_nothing(site: SitePaths) -> None:
    before = _files(site)
    with pytest.raises(WrongPassphrase):
        changes.revoke(site.root, "c1", b"wrong")
    assert _files(site) == before


def test_unknown_names_are_answered_with_the_known_ones(site: SitePaths, passphrase: bytes) -> None:
    with pytest.raises(SiteError, match="aggregator, ana, bo"):
        changes.revoke(site.root, "anna", passphrase)


def test_renewal_makes_new_certificates_for_those_in_force(
    site: SitePaths, passphrase: bytes
) -> None:
    changes.revoke(site.root, "box-2", passphrase)
    opened = open_site(site.root)
    later = datetime.now(UTC) + timedelta(days=25)
    assert changes.due_for_renewal(opened, 7) == []
    assert changes.due_for_renewal(opened, 7, now=later) == ["box-1"]
    path = site.box("box-1").parent / "tls/certificate.pem"
    key = path.with_name("private-key.pem").read_bytes()
    changes.renew(site.root, ["box-1", "broker", "c1", "ana", "aggregator"], passphrase, now=later)
    renewed = read_certificate(path)
    assert renewed.not_valid_after_utc > later + timedelta(days=29)
    assert path.with_name("private-key.pem").read_bytes() != key
    assert changes.due_for_renewal(opened, 7, now=later) == []
    assert inspect_site(opened, now=later).problems == ()
    with pytest.raises(SiteError, match="box-2"):
        changes.renew(site.root, ["box-2"], passphrase)


def test_every_certificate_of_a_revoked_name_is_on_the_list(
    site: SitePaths, passphrase: bytes
) -> None:
    first = read_certificate(site.box("box-1").parent / "tls/certificate.pem").serial_number
    changes.renew(site.root, ["box-1"], passphrase)
    second = read_certificate(site.box("box-1").parent / "tls/certificate.pem").serial_number
    changes.revoke(site.root, "box-1", passphrase)
    crl = x509.load_pem_x509_crl(site.crl.read_bytes())
    assert {entry.serial_number for entry in crl} == {first, second}


def test_a_new_officer_can_be_added_once(site: SitePaths, passphrase: bytes) -> None:
    fay = OfficerPlan(name="fay", duties=("approver", "auditor"))
    change = changes.add_officer(site.root, fay, passphrase, own_passphrase=b"words of her own")
    assert change.site.directory.version == 2
    principal = open_site(site.root).directory.require("fay", APPROVER)
    config = load(site.officer("fay"), OfficerConfig)
    seed = read_secret(config.identity, b"words of her own", "identity")
    assert SigningKey("fay", seed).verify_key == principal.verify_key
    assert inspect_site(open_site(site.root)).problems == ()
    assert not changes.add_officer(site.root, fay, b"").changed
    for plan in (
        OfficerPlan(name="fay", duties=("approver",)),
        OfficerPlan(name="box-1", duties=("auditor",)),
        OfficerPlan(name="broker", duties=("auditor",)),
    ):
        with pytest.raises(SiteError, match="choose another name"):
            changes.add_officer(site.root, plan, passphrase)
    changes.revoke(site.root, "fay", passphrase)
    with pytest.raises(SiteError, match="choose a new name"):
        changes.add_officer(site.root, fay, passphrase)


def test_a_changed_policy_is_signed_and_spread(site: SitePaths, passphrase: bytes) -> None:
    text = site.policy.read_bytes().replace(b"version = 1", b"version = 2")
    text = text.replace(b"max_cameras = 500", b"max_cameras = 7")
    assert changes.change_policy(site.root, text, passphrase)
    copy = site.custodian("c1").parent
    authority = open_site(site.root).authority
    policy = open_policy(
        (copy / "policy.toml").read_bytes(), (copy / "policy.toml.sig").read_bytes(), authority
    )
    assert (policy.version, policy.max_cameras) == (2, 7)
    assert not changes.change_policy(site.root, text, b"")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"approvals = 2", b"approvals = 1", "above version 1"),
        (b'site = "demo"\n\n# Goes up with every change.\nversion = 1', b"", "site is not a name"),
        (b"approvals = 2", b"approvals = 0", "'approvals' must be"),
        (b"approvals = 2", b"approvals 2", "not TOML"),
    ],
)
def test_a_wrong_policy_is_not_signed(
    site: SitePaths, passphrase: bytes, old: bytes, new: bytes, message: str
) -> None:
    text = site.policy.read_bytes().replace(old, new)
    with pytest.raises(SiteError, match=message):
        changes.change_policy(site.root, text, passphrase)
    assert open_site(site.root).policy.version == 1


def test_a_policy_left_between_its_two_files_is_finished(
    site: SitePaths, passphrase: bytes
) -> None:
    old = site.policy.read_bytes()
    text = old.replace(b"version = 1", b"version = 2")
    changes.change_policy(site.root, text, passphrase)
    site.policy.write_bytes(old)
    site.policy.with_name(".policy.toml.new").write_bytes(text)
    assert not changes.change_policy(site.root, text, b"")
    assert open_site(site.root).policy.version == 2


def test_tampering_is_found(site: SitePaths) -> None:
    site.policy.write_bytes(site.policy.read_bytes().replace(b"approvals = 2", b"approvals = 1"))
    with pytest.raises(SiteError, match="not the one that the site's authority signed"):
        open_site(site.root)


def test_a_forged_directory_is_found(site: SitePaths, made_site: SitePaths) -> None:
    data = bytearray(site.directory.read_bytes())
    data[len(data) // 2] ^= 1
    site.directory.write_bytes(data)
    with pytest.raises(SiteError, match=r"directory\.cbor"):
        open_site(site.root)
    with pytest.raises(SiteError, match="not a site's folder"):
        open_site(made_site.root.parent)


def test_inspection_finds_stale_copies_and_foreign_certificates(
    site: SitePaths, passphrase: bytes
) -> None:
    stale = (site.box("box-2").parent / "directory.cbor").read_bytes()
    changes.revoke(site.root, "bo", passphrase)
    (site.box("box-2").parent / "directory.cbor").write_bytes(stale)
    own = site.box("box-1").parent / "tls/certificate.pem"
    own.write_bytes((site.box("box-2").parent / "tls/certificate.pem").read_bytes())
    report = inspect_site(open_site(site.root))
    assert len(report.problems) == 3
    assert any("too few approvers are in force for any query" in p for p in report.problems)
    assert any("has directory version 1, not 2" in problem for problem in report.problems)
    assert any("certificate of someone else" in problem for problem in report.problems)
    end = datetime.fromtimestamp(open_site(site.root).policy.programme_ends_ms / 1000, UTC)
    later = inspect_site(open_site(site.root), now=end + timedelta(days=1)).problems
    assert "the programme has ended: nothing is granted any more" in later
    assert any(problem.startswith("certificates run out: box-1") for problem in later)


def _files(site: SitePaths) -> dict[Path, bytes]:
    found = (path for path in site.root.rglob("*") if path.is_file() and path != site.lock)
    return {path: path.read_bytes() for path in found}
