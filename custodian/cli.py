"""`sealtrace custodian`: serve, look at, back up, and confirm the clock of a key custodian."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from custodian import backup_cli
from custodian.clock import confirm
from custodian.config import CustodianConfig
from custodian.store import Store
from protocol.names import EPOCH_MS
from runtime.clock import system_ms
from runtime.config import load
from runtime.errors import OperationError
from runtime.keyfiles import get_passphrase
from runtime.role_cli import serve_as_told
from runtime.terminal import agreed, out, reported, say, warn

app = typer.Typer(
    name="custodian",
    no_args_is_help=True,
    help="Hold a share of the day's keys and release what approved queries cover.",
)

app.add_typer(backup_cli.app)

_Config = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="The custodian's custodian.toml.")
]
_PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File with the passphrase of identity and day keys; else SEALTRACE_PASSPHRASE, else"
        " it is asked for.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_DEFAULT = Path("custodian.toml")


@app.command()
def serve(
    config: _Config = _DEFAULT,
    passphrase_file: _PassphraseFile = None,
    print_config: Annotated[
        bool,
        typer.Option("--print-config", help="Print every key, its meaning and value; then stop."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Check configuration, certificates, directory and policy; then stop."
        ),
    ] = False,
) -> None:
    """Serve until stopped (SIGTERM, Ctrl-C); SIGHUP reads directory and policy again.

    The day keys are made at the first start, in state_dir/day-keys.secret, sealed under the
    passphrase. There is no way back to a lost passphrase: the other custodians go on without.

    If the machine's clock is ahead of the time that this custodian can believe, keys go on being
    granted and made, but none is destroyed by it until two other parties have vouched for that time
    after a restart of the machine, or until `sealtrace custodian confirm-clock`.

    Examples:
      sealtrace custodian serve --config custodian.toml --passphrase-file /run/secrets/passphrase

      sealtrace custodian serve --config custodian.toml --check
    """
    with reported():
        serve_as_told(
            config,
            CustodianConfig,
            role="custodian",
            unlock=lambda settings: get_passphrase(passphrase_file, what=str(settings.identity)),
            verify=_check,
            run=_run,
            print_config=print_config,
            check=check,
        )


def _run(settings: CustodianConfig, passphrase: bytes) -> int:
    # Imported here: FastAPI takes longest to load, and `--help` does not need it.
    from custodian.service import run  # noqa: PLC0415

    return run(settings, passphrase)


def _check(settings: CustodianConfig, passphrase: bytes) -> None:
    from custodian.checking import check_installed  # noqa: PLC0415

    check_installed(settings, passphrase)


@app.command()
def status(
    config: _Config = _DEFAULT,
    url: Annotated[
        str,
        typer.Option("--url", help="Where it serves; default: https:// host and port as in FILE."),
    ] = "",
    as_json: _Json = False,
) -> None:
    """Ask the running custodian how it is: keys, clock, policy, log. Exit code 1 with an alarm.

    Examples:
      sealtrace custodian status --config custodian.toml

      sealtrace custodian status --config custodian.toml --json
    """
    from runtime.http import client, json_of  # noqa: PLC0415

    with reported():
        settings = load(config, CustodianConfig)
        with client(url or settings.http.address_here, settings.tls) as http:
            told: dict[str, Any] = json_of(http.get("/v1/status"))
    if as_json:
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        _show(told)
    raise typer.Exit(1 if told["clock_in_doubt"] else 0)


def _show(told: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    keys = told["day_keys"]
    days = f"{_day(keys['first'])} to {_day(keys['last'])}" if keys["count"] else "none"
    for name, value in (
        ("custodian", f"{told['name']} of site {told['site']}, version {told['version']}"),
        ("time", _moment(told["time_ms"])),
        ("day keys", f"{keys['count']}: {days}"),
        ("retention", f"{told['retention_days']} days"),
        ("directory", f"version {told['directory_version']}, {told['threshold']} must grant"),
        (
            "policy",
            f"version {told['policy_version']} of schema {told.get('policy_schema', 1)},"
            f" {told['policy_digest'][:16]}",
        ),
        ("programme ends", _moment(told["programme_ends_ms"])),
        ("to be destroyed", _to_be_destroyed(told["to_be_destroyed"])),
        ("audit log", f"{told['log_entries']} entries"),
        ("withdrawals", str(told["withdrawals"])),
    ):
        table.add_row(name, value)
    out.print(table)
    if told["clock_in_doubt"]:
        warn(
            f"the clock has leapt ahead; this custodian believes {_moment(told['clock_known_ms'])} "
            "and destroys no day key by a later time until you confirm it: "
            "sealtrace custodian confirm-clock"
        )


@app.command("confirm-clock")
def confirm_clock(
    config: _Config = _DEFAULT,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Say that this machine's clock is right, after it has leapt (a long power cut, a pause).

    Days whose retention has ended by this clock are destroyed within a minute, for good. Compare
    the time that is shown with another clock first. Run it on the custodian's machine; the service
    may be running.

    Examples:
      sealtrace custodian confirm-clock --config custodian.toml

      sealtrace custodian confirm-clock --config custodian.toml --yes
    """
    with reported():
        settings = load(config, CustodianConfig)
        if not settings.database.exists():
            raise OperationError(
                f"{settings.database} does not exist: this custodian has never run; nothing to do"
            )
        now_ms = system_ms()
        store = Store(settings.database)
        try:
            say(f"this machine says it is {_moment(now_ms)}")
            if not yes and not agreed("Is that right?"):
                raise OperationError("nothing was confirmed (answer y, or give --yes)")
            before = confirm(store, now_ms=now_ms)
        finally:
            store.close()
        known = _moment(before) if before is not None else "never"
        say(f"confirmed; the last time known before was {known}")


def _moment(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _to_be_destroyed(keys: list[dict[str, int]]) -> str:
    if not keys:
        return "none within a day"
    soonest = -(-min(key["in_ms"] for key in keys) // 3_600_000)
    days = f"{_day(keys[0]['epoch'])} to {_day(keys[-1]['epoch'])}"
    return f"{len(keys)}: {days}, the first after {soonest} h of running"


def _day(epoch: int) -> str:
    return f"{datetime.fromtimestamp(epoch * EPOCH_MS / 1000, UTC):%Y-%m-%d}"
