"""Fuzz every parser of bytes from others for a while: `make fuzz`."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time
from pathlib import Path

import structlog
from fuzz_campaign import Campaign, run
from fuzz_targets import targets

CORPUS = Path(__file__).parent / "corpus"


def main(arguments: list[str] | None = None) -> int:
    """Run, print a table, write findings; return 1 if there are any."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long (60)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="repeats a run")
    parser.add_argument("--only", action="append", default=[], metavar="PARSER", help="only these")
    parser.add_argument("--found", type=Path, default=CORPUS, help="where findings are written")
    given = parser.parse_args(arguments)
    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    until = time.monotonic() + given.seconds
    with targets() as found:
        unknown = set(given.only) - set(found)
        if unknown:
            parser.error(f"no such parser: {', '.join(unknown)}; there are: {', '.join(found)}")
        campaign = run(
            found,
            seed=given.seed,
            more=lambda _round: time.monotonic() < until,
            corpus=CORPUS,
            names=given.only,
        )
    print(table(campaign))
    for finding in campaign.findings.values():
        path = finding.save(given.found)
        print(f"FOUND {finding.target}: {finding.reason}: {path}")
    inputs = sum(tally.inputs for tally in campaign.tallies.values())
    print(f"{inputs} inputs, {len(campaign.findings)} findings, seed {given.seed}")
    return 1 if campaign.findings else 0


def table(campaign: Campaign) -> str:
    """Return the tallies as lines of columns."""
    lines = [
        f"{'parser':38} {'inputs':>8} {'refused':>8} {'accepted':>8} {'slowest':>9} {'memory':>10}"
    ]
    for name, tally in campaign.tallies.items():
        lines.append(
            f"{name:38} {tally.inputs:8} {tally.refused:8} {tally.accepted:8}"
            f" {tally.slowest_s * 1000:6.1f} ms {tally.peak_bytes / 1024:6.0f} KiB"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
