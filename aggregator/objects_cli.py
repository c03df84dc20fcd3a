"""`sealtrace aggregator objects`: what is packed, and whether all of it is whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from aggregator.config import AggregatorConfig
from aggregator.store import open_objects
from runtime.config import load
from runtime.database import StorageDamaged
from runtime.terminal import note, out, progress, say

app = typer.Typer()
_FIRST_DAY = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 20


@app.command(
    epilog="Examples:  sealtrace aggregator objects --config aggregator.toml   |   "
    "sealtrace aggregator objects --verify --config aggregator.toml"
)
def objects(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The aggregator's configuration.")
    ] = Path("aggregator.toml"),
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and check its digest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List packed segments by day; with --verify, say which objects are not whole.

    Reads only, while the service runs or not. Ends with 4 if an object is missing or damaged.
    """
    settings = load(config, AggregatorConfig)
    inspector = open_objects(settings.store_place)
    days = inspector.days()
    if as_json:
        listed = [asdict(day) | {"day": _day(day.epoch)} for day in days]
        say(json.dumps(listed, indent=2))
    else:
        table = Table(title="Packed segments", caption=None if days else "nothing is packed yet")
        for heading in ("day (UTC)", "objects", "segments", "bytes"):
            table.add_column(heading, justify="left" if heading.startswith("day") else "right")
        for day in days:
            table.add_row(_day(day.epoch), f"{day.objects:,}", f"{day.segments:,}", f"{day.size:,}")
        out.print(table)
    if not verify:
        return
    wrong: list[str] = []
    read, total = 0, sum(day.objects for day in days)
    with progress("reading objects") as tell:
        for day in days:
            for found in inspector.damage(day.epoch):
                read += 1
                if found is not None:
                    wrong.append(found)
                if read % 100 == 0 or read == total:
                    tell(f"{read:,} of {total:,}, {len(wrong)} damaged")
    for line in wrong[:_SHOWN]:
        note(line)
    if wrong:
        raise StorageDamaged(
            f"{len(wrong)} of {read} objects are not what was written; put their files back from a "
            "backup of the place, no restart is needed"
        )
    note(f"all {read} objects are whole")


def _day(epoch: int) -> str:
    return f"{_FIRST_DAY + timedelta(days=epoch):%Y-%m-%d}"
