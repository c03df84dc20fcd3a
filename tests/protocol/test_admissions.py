"""A registrar admits and revokes boxes, and can do nothing else."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.admissions import Admissions, open_admissions
from protocol.boxterms import BoxTerms
from protocol.directory import Directory, Principal
from protocol.errors import (
    DirectoryRollback,
    MalformedMessage,
    PrincipalRevoked,
    SignatureInvalid,
    UnknownSigner,
)

NEW = s.principal("box-9", "box", cameras=("cam-9",))
LISTED = set(s.directory().principals)


def listed(
    *boxes: Principal, version: int = 1, revoked: dict[str, int] | None = None
) -> Admissions:
    return Admissions(s.SITE, version, s.NOW_MS, {box.name: box for box in boxes}, revoked or {})


def test_an_admitted_box_speaks_for_its_camera() -> None:
    signed = listed(NEW).sign(s.signing_key("registrar")).to_bytes()
    effective = open_admissions(signed, s.directory()).apply(s.directory())
    assert effective.require("box-9", "box") == NEW
    assert effective.box_of_camera("cam-9").name == "box-9"
    assert set(effective.principals) == LISTED | {"box-9"}


def with_terms(**of: BoxTerms) -> Directory:
    admitted = {name.replace("_", "-"): terms for name, terms in of.items()}
    return replace(s.directory(), form=2, admitted=admitted)


TERMS = BoxTerms(("cam-7",), s.NOW_MS)


def test_what_the_authority_says_of_an_admitted_box_counts_whoever_admits_it() -> None:
    directory = with_terms(box_9=TERMS)
    other_key = replace(NEW, verify_key=s.signing_key("box-8").verify_key)
    for box, revoked in ((NEW, {}), (other_key, {}), (NEW, {"box-9": 5})):
        effective = listed(box, revoked=revoked).apply(directory)
        found = effective.principals["box-9"]
        assert found.terms == TERMS
        assert (found.cameras, found.verify_key) == (box.cameras, box.verify_key)
        assert effective.admitted == {}, "it is said where the box is listed"
    assert listed().apply(directory).admitted == {"box-9": TERMS}


def test_a_registrar_gives_no_box_recordings_nor_ends_its_version_1() -> None:
    generous = replace(NEW, recordings=("cam-1",), version_1_until_ms=5)
    payload = listed(generous).sign(s.signing_key("registrar")).payload
    for read in (listed(generous), Admissions.parse(payload)):
        for directory, terms in ((with_terms(), BoxTerms()), (with_terms(box_9=TERMS), TERMS)):
            assert read.apply(directory).principals["box-9"].terms == terms


def test_terms_of_a_box_that_nobody_admitted_make_no_box() -> None:
    effective = listed(NEW).apply(with_terms(box_8=TERMS))
    assert "box-8" not in effective.principals
    assert effective.principals["box-9"].terms == BoxTerms()


def test_a_revoked_box_is_refused_by_name_whoever_listed_it() -> None:
    both = listed(NEW, revoked={"box-9": 5, "box-1": 6}).apply(s.directory())
    for name in ("box-9", "box-1"):
        with pytest.raises(PrincipalRevoked):
            both.require(name, "box")


@given(st.sampled_from(sorted(LISTED)))
def test_nobody_but_a_box_is_revoked(name: str) -> None:
    effective = listed(revoked={name: 1}).apply(s.directory())
    changed = {n for n in LISTED if effective.principals[n] != s.directory().principals[n]}
    assert changed == ({name} if name.startswith("box") else set())


def test_neither_a_name_nor_a_camera_is_taken_from_the_authority() -> None:
    impostor = replace(NEW, name="box-1")
    assert listed(impostor).apply(s.directory()).principals == s.directory().principals
    thief = replace(NEW, cameras=("cam-1", "cam-9"))
    assert listed(thief).apply(s.directory()).principals == s.directory().principals


def test_a_swapped_box_takes_over_the_cameras() -> None:
    heir = replace(NEW, cameras=("cam-1",))
    effective = listed(heir, revoked={"box-1": 4}).apply(s.directory())
    assert effective.box_of_camera("cam-1").name == "box-9"


@pytest.mark.parametrize("duty", ["approver", "custodian", "registrar", "investigator"])
def test_no_other_duty_can_be_admitted(duty: str) -> None:
    payload = listed(s.principal("mallory", duty)).sign(s.signing_key("registrar")).payload
    with pytest.raises(MalformedMessage, match="boxes alone"):
        Admissions.parse(payload)


def test_only_the_registrar_in_force_is_believed_and_never_an_older_list() -> None:
    signed = listed(NEW, version=3).sign(s.signing_key("registrar"))
    newest = open_admissions(signed.to_bytes(), s.directory())
    older = listed(version=2).sign(s.signing_key("registrar")).to_bytes()
    with pytest.raises(DirectoryRollback):
        open_admissions(older, s.directory(), newest=newest)
    with pytest.raises(UnknownSigner):
        open_admissions(listed(NEW).sign(s.signing_key("bo")).to_bytes(), s.directory())
    with pytest.raises(PrincipalRevoked):
        open_admissions(signed.to_bytes(), s.directory().revoke("registrar", at_ms=1))
    other = replace(listed(NEW), site="elsewhere").sign(s.signing_key("registrar")).to_bytes()
    with pytest.raises(SignatureInvalid, match="elsewhere"):
        open_admissions(other, s.directory())
