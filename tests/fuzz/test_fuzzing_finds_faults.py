"""A short fuzz run finds nothing, and finds what is planted."""

from __future__ import annotations

from pathlib import Path

import protocol_samples as s
import pytest
from fuzz_campaign import run
from fuzz_targets import CBOR, TEXT, Target, targets

from protocol.encoding import decode
from protocol.errors import ProtocolError

CORPUS = Path(__file__).parent / "corpus"


def test_a_short_run_over_every_parser_finds_nothing() -> None:
    with targets() as found:
        campaign = run(found, seed=7, more=lambda number: number < 25, corpus=CORPUS)
    assert not campaign.findings, [
        (f.target, f.reason, f.data[:200]) for f in campaign.findings.values()
    ]
    assert set(campaign.tallies) == set(found)
    for name, tally in campaign.tallies.items():
        assert tally.inputs >= 25, name


def test_every_parser_reads_what_is_genuine() -> None:
    with targets() as found:
        for name, target in found.items():
            if name not in {"CBOR", "problem", "answer to discovery", "certificates", "claim file"}:
                for data in target.genuine:
                    target.parse(data)


def hashes(data: bytes) -> object:
    """What a custodian's parser once did: it looks a member up in a set, of whatever type."""
    return decode(data, what="query")["subjects"][0]["templates"][0][0] in {"face"}


def grows(data: bytes) -> object:
    """Copies as often as the message says."""
    return [bytes(data) for _ in range(len(decode(data, what="it")) * 3000)]


@pytest.mark.parametrize(("parse", "reason"), [(hashes, "TypeError"), (grows, "too much memory")])
def test_a_planted_fault_is_found_and_kept(parse, reason: str, tmp_path: Path) -> None:
    planted = {"planted": Target(parse, (s.case().query.payload,), (ProtocolError,), CBOR)}
    campaign = run(planted, seed=1, more=lambda number: number < 4000)
    assert any(reason in found for _, found in campaign.findings)
    for finding in campaign.findings.values():
        assert finding.save(tmp_path).read_bytes() == finding.data


def test_the_same_seed_feeds_the_same_inputs() -> None:
    fed: list[list[bytes]] = [[], []]
    for inputs in fed:
        target = Target(inputs.append, (s.POLICY_TEXT,), (), TEXT)
        run({"sink": target}, seed=3, more=lambda number: number < 50)
    assert fed[0] == fed[1]
    assert len(set(fed[0])) > 25
