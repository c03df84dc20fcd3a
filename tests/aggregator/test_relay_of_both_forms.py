"""Boxes of either version hear of the directory in their form, whatever the broker lets through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import protocol_samples as s
import pytest

import runtime.peers
from aggregator.relay import Relay
from protocol.daykeys import DayKeys
from protocol.directory import open_directory
from protocol.directory_forms import sign_forms
from protocol.names import day_keys_topic, directory_topic
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


def day_keys(form: int) -> bytes:
    keys = {s.EPOCH - form: s.day_key("c1").public}
    return DayKeys(s.SITE, "c1", s.NOW_MS, keys, form).sign(s.signing_key("c1")).to_bytes()


@pytest.mark.parametrize("reads", [1, 2])
def test_day_keys_are_relayed_in_each_form_that_their_custodian_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    directory = s.directory()
    listed = dict(directory.principals)
    listed["c1"] = replace(listed["c1"], url="https://c1.test")
    for name in ("c2", "c3"):
        del listed[name]
    installed = tmp_path / "directory.cbor"
    installed.write_bytes(replace(directory, principals=listed).sign(s.authority()).to_bytes())
    trust = Trust(
        site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=None
    )

    def answer(request: httpx.Request) -> httpx.Response:
        """As a custodian does; one of version 1 does not look at the form that is asked for."""
        form = min(reads, int(request.url.params["form"]))
        return httpx.Response(200, content=day_keys(form))

    def client(url: str, _tls: None, _timeout_s: float) -> httpx.Client:
        return httpx.Client(base_url=url, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(runtime.peers, "client", client)
    board = Board()
    relay = relay_of(trust, board)
    assert relay.poll()
    assert relay.publish()
    relayed = {topic: data for topic, data in board.retained.items() if "day-keys" in topic}
    assert relayed == {
        day_keys_topic(s.SITE, "c1", form): day_keys(form) for form in range(1, reads + 1)
    }
