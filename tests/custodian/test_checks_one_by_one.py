"""Checks of a custodian that stand beside others, each tested where it alone decides."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from custodian_site import CHEAP, PASSPHRASE, Asked, Make, approved, make_announcement, read_grant

from custodian.keystore import KeyRing
from protocol.about_queries import MatcherKey
from protocol.directory import AGGREGATOR
from protocol.errors import SignatureInvalid, UnknownSigner
from protocol.names import CameraAddress


def test_a_matcher_key_of_another_aggregator_than_asks(make: Make) -> None:
    principals = {**s.directory().principals, "backup": s.principal("backup", AGGREGATOR)}
    directory = s.directory().next_version(principals, at_ms=s.NOW_MS)
    c1 = make("c1", directory=directory)
    _, message = make_announcement([c1])
    asked = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    key = MatcherKey(asked.case.query.digest, asked.matcher.public, s.NOW_MS)
    theirs = replace(asked, matcher_key=key.sign(s.signing_key("backup")).to_bytes())
    with pytest.raises(SignatureInvalid, match="aggregator that asks"):
        c1.granter.grant(theirs.to_bytes())
    own = replace(theirs, signer=s.signing_key("backup"))
    assert read_grant(c1.granter.grant(own.to_bytes()), "c1").scopes


def test_an_announcement_of_another_site(make: Make) -> None:
    c1 = make("c1")
    announced, _ = make_announcement([c1])
    elsewhere = replace(announced, address=CameraAddress("elsewhere", "box-1", "cam-1"))
    message = elsewhere.sign(s.signing_key("box-1")).to_bytes()
    with pytest.raises(UnknownSigner, match="of site 'elsewhere'"):
        c1.granter.grant(Asked(approved(s.NOW_MS), [message], s.NOW_MS).to_bytes())


def test_a_former_key_file_that_was_left_is_shredded_before_the_next_is_written(
    tmp_path: Path,
) -> None:
    ring = KeyRing.open(tmp_path / "keys", PASSPHRASE, site="vectors", custodian="c1", cost=CHEAP)
    ring.make([1])
    left = tmp_path / "keys.former"
    content = (tmp_path / "keys").read_bytes()
    left.write_bytes(content)  # as after a disk that was full while it was being removed
    hold = os.open(left, os.O_RDONLY)
    try:
        assert ring.make([2]) == [2]
        os.lseek(hold, 0, os.SEEK_SET)
        assert os.read(hold, 1 << 20) != content
    finally:
        os.close(hold)
    assert not left.exists()
    assert ring.epochs() == [1, 2]
