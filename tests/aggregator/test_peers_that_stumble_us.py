"""An error that nobody foresaw, met while one peer is asked, keeps nobody else from being asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import protocol_samples as s
import pytest
from structlog.testing import capture_logs

import aggregator.witnessing
import runtime.peers
from aggregator.asking import Panel, Patience
from aggregator.relay import Relay
from aggregator.witnessing import Witnessing
from protocol.auditlog import origin_of
from protocol.daykeys import DayKeys
from protocol.directory import CUSTODIAN, Principal
from runtime.auditlog import AuditLog
from runtime.config import TlsConfig
from runtime.peers import News, tell_all
from runtime.trust import Trust
from runtime.witness import Witness

NO_TLS: Any = None


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    directory = s.directory()
    listed = {
        name: replace(one, url=f"https://{name}.test" if CUSTODIAN in one.duties else None)
        for name, one in directory.principals.items()
    }
    installed = tmp_path / "directory.cbor"
    installed.write_bytes(replace(directory, principals=listed).sign(s.authority()).to_bytes())
    return Trust(
        site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=None
    )


def serve(monkeypatch: pytest.MonkeyPatch, module: Any, asked: list[str]) -> None:
    """Have c1 make a library raise what it never should; the others are honest."""

    def answer(request: httpx.Request) -> httpx.Response:
        name = request.url.host.removesuffix(".test")
        asked.append(name)
        if name == "c1":
            raise LookupError("unknown encoding")
        keys = {s.EPOCH: s.day_key(name).public}
        message = DayKeys(s.SITE, name, s.NOW_MS, keys).sign(s.signing_key(name))
        return httpx.Response(200, content=message.to_bytes())

    def client(url: str, *_: object, **__: object) -> httpx.Client:
        return httpx.Client(base_url=url, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(module, "client", client)


class Board:
    """Takes what is published."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def publish_and_wait(self, topic: str, _payload: bytes, *, retain: bool) -> None:
        assert retain
        self.topics.append(topic)


def test_day_keys_of_the_others_are_relayed(
    trust: Trust, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    serve(monkeypatch, runtime.peers, asked)
    board: Any = Board()
    relay = Relay(site=s.SITE, trust=trust, session=board, tls=None, poll_s=1.0)
    with capture_logs() as logged:
        assert not relay.poll()
        relay.poll()
    assert [e["reason"] for e in logged] == ["LookupError: unknown encoding"], "told once"
    relay.publish()
    relayed = sorted(topic.split("/")[-2] for topic in board.topics if "day-keys" in topic)
    assert relayed == ["c2", "c3"]


@pytest.fixture
def witnessing(tmp_path: Path, trust: Trust) -> Iterator[Witnessing]:
    key, origin = s.signing_key("aggregator"), origin_of(s.SITE, "aggregator")
    log = AuditLog(tmp_path / "audit.db", origin, key, {"eve": s.sealing_key("eve").public})
    log.append("started", s.NOW_MS, "aggregator", None, {"version": "1"})
    witness = Witness(tmp_path / "witness.db", origin, key)
    yield Witnessing(log, witness, trust, None)
    witness.close()
    log.close()


def test_a_round_of_witnessing_goes_on_to_the_others(
    witnessing: Witnessing, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    serve(monkeypatch, aggregator.witnessing, asked)
    with capture_logs() as logged:
        assert not witnessing.round()
    assert set(asked) == {"c1", "c2", "c3"}
    assert "LookupError: unknown encoding" in {entry.get("reason") for entry in logged}


@pytest.mark.parametrize("newer_will_do", [True, False], ids=["registrar", "authority"])
def test_everybody_else_is_told_of_a_new_directory(
    newer_will_do: bool, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    serve(monkeypatch, runtime.peers, asked)
    key = s.signing_key("c1").verify_key
    c1 = Principal("c1", frozenset({CUSTODIAN}), key, url="https://c1.test")
    c2 = Principal("c2", frozenset({CUSTODIAN}), key, url="https://c2.test")
    tls: TlsConfig = NO_TLS
    news = News.of_directory(b"document", None, newer_will_do=newer_will_do)
    told = tell_all((c1, c2), news, tls)
    assert [one.problem for one in told] == ["LookupError: unknown encoding", ""]


def test_everybody_else_is_told_of_a_withdrawal(
    monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    serve(monkeypatch, runtime.peers, asked)
    key = s.signing_key("c1").verify_key
    listed = [
        Principal(name, frozenset({CUSTODIAN}), key, url=url)
        for name, url in (("c1", "https://c1.test"), ("c2", None), ("c3", "https://c3.test"))
    ]
    told = tell_all(listed, News.of_withdrawal(b"signed"), NO_TLS)
    assert [(one.name, one.problem) for one in told] == [
        ("c1", "LookupError: unknown encoding"),
        ("c2", "the directory gives no address for 'c2'"),
        ("c3", ""),
    ]


def test_an_ask_that_raises_costs_no_other_answer() -> None:
    def stumble() -> str:
        raise RecursionError("too deep")

    panel: Panel[str] = Panel(Patience(least_s=0.5, most_s=20.0))
    with capture_logs() as logged:
        answers = panel.ask({"c1": stumble, "c2": lambda: "yes"}, enough=lambda got: len(got) > 1)
        again = panel.ask({"c1": lambda: "now", "c2": lambda: "yes"}, enough=lambda _: False)
    assert answers == {"c2": "yes"}
    assert again == {"c1": "now", "c2": "yes"}
    assert [entry["event"] for entry in logged] == ["asking_failed"]
