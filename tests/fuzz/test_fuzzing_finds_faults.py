"""A short fuzz run finds nothing, and finds what is planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import protocol_samples as s
import pytest
from examples import examples, step
from fuzz_campaign import run
from fuzz_target import CBOR, TEXT, Target
from fuzz_targets import targets

from protocol.encoding import decode, encode
from protocol.errors import ProtocolError

NOT_READ = {
    "CBOR", "problem", "answer to discovery", "certificates", "metadata of releases, at a box",
}  # fmt: skip
"""Genuine inputs among these are refused, or tell of a fault of another."""
INPUTS = examples(8)
CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.slow
def test_a_short_run_over_every_parser_finds_nothing() -> None:
    with targets() as found:
        campaign = run(found, seed=7, more=lambda number: number < INPUTS, corpus=CORPUS)
    assert not campaign.findings, [
        (f.target, f.reason, f.data[:200]) for f in campaign.findings.values()
    ]
    assert set(campaign.tallies) == set(found)
    for name, tally in campaign.tallies.items():
        assert tally.inputs >= INPUTS, name


def test_every_parser_reads_what_is_genuine() -> None:
    with targets() as found:
        for name, target in found.items():
            if name not in NOT_READ:
                for data in target.genuine:
                    target.parse(data)


PLAIN = encode({"modality": "face", "n": 3})


def hashes(data: bytes) -> object:
    """Looks a member up in a set, of whatever type it is, as a custodian's parser once did."""
    value = decode(data, what="it")
    return isinstance(value, dict) and value.get("modality") in {"face"}


def grows(data: bytes) -> object:
    """Makes room for as much as the message says."""
    value = decode(data, what="it")
    size = value.get("n") if isinstance(value, dict) else 0
    return bytes(min(size, 64 << 20)) if isinstance(size, int) and size > 0 else b""


@pytest.mark.parametrize(("parse", "reason"), [(hashes, "TypeError"), (grows, "too much memory")])
def test_a_planted_fault_is_found_and_kept(
    parse: Callable[[bytes], object], reason: str, tmp_path: Path
) -> None:
    planted = {"planted": Target(parse, (PLAIN,), (ProtocolError,), CBOR)}
    campaign = run(planted, seed=1, more=lambda number: number < 1500 // step())
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
