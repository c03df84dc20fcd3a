"""Feed parsers hostile inputs for a while and notice wrong errors, time and memory."""

from __future__ import annotations

import hashlib
import random
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cbor_mutator import CborMutator, TextMutator
from fuzz_target import CBOR, Target

BYTES_A_BYTE = 40
ROUNDS_OF_ALL = 20
SECONDS_A_BYTE = 5e-6


@dataclass
class Tally:
    """What became of the inputs of one parser."""

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    slowest_s: float = 0.0
    spent_s: float = 0.0
    peak_bytes: int = 0


@dataclass
class Finding:
    """An input that a parser answered as it must not, and why."""

    target: str
    reason: str
    data: bytes

    def save(self, folder: Path) -> Path:
        """Write the input to a file named after the parser and the input's hash."""
        folder.mkdir(parents=True, exist_ok=True)
        words = "".join(c if c.isalnum() else "-" for c in self.target)
        path = folder / f"{words}.{hashlib.sha256(self.data).hexdigest()[:12]}"
        path.write_bytes(self.data)
        return path


@dataclass
class Campaign:
    """Inputs tried so far, by parser, and what was found; one finding of a kind is kept."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)

    def feed(self, name: str, target: Target, data: bytes) -> None:
        """Give a parser one input."""
        tally = self.tallies.setdefault(name, Tally())
        tally.inputs += 1
        reason = None
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
        began = time.process_time()
        try:
            target.parse(data)
            tally.accepted += 1
        except target.refusals:
            tally.refused += 1
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
        spent = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1] - held
        tally.spent_s += spent
        tally.slowest_s = max(tally.slowest_s, spent)
        tally.peak_bytes = max(tally.peak_bytes, peak)
        if spent > target.spent + SECONDS_A_BYTE * len(data):
            reason = reason or "too much time"
        if peak > target.held + BYTES_A_BYTE * len(data):
            reason = reason or "too much memory"
        if reason is not None:
            self.findings.setdefault((name, reason), Finding(name, reason, data))


def corpus_inputs(folder: Path, name: str) -> list[bytes]:
    """Return the inputs of a corpus that once were findings of a parser."""
    words = "".join(c if c.isalnum() else "-" for c in name)
    return [path.read_bytes() for path in sorted(folder.glob(f"{words}.*"))]


def run(
    targets: Mapping[str, Target],
    *,
    seed: int,
    more: Callable[[int], bool],
    corpus: Path | None = None,
    names: Iterable[str] = (),
) -> Campaign:
    """Feed all parsers in turn.

    Args:
        seed: the same makes the same inputs.
        more: tells after each round, by its number, whether to go on.
        names: only these parsers.
    """
    campaign = Campaign()
    chosen = {name: targets[name] for name in (names or targets)}
    mutators = {
        name: (CborMutator if target.kind == CBOR else TextMutator)(random.Random(f"{seed} {name}"))
        for name, target in chosen.items()
    }
    for target in chosen.values():  # what a parser loads when it is first used is not its input's
        for data in target.genuine:
            with suppress(Exception):
                target.parse(data)
    tracemalloc.start()
    try:
        for name, target in chosen.items():
            for data in (*target.genuine, *(corpus_inputs(corpus, name) if corpus else ())):
                campaign.feed(name, target, data)
        number = 0
        while more(number):
            share = sum(tally.spent_s for tally in campaign.tallies.values()) / len(chosen)
            for name, target in chosen.items():
                if number >= ROUNDS_OF_ALL and campaign.tallies[name].spent_s > 2 * share:
                    continue  # a slow parser does not take the time of all others
                mutator = mutators[name]
                genuine = mutator.rng.choice(target.genuine)
                campaign.feed(name, target, mutator.mutated(genuine))
            number += 1
    finally:
        tracemalloc.stop()
    return campaign
