"""A custodian whose clock had leapt ahead is relayed again as soon as it has been put right."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import protocol_samples as s
import pytest

import runtime.peers
from aggregator.relay import Relay
from protocol.daykeys import DayKeys
from runtime.trust import Trust

DAY_MS = 24 * 3600 * 1000


class Board:
    """Takes what is published."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}

    def publish_and_wait(self, topic: str, payload: bytes, *, retain: bool) -> None:
        assert retain
        self.retained[topic] = payload


def signed_keys(issued_at_ms: int) -> bytes:
    keys = {s.EPOCH: s.day_key("c1").public}
    return DayKeys(s.SITE, "c1", issued_at_ms, keys).sign(s.signing_key("c1")).to_bytes()


def test_keys_dated_far_ahead_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = s.directory()
    listed = dict(directory.principals)
    listed["c1"] = replace(listed["c1"], url="https://c1.test")
    installed = tmp_path / "directory.cbor"
    installed.write_bytes(replace(directory, principals=listed).sign(s.authority()).to_bytes())
    trust = Trust(
        site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=None
    )
    now_ms = time.time_ns() // 1_000_000
    answers = [signed_keys(now_ms + days * DAY_MS) for days in (900, 0, -1)]

    def client(url: str, _tls: None, timeout_s: float) -> httpx.Client:
        del timeout_s
        answer = httpx.MockTransport(lambda _request: httpx.Response(200, content=answers[0]))
        return httpx.Client(base_url=url, transport=answer)

    monkeypatch.setattr(runtime.peers, "client", client)
    board: Any = Board()
    relay = Relay(site=s.SITE, trust=trust, session=board, tls=None, poll_s=1.0)
    relayed = []
    while answers:
        relay.poll()
        relay.publish()
        relayed.append(next(v for k, v in board.retained.items() if k.endswith("c1/day-keys")))
        answers.pop(0)
    assert relayed == [
        signed_keys(now_ms + 900 * DAY_MS),
        signed_keys(now_ms),
        signed_keys(now_ms),  # and an older one is still not
    ]
