"""Boxes of either version hear of the directory in their form, whatever the broker lets through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import protocol_samples as s
import pytest

from aggregator.relay import Relay
from protocol.directory import open_directory
from protocol.directory_forms import sign_forms
from protocol.names import directory_topic
from runtime.mqtt import PublishFailed
from runtime.trust import Trust


class Board:
    """Takes what is published, except on topics that nobody gave the right to write."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.retained: dict[str, bytes] = {}

    def publish_and_wait(self, topic: str, payload: bytes, *, retain: bool) -> None:
        assert retain
        if topic in self.refused:
            raise PublishFailed(f"{topic}: not authorized")
        self.retained[topic] = payload


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    installed = tmp_path / "directory.cbor"
    installed.write_bytes(s.directory().sign(s.authority()).to_bytes())
    return Trust(
        site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=None
    )


def relay_of(trust: Trust, board: Any) -> Relay:
    return Relay(site=s.SITE, trust=trust, session=board, tls=None, poll_s=1.0)


def test_each_form_is_retained_on_a_topic_of_its_own(trust: Trust) -> None:
    board = Board()
    relay = relay_of(trust, board)
    assert relay.publish()
    assert set(board.retained) == {directory_topic(s.SITE)}
    newer = s.directory().revoke("bo", at_ms=s.NOW_MS)
    forms = sign_forms(newer, s.authority())
    for form in (2, 1):
        trust.accept(forms[form])
    assert relay.publish()
    assert board.retained == {directory_topic(s.SITE, form): forms[form] for form in (1, 2)}
    read = open_directory(board.retained[f"st/v1/{s.SITE}/directory-2"], s.authority().verify_key)
    assert read == replace(newer, form=2)


def test_a_topic_that_the_broker_refuses_keeps_no_other_from_being_relayed(trust: Trust) -> None:
    for signed in sign_forms(s.directory(), s.authority()).values():
        trust.accept(signed)
    board = Board(directory_topic(s.SITE, 1))
    assert not relay_of(trust, board).publish()
    assert set(board.retained) == {directory_topic(s.SITE, 2)}
