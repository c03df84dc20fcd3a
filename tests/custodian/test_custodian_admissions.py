"""The registrar's admissions at a custodian: in force at once, kept, logged, never taken back."""

from __future__ import annotations

from pathlib import Path

import protocol_samples as s
import pytest
from custodian_site import Asked, Make, approved, close, make_announcement, opened_log, read_grant

from custodian.errors import TrustError
from custodian.store import Store
from custodian.trust import Trust
from protocol import errors
from protocol.admissions import Admissions
from protocol.boxterms import BoxTerms
from protocol.directory import BOX, REGISTRAR, Directory, Principal
from protocol.epoch import RECORDING
from protocol.signing import SigningKey

KEY = SigningKey("registrar", bytes([7]) * 32)  # not the one that the samples list
BOX_9 = SigningKey("box-9", bytes([9]) * 32)


def listing_registrar() -> Directory:
    directory = s.directory()
    registrar = Principal("registrar", frozenset({REGISTRAR}), KEY.verify_key)
    principals = {**directory.principals, "registrar": registrar}
    return directory.next_version(principals, at_ms=s.NOW_MS)


def with_registrar() -> bytes:
    return listing_registrar().sign(s.authority()).to_bytes()


def admissions(version: int, revoked: tuple[str, ...] = ()) -> bytes:
    box = Principal("box-9", frozenset({BOX}), BOX_9.verify_key, cameras=("cam-9",))
    listed = Admissions(
        s.directory().site, version, s.NOW_MS, {"box-9": box}, dict.fromkeys(revoked, s.NOW_MS)
    )
    return listed.sign(KEY).to_bytes()


def test_an_admitted_box_is_known_and_a_revoked_one_opens_nothing(make: Make) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1])
    with pytest.raises(errors.SignatureInvalid):
        c1.accept_directory(admissions(1))
    assert c1.accept_directory(with_registrar())
    c1.granter.grant(Asked(approved(s.NOW_MS), [message], s.NOW_MS).to_bytes())
    assert c1.accept_directory(admissions(2, ("box-1",)))
    assert c1.trust.site.directory.box_of_camera("cam-9").name == "box-9"
    with pytest.raises(errors.PrincipalRevoked):
        c1.granter.grant(Asked(approved(s.NOW_MS), [message], s.NOW_MS).to_bytes())
    with pytest.raises(errors.DirectoryRollback):
        c1.accept_directory(admissions(1))
    logged = [body for kind, body in opened_log(c1) if kind == "directory"]
    assert [body.get("admissions_version") for body in logged] == [None, None, 2]


def test_an_admitted_box_is_held_to_version_2_and_to_the_films_that_the_authority_gave_it(
    make: Make,
) -> None:
    c1 = make("c1")
    c1.accept_directory(with_registrar())
    c1.accept_directory(admissions(1))
    of_box_9 = [
        make_announcement(
            [c1], box="box-9", camera=camera, signer=BOX_9, generation=number,
            version=version, origin=origin,
        )[1]
        for number, (camera, version, origin) in enumerate(
            (("cam-9", 1, "live"), ("cam-9", 2, "live"), ("cam-7", 2, RECORDING)), start=1
        )
    ]  # fmt: skip

    def opened() -> list[int]:
        """Generations that are granted, of those that the box announced."""
        case = approved(s.NOW_MS, cameras=("cam-7", "cam-9"))
        answer = c1.granter.grant(Asked(case, of_box_9, s.NOW_MS).to_bytes())
        return [scope.generation for scope in read_grant(answer, "c1").scopes]

    assert opened() == [1, 2]
    terms = BoxTerms(("cam-7",), s.NOW_MS - 1)
    held = listing_registrar().with_terms({"box-9": terms})
    held = held.next_version(held.principals, at_ms=s.NOW_MS)
    assert c1.accept_directory(held.sign(s.authority(), 2).to_bytes())
    assert c1.trust.site.directory.principals["box-9"].terms == terms
    assert opened() == [2, 3]
    with pytest.raises(errors.UnsupportedVersion, match="version 1"):
        c1.granter.grant(
            Asked(approved(s.NOW_MS, cameras=("cam-9",)), of_box_9[:1], s.NOW_MS).to_bytes()
        )
    assert c1.accept_directory(admissions(2))
    assert opened() == [2, 3], "a newer list of the registrar's takes nothing back"
    close(c1)
    c1 = make("c1", again=True)
    assert opened() == [2, 3]


def test_admissions_outlive_a_restart_and_their_loss_is_noticed(make: Make, tmp_path: Path) -> None:
    c1 = make("c1")
    c1.accept_directory(with_registrar())
    c1.accept_directory(admissions(5, ("box-1",)))
    close(c1)
    again = make("c1", again=True)
    assert again.trust.site.admissions_version == 5
    close(again)
    kept = tmp_path / "c1" / "state" / "admissions.cbor"
    newest = kept.read_bytes()
    kept.write_bytes(admissions(4))
    store = Store(again.config.database)
    with pytest.raises(TrustError, match=r"version 4 .* older than version 5"):
        Trust(again.config, store, again.key.verify_key)
    kept.write_bytes(newest)
    assert Trust(again.config, store, again.key.verify_key).site.admissions_version == 5
    store.close()
