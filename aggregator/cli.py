"""`sealtrace aggregator`: run headquarters' service, look after what waits in quarantine."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from aggregator.config import AggregatorConfig
from runtime.config import load, render
from runtime.http import client, json_of, raise_for_problem
from runtime.keyfiles import open_secret
from runtime.role_cli import serve_as_told
from runtime.terminal import out as _out
from runtime.text import harmless

app = typer.Typer(
    name="aggregator",
    no_args_is_help=True,
    help="Keep envelopes sealed, run authorized queries, serve the officers.",
)
ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The aggregator's configuration.")
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(help="File with the identity's passphrase; else SEALTRACE_PASSPHRASE, or asked."),
]
_DEFAULT = Path("aggregator.toml")
_MAX_LIST_BYTES = 64 << 20


@app.command(
    epilog="Examples:  sealtrace aggregator serve --config aggregator.toml   |   "
    "sealtrace aggregator serve --config aggregator.toml --check"
)
def serve(
    config: ConfigOption = _DEFAULT,
    passphrase_file: PassphraseOption = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the effective configuration and end.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check files, keys and signatures and end.")
    ] = False,
) -> None:
    """Serve until stopped (SIGTERM); SIGHUP reads the directory again."""
    if print_config and not config.exists():
        sys.stdout.write(render(_example()))
        return
    serve_as_told(
        config,
        AggregatorConfig,
        role="aggregator",
        unlock=lambda settings: open_secret(settings.identity, "identity", passphrase_file),
        verify=_check,
        run=_run,
        print_config=print_config,
        check=check,
    )


# What is imported in these two takes longest to load (FastAPI), and `--help` does not need it.


def _check(settings: AggregatorConfig, identity: bytes) -> None:
    from aggregator.service import read_installed  # noqa: PLC0415

    read_installed(settings, identity, keep_state=False)


def _run(settings: AggregatorConfig, identity: bytes) -> int:
    from aggregator.service import Aggregator  # noqa: PLC0415

    return Aggregator(settings, identity).run()


@app.command(epilog="Example:  sealtrace aggregator quarantine --config aggregator.toml")
def quarantine(
    config: ConfigOption = _DEFAULT,
    admit: Annotated[
        list[int] | None, typer.Option(help="Store this message after all; may be repeated.")
    ] = None,
    drop: Annotated[
        list[int] | None, typer.Option(help="Drop this message for good; may be repeated.")
    ] = None,
) -> None:
    """List messages that were set aside (a clock that is ahead); admit or drop them."""
    settings = load(config, AggregatorConfig)
    with client(settings.http.address_here, settings.tls, max_answer_bytes=_MAX_LIST_BYTES) as http:
        for number in admit or []:
            raise_for_problem(http.post(f"/v1/quarantine/{number}/admit"))
            _out.print(f"admitted {number}")
        for number in drop or []:
            raise_for_problem(http.delete(f"/v1/quarantine/{number}"))
            _out.print(f"dropped {number}")
        waiting = json_of(http.get("/v1/quarantine"))
    table = Table(title="Quarantine", caption=None if waiting else "nothing waits")
    for heading in ("number", "topic", "reason", "detail", "received (UTC)", "bytes"):
        table.add_column(heading)
    for item in waiting:
        received = datetime.fromtimestamp(item["received_ms"] / 1000, UTC)
        table.add_row(
            str(item["number"]),
            *(Text(harmless(str(item[name]))) for name in ("topic", "reason", "detail")),
            received.strftime("%Y-%m-%d %H:%M:%S"),
            str(item["bytes"]),
        )
    _out.print(table)


def _example() -> AggregatorConfig:
    return AggregatorConfig(site="demo", authority="58" + "66" * 31)
