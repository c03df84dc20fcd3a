"""`sealtrace aggregator`: run headquarters' service, look into its quarantine and database."""

from __future__ import annotations

import json
import sys
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from aggregator import backup_cli, objects_cli
from aggregator.cluster import cli as cluster_cli
from aggregator.config import AggregatorConfig
from aggregator.processes.duties import Duty
from aggregator.store import StorePlace, open_inspector
from aggregator.store.place import require_postgresql, require_store_url
from runtime.config import load, parse, render
from runtime.errors import OperationError
from runtime.http import client, json_of, raise_for_problem
from runtime.keyfiles import open_secret
from runtime.lifecycle import FolderInUse, FolderLock
from runtime.role_cli import serve_as_told
from runtime.terminal import out as _out
from runtime.terminal import progress, say
from runtime.text import harmless

app = typer.Typer(
    name="aggregator",
    no_args_is_help=True,
    help="Keep envelopes sealed, run authorized queries, serve the officers.",
)
app.add_typer(cluster_cli.app)
app.add_typer(objects_cli.app)
app.add_typer(backup_cli.app)
ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The aggregator's configuration.")
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(help="File with the identity's passphrase; else SEALTRACE_PASSPHRASE, or asked."),
]
_DEFAULT = Path("aggregator.toml")
_MAX_LIST_BYTES = 64 << 20
_MOST_COLUMNS = 8
"""Of a table whose rows are printed as rows."""
_YEAR_2000_MS = 946_684_800_000


@app.command(
    epilog="Examples:  sealtrace aggregator serve --config aggregator.toml   |   "
    "sealtrace aggregator serve --config aggregator.toml --check   |   "
    "sealtrace aggregator serve --config ingest-2.toml --duty ingest --port 8451"
)
def serve(
    config: ConfigOption = _DEFAULT,
    *,
    passphrase_file: PassphraseOption = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the effective configuration and end.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check files, keys and signatures and end.")
    ] = False,
    duty: Annotated[
        list[Duty] | None,
        typer.Option(
            help="Do this alone; may be repeated. Else what the configuration says: everything, "
            "in one process."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="TCP port of this process; else the configuration's."),
    ] = None,
) -> None:
    """Serve until stopped (SIGTERM); SIGHUP reads the directory again.

    Several processes with one duty or more each make one aggregator, over one store.
    """
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
        adapt=lambda settings: _told(settings, duty, port),
    )


def _told(
    settings: AggregatorConfig, duties: list[Duty] | None, port: int | None
) -> AggregatorConfig:
    """Return the configuration with what the command line says instead.

    Raises:
        ConfigError: they do not go together.
    """
    given: dict[str, Any] = {}
    if duties is not None:
        given["processes"] = {**settings.processes.model_dump(), "duties": tuple(duties)}
    if port is not None:
        given["http"] = {**settings.http.model_dump(), "port": port}
    if not given:
        return settings
    said = {**settings.model_dump(exclude_unset=True), **given}
    return parse(said, AggregatorConfig, source="the command line", folder=Path())


# What is imported in these two takes longest to load (FastAPI), and `--help` does not need it.


def _check(settings: AggregatorConfig, identity: bytes) -> None:
    from aggregator.service import read_installed  # noqa: PLC0415

    read_installed(settings, identity, keep_state=False)


def _run(settings: AggregatorConfig, identity: bytes) -> int:
    from aggregator.service import Aggregator, StandbyEnded  # noqa: PLC0415

    try:
        return Aggregator(settings, identity).run()
    except StandbyEnded:
        return 0


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


@app.command(
    "db",
    epilog="Examples:  sealtrace aggregator db --config aggregator.toml   |   "
    "sealtrace aggregator db gaps --limit 5 --config aggregator.toml   |   "
    "sealtrace aggregator db envelopes --json --config aggregator.toml",
)
def look_into(
    table: Annotated[
        str | None, typer.Argument(help="Print the last rows of this table; else all tables.")
    ] = None,
    config: ConfigOption = _DEFAULT,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most rows to print.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look into the database, read-only, while the service runs or not.

    Of what is sealed or signed the length alone is printed.
    """
    settings = load(config, AggregatorConfig)
    with closing(open_inspector(settings.store_place)) as inspector:
        known = inspector.tables()
        if table is None:
            listed: list[dict[str, Any]] = [asdict(one) for one in known]
        else:
            try:
                listed = [dict(row) for row in inspector.rows(table, limit=limit)]
            except KeyError as error:
                names = ", ".join(one.name for one in known)
                raise OperationError(f"there is no table '{table}'; there are: {names}") from error
    if as_json:
        _out.print(json.dumps(listed, indent=2), markup=False, highlight=False, soft_wrap=True)
        return
    if listed and len(listed[0]) > _MOST_COLUMNS:
        for row in listed:
            _out.print(_upright(table or "", row))
        return
    shown = Table(title=table or "Tables", caption=None if listed else "it is empty")
    for heading in listed[0] if listed else ():
        shown.add_column(heading, overflow="fold")
    for row in listed:
        shown.add_row(*(Text(_readable(name, value)) for name, value in row.items()))
    _out.print(shown)


def _upright(table: str, row: dict[str, Any]) -> Table:
    """Return one row with its columns below one another: a terminal is not wide enough for all."""
    shown = Table(title=table, show_header=False)
    for name, value in row.items():
        shown.add_row(name, Text(_readable(name, value)))
    return shown


def _readable(name: str, value: object) -> str:
    """Return a value for the terminal: moments as such, lists with commas, nothing as nothing."""
    if value is None:
        return ""
    if name.endswith("_ms") and isinstance(value, int) and value > _YEAR_2000_MS:
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return harmless(", ".join(value) if isinstance(value, tuple) else str(value))


@app.command(
    epilog="Examples:  sealtrace aggregator migrate --to postgresql://sealtrace@/sealtrace"
    " --config aggregator.toml   |   sealtrace aggregator migrate"
    " --to 'postgresql://sealtrace@db.example/sealtrace?sslrootcert=/etc/sealtrace/db-ca.pem'"
    " --password-file db.secret --config aggregator.toml"
)
def migrate(
    to: Annotated[
        str, typer.Option("--to", help="The new database's URL; else [store] url.", metavar="URL")
    ] = "",
    password_file: Annotated[
        Path | None, typer.Option(help="File with its user's password; else [store] password_file.")
    ] = None,
    config: ConfigOption = _DEFAULT,
) -> None:
    """Move the ledger from the file in ``state_dir`` into PostgreSQL.

    While the service runs, this copies what has come so far: do that first, as often as you like.
    Once the service is stopped, it copies the rest, compares everything and is done. Interrupted,
    it goes on where it was. The file is left as it is; packed segments stay where they are.
    """
    from aggregator.store.moving.move import move  # noqa: PLC0415 - loads both backends

    settings = load(config, AggregatorConfig)
    try:
        url = require_store_url(to or settings.store.url)
    except ValueError as error:
        raise OperationError(f"--to: {error}") from None
    require_postgresql()
    place = StorePlace(settings.database, url, password_file or settings.store.password_file)
    lock: FolderLock | None = None
    with suppress(FolderInUse):
        lock = FolderLock(settings.state_dir)
    try:
        with progress("looking at both") as tell:
            moved = move(settings.database, place, stopped=lock is not None, tell=tell)
    finally:
        if lock is not None:
            lock.close()
    for table, rows in moved.copied.items():
        if rows:
            say(f"{table}: {rows} copied and compared")
    if moved.finished:
        say(f"done: all of {settings.database} is in {url}")
        say("next: set [store] url to that in the configuration, and start the service")
    else:
        say("the service runs, so this is not all: stop it, and run the same again")


def _example() -> AggregatorConfig:
    return AggregatorConfig(site="demo", authority="58" + "66" * 31)
