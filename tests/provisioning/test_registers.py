"""Passkeys, places and outside witnesses come into the directory by commands, checked."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from authenticator import KEY, PASSKEY, assertion
from typer.testing import CliRunner, Result

from protocol.directory import OutsideWitness, open_directory
from protocol.passkey_offers import PasskeyOffer
from protocol.passkeys import Passkey
from protocol.places import parse_places
from protocol.signing import SigningKey
from provisioning.authority import SiteError, SitePaths, changes, open_site, registers, site_places
from provisioning.authority.directory_files import kept_register, write_directory
from provisioning.authority.proposals import Proposal
from provisioning.authority.site_cli import app
from provisioning.formats.secretfiles import open_authority
from runtime.fsio import atomic_write
from runtime.keyfiles import WrongPassphrase, read_secret

Run = Callable[..., Result]
REGISTER = b"camera,place,lat,lon\ncam-1,Ward 3,37.503,126.766\nfilm-9,Lobby,,\n"
WITNESS = OutsideWitness(
    "university", SigningKey("university", bytes(32)).verify_key, "https://witness.example"
)


@pytest.fixture
def run(passphrase: bytes, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("SEALTRACE_OFFICER", raising=False)
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", passphrase.decode())

    def ran(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return ran


def key_of(site: SitePaths, officer: str, passphrase: bytes) -> SigningKey:
    path = site.officer(officer).parent / "identity.secret"
    return SigningKey(officer, read_secret(path, passphrase, "identity"))


def offer(
    site: SitePaths, passphrase: bytes, officer: str = "bo", passkey: Passkey = PASSKEY
) -> bytes:
    """As the officer's desk would write it."""
    made = PasskeyOffer("demo", passkey, time.time_ns() // 1_000_000)
    signed = assertion(made.challenge_bytes(officer), key=KEY, rp_id=passkey.rp_id)
    return made.to_bytes(key_of(site, officer, passphrase), signed)


def said(result: Result) -> str:
    return " ".join(result.output.split())


def test_a_passkey_is_listed_shown_and_withdrawn_by_commands(
    run: Run, site: SitePaths, passphrase: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "bo.passkey"
    file.write_bytes(offer(site, passphrase))
    dry = run("passkey", "add", site.root, file, "--dry-run")
    assert f"would list passkey {PASSKEY.fingerprint} of bo" in said(dry)
    assert open_site(site.root).directory.principals["bo"].passkeys == ()
    done = run("passkey", "add", site.root, file)
    assert done.exit_code == 0, done.output
    assert f"bo signs with passkey {PASSKEY.fingerprint} too: directory version 2" in said(done)
    assert open_site(site.root).directory.principals["bo"].passkeys == (PASSKEY,)
    again = run("passkey", "add", site.root, file)
    assert "nothing had to be changed (directory version 2)" in said(again)
    shown = run("show", site.root)
    assert f"passkey {PASSKEY.fingerprint} of bo, at {PASSKEY.origin}" in said(shown)
    (bo,) = (
        one
        for one in json.loads(run("show", site.root, "--json").stdout)["principals"]
        if one["name"] == "bo"
    )
    assert bo["passkeys"] == [
        {"key": PASSKEY.fingerprint, "rp_id": PASSKEY.rp_id, "origin": PASSKEY.origin}
    ]
    refused = run("passkey", "remove", site.root, "bo", PASSKEY.fingerprint)
    assert refused.exit_code == 1
    assert "open queries that stand on it have to be signed anew" in said(refused)
    gone = run("passkey", "remove", site.root, "bo", PASSKEY.fingerprint, "--yes")
    assert f"bo has no passkey {PASSKEY.fingerprint}: directory version 3" in said(gone)
    assert open_site(site.root).directory.principals["bo"].passkeys == ()
    absent = run("passkey", "remove", site.root, "bo", PASSKEY.fingerprint)
    assert "nothing had to be changed" in said(absent)
    assert "the site has no 'zoe'" in said(run("passkey", "remove", site.root, "zoe", "0" * 16))


def test_every_role_folder_has_what_is_listed_in_the_second_form_alone(
    site: SitePaths, passphrase: bytes
) -> None:
    registers.add_passkey(site.root, offer(site, passphrase)).make(passphrase)
    registers.add_witness(site.root, WITNESS).make(passphrase)
    site_places.set_places(site.root, REGISTER).make(passphrase)
    authority = open_site(site.root).authority
    for folder in site.role_folders():
        second = open_directory((folder / "directory.cbor").read_bytes(), authority)
        assert second.principals["bo"].passkeys == (PASSKEY,)
        assert second.outside_witnesses == (WITNESS,)
        assert second.places == hashlib.sha256(REGISTER).digest()
        first = open_directory((folder / "directory-1.cbor").read_bytes(), authority)
        assert (first.version, first.form) == (second.version, 1)
        assert (first.principals["bo"].passkeys, first.outside_witnesses) == ((), ())
        assert first.places is None


def test_a_passkey_that_is_not_the_officers_own_is_refused(
    site: SitePaths, passphrase: bytes
) -> None:
    mine = offer(site, passphrase)
    altered = bytearray(mine)
    altered[len(mine) // 2] ^= 1
    with pytest.raises(SiteError, match=r"not listed: .*offer it anew"):
        registers.add_passkey(site.root, bytes(altered))
    with pytest.raises(SiteError, match="lists no officer 'zoe'"):
        made = PasskeyOffer("demo", PASSKEY, time.time_ns() // 1_000_000)
        signed = assertion(made.challenge_bytes("zoe"))
        registers.add_passkey(site.root, made.to_bytes(SigningKey("zoe", bytes(32)), signed))
    registers.add_passkey(site.root, mine).make(passphrase)
    with pytest.raises(SiteError, match="is listed for 'bo' already"):
        registers.add_passkey(site.root, offer(site, passphrase, "cy"))
    moved = replace(PASSKEY, origin="https://desk.bucheon.example")
    with pytest.raises(SiteError, match=r"not listed: .*another page"):
        registers.add_passkey(site.root, offer(site, passphrase, passkey=moved))


@pytest.mark.slow
def test_the_directory_names_a_register_of_places_that_was_checked(
    run: Run, site: SitePaths, passphrase: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "places.csv"
    file.write_bytes(REGISTER)
    done = run("places", site.root, file)
    assert done.exit_code == 0, done.output
    digest = hashlib.sha256(REGISTER).hexdigest()
    assert f"names the register of 2 cameras, SHA-256 {digest}: directory version 2" in said(done)
    assert "1 camera without a place in it: cam-2" in said(done)
    assert (
        "1 camera in it, though no box here is known to watch or import films of: film-9"
        in said(done)
    )
    assert site.places.read_bytes() == REGISTER
    assert "nothing had to be changed" in said(run("places", site.root, file))
    shown = run("show", site.root)
    assert f"SHA-256 {digest}" in said(shown)
    assert json.loads(run("show", site.root, "--json").stdout)["places"] == digest
    atomic_write(site.places, b"camera,place\n")
    assert "is not the register of places that the directory names" in said(run("show", site.root))
    site.places.unlink()
    assert "is not there" in said(run("show", site.root))
    assert "nothing had to be changed" in said(run("places", site.root, file))
    assert site.places.read_bytes() == REGISTER, "a lost copy is there again"
    file.write_bytes(b"camera,place\nno name\n")
    assert "correct the file" in said(run("places", site.root, file))
    assert run("places", site.root, "--none").exit_code == 0
    assert open_site(site.root).directory.places is None
    assert not site.places.exists()
    assert run("places", site.root).exit_code == 2


def test_outside_witnesses_are_listed_and_taken_off_by_commands(
    run: Run, site: SitePaths, tmp_path: Path
) -> None:
    key = tmp_path / "university.pub"
    key.write_text(WITNESS.verify_key.raw.hex() + "\n")
    add = ("witness", "add", site.root, WITNESS.name, "--key", key, "--url")
    done = run(*add, WITNESS.url)
    assert done.exit_code == 0, done.output
    assert "university is an outside witness: directory version 2" in said(done)
    assert open_site(site.root).directory.outside_witnesses == (WITNESS,)
    assert "nothing had to be changed" in said(run(*add, WITNESS.url))
    assert "take it off the list" in said(run(*add, "https://other.example"))
    assert f"outside witness university ({WITNESS.verify_key.fingerprint})" in said(
        run("show", site.root)
    )
    (listed,) = json.loads(run("show", site.root, "--json").stdout)["outside_witnesses"]
    assert listed["url"] == WITNESS.url
    gone = run("witness", "remove", site.root, "university")
    assert "university is no outside witness: directory version 3" in said(gone)
    assert "nothing had to be changed" in said(run("witness", "remove", site.root, "university"))
    assert "is in the site, not outside" in said(run("witness", "remove", site.root, "c1"))
    key.write_text("rubbish")
    assert "is not a public key" in said(run(*add, WITNESS.url))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "c1"}, "is in the site"),
        ({"name": "authority"}, "is in the site"),
        ({"name": "Uni 1"}, "is not a name"),
        ({"url": "http://witness.example"}, "is not an address"),
        ({"url": "https://"}, "is not an address"),
        ({"url": "https://a b"}, "is not an address"),
        ({"url": "https://user@witness.example"}, "is not an address"),
        ({"url": "https://witness.example/" + "a" * 300}, "is not an address"),
    ],
)
def test_what_is_no_witness_outside_is_refused(
    site: SitePaths, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(SiteError, match=words):
        registers.add_witness(site.root, replace(WITNESS, **change))


def test_a_key_within_the_site_witnesses_nothing_from_outside(site: SitePaths) -> None:
    own = open_site(site.root).directory.principals["c1"].verify_key
    with pytest.raises(SiteError, match="that key is 'c1''s"):
        registers.add_witness(site.root, replace(WITNESS, verify_key=own))


def test_taking_off_a_witness_that_the_policy_needs_is_asked_and_shown(
    run: Run, site: SitePaths, passphrase: bytes
) -> None:
    registers.add_witness(site.root, WITNESS).make(passphrase)
    needing = site.policy.read_bytes().replace(b"\nversion = 1", b"\nversion = 2")
    needing = needing.replace(b"outside_witnesses = 0", b"outside_witnesses = 1")
    assert b"outside_witnesses = 1" in needing
    changes.change_policy(site.root, needing, passphrase)
    refused = run("witness", "remove", site.root, "university")
    assert refused.exit_code == 1
    assert "the policy asks for 1 outside witnesses, and 0 are left" in said(refused)
    assert run("witness", "remove", site.root, "university", "--yes").exit_code == 0
    shown = run("show", site.root)
    assert "asks for 1 outside witnesses, and the directory lists 0" in said(shown)


def test_a_directory_of_the_first_form_takes_none_of_it_and_says_what_to_do(
    site: SitePaths, passphrase: bytes
) -> None:
    opened = open_site(site.root)
    authority = open_authority(site, passphrase)
    atomic_write(site.directory, opened.directory.sign(authority, 1).to_bytes())
    assert open_site(site.root).directory.form == 1
    proposing: list[Callable[[], Proposal]] = [
        lambda: registers.add_passkey(site.root, offer(site, passphrase)),
        lambda: registers.remove_passkey(site.root, "bo", PASSKEY.fingerprint),
        lambda: site_places.set_places(site.root, REGISTER),
        lambda: registers.add_witness(site.root, WITNESS),
        lambda: registers.remove_witness(site.root, "university"),
    ]
    for propose in proposing:
        with pytest.raises(SiteError, match=r"no room for .*site update .* --sign"):
            propose()
    write_directory(site, opened.directory, authority)
    assert registers.add_witness(site.root, WITNESS).needs_passphrase


def test_a_register_of_places_with_walks_is_made_of_two_files_and_goes_to_the_aggregator(
    run: Run, site: SitePaths, tmp_path: Path
) -> None:
    places, walks = tmp_path / "places.csv", tmp_path / "walks.csv"
    places.write_text("camera,place,name_ko\ncam-1,Lobby,로비\ncam-2,Attic,\n")
    walks.write_text("from,to,seconds\ncam-1,cam-2,40\n")
    done = run("places", site.root, places, "--walks", walks)
    assert done.exit_code == 0, done.output
    assert "register of 2 cameras and 1 walk" in said(done)
    kept = site.places.read_bytes()
    assert parse_places(kept).walk_s("cam-2", "cam-1") == 40
    assert (site.aggregator.parent / "places.register").read_bytes() == kept
    assert kept_register(site, open_site(site.root).directory) == kept
    assert "has 1 walk, and this one has none; see --walks" in said(
        run("places", site.root, places, "--dry-run")
    )
    assert run("places", site.root, "--none", "--walks", walks).exit_code == 2
    with pytest.raises(WrongPassphrase):
        site_places.set_places(site.root, REGISTER).make(b"wrong")
    assert site.places.read_bytes() == kept, "what is named is kept until another is signed for"
    walks.write_text("from,to,seconds\ncam-1,cam-9,40\n")
    wrong = run("places", site.root, places, "--walks", walks)
    assert wrong.exit_code == 1
    assert "line 2 of the walks: the register has no camera 'cam-9'; correct the file" in said(
        wrong
    )


def test_a_register_that_an_earlier_version_kept_is_found_and_handed_on(
    run: Run, site: SitePaths, passphrase: bytes
) -> None:
    site_places.set_places(site.root, REGISTER).make(passphrase)
    site.places.rename(site.former_places)
    (site.aggregator.parent / "places.register").unlink()
    shown = run("show", site.root)
    assert "authority/places.csv" in said(shown)
    assert "register of places that the directory names" not in shown.stderr
    assert run("update", site.root).exit_code == 0
    assert (site.aggregator.parent / "places.register").read_bytes() == REGISTER
