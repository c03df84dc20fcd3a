"""What makes a directory or an announcement no such thing, each reason by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import protocol_samples as s
import pytest

from protocol.directory import Directory, open_directory
from protocol.encoding import decode, encode
from protocol.epoch import Announcement, excluded_subsets
from protocol.errors import DirectoryRollback, MalformedMessage, SignatureInvalid, UnknownSigner

AUTHORITY = s.authority()


def fields_of(payload: bytes) -> dict[str, Any]:
    value: dict[str, Any] = decode(payload, what="payload")
    return value


def opened(directory: Directory, **how: Any) -> Directory:
    data = directory.sign(AUTHORITY).to_bytes()
    return open_directory(data, AUTHORITY.verify_key, **how)


def test_an_older_directory_is_a_rollback_and_the_same_one_is_not() -> None:
    newer = replace(s.directory(), version=4)
    assert opened(s.directory(), newest=s.directory()) == s.directory()
    assert opened(newer, newest=s.directory()) == newer
    with pytest.raises(DirectoryRollback, match="3 is older than version 4"):
        opened(s.directory(), newest=newer)


def test_another_sites_directory_is_refused_where_the_site_is_known() -> None:
    assert opened(s.directory()) == s.directory()
    assert opened(s.directory(), site=s.SITE) == s.directory()
    with pytest.raises(SignatureInvalid):
        opened(s.directory(), site="elsewhere")


def test_only_the_authority_signs_a_directory() -> None:
    signed = s.directory().sign(AUTHORITY)
    with pytest.raises(SignatureInvalid):
        open_directory(replace(signed, signer="c1").to_bytes(), AUTHORITY.verify_key)


def test_nobody_is_listed_twice_or_called_the_authority() -> None:
    fields = fields_of(s.directory().sign(AUTHORITY).payload)
    listed = fields["principals"]
    (officer,) = [one for one in listed if one["name"] == "bo"]
    for principals in ([*listed, officer], [*listed, {**officer, "name": "authority"}]):
        with pytest.raises(MalformedMessage):
            Directory.parse(encode({**fields, "principals": principals}))


def test_a_camera_that_nobody_speaks_for_and_a_name_that_nobody_has() -> None:
    with pytest.raises(UnknownSigner, match="cam-9"):
        s.directory().box_of_camera("cam-9")
    with pytest.raises(UnknownSigner, match="nobody"):
        s.directory().revoke("nobody", at_ms=5)
    assert s.directory().revoke("box-1", at_ms=5).version == s.directory().version + 1


@pytest.mark.parametrize("names", [["c1", "c1", "c2"], [], [f"c{n}" for n in range(10)]])
def test_custodians_that_are_no_sharing(names: list[str]) -> None:
    with pytest.raises(MalformedMessage):
        excluded_subsets(names, 2)
    with pytest.raises(MalformedMessage):
        excluded_subsets(["c1", "c2"], 3)


def test_an_announcement_has_one_commitment_of_32_bytes_a_root() -> None:
    fields = fields_of(s.announcement().sign(s.signing_key("box-1")).payload)
    good = fields["commitments"]
    assert Announcement.parse(encode(fields), box="box-1")
    others = [good[:-1], [*good, good[0]], [*good[:-1], good[0][:31]], [*good[:-1], "x" * 32]]
    for commitments in others:
        with pytest.raises(MalformedMessage):
            Announcement.parse(encode({**fields, "commitments": commitments}), box="box-1")


def test_a_share_is_of_a_named_custodian_and_of_two_byte_strings() -> None:
    fields = fields_of(s.announcement().sign(s.signing_key("box-1")).payload)
    share = fields["shares"]["c1"]
    for shares in ({"c9": share}, {"c1": share[:1]}, {"c1": b"ab"}, {"c1": [*share[:1], "text"]}):
        with pytest.raises(MalformedMessage):
            Announcement.parse(encode({**fields, "shares": shares}), box="box-1")
