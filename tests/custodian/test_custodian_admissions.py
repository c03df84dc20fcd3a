"""The registrar's admissions at a custodian: in force at once, kept, logged, never taken back."""

from __future__ import annotations

from pathlib import Path

import protocol_samples as s
import pytest
from custodian_site import Asked, Make, approved, close, make_announcement, opened_log

from custodian.errors import TrustError
from custodian.store import Store
from custodian.trust import Trust
from protocol import errors
from protocol.admissions import Admissions
from protocol.directory import BOX, REGISTRAR, Principal
from protocol.signing import SigningKey

KEY = SigningKey("registrar", bytes([7]) * 32)  # not the one that the samples list


def with_registrar() -> bytes:
    directory = s.directory()
    registrar = Principal("registrar", frozenset({REGISTRAR}), KEY.verify_key)
    principals = {**directory.principals, "registrar": registrar}
    return directory.next_version(principals, at_ms=s.NOW_MS).sign(s.authority()).to_bytes()


def admissions(version: int, revoked: tuple[str, ...] = ()) -> bytes:
    key = SigningKey("box-9", bytes([9]) * 32).verify_key
    box = Principal("box-9", frozenset({BOX}), key, cameras=("cam-9",))
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
