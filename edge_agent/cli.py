"""`sealtrace edge`: run the agent of a box, check what it is installed with, look at its outbox."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edge_agent.config import BoxConfig, CameraConfig, load_box, render_box
from runtime import logs
from runtime.errors import OperationError
from runtime.terminal import err as _err
from runtime.terminal import out as _out

if TYPE_CHECKING:
    from edge_agent.troubles import Troubles

EXIT_REVOKED = 3

app = typer.Typer(
    name="edge",
    no_args_is_help=True,
    add_completion=False,
    help="Run the agent beside cameras: frames in, sealed sightings out.",
)

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The box's configuration.", show_default=True)
]
_DEFAULT = Path("box.toml")


@app.command(
    epilog="Examples:  sealtrace edge run --config box.toml   |   "
    "sealtrace edge run --config box.toml --exit-when-done   |   "
    "sealtrace edge run --print-config > box.toml"
)
def run(
    config: ConfigOption = _DEFAULT,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the effective configuration and end.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check files and signatures and end; no network.")
    ] = False,
    exit_when_done: Annotated[
        bool,
        typer.Option(
            "--exit-when-done",
            help="End when every source has ended and headquarters has everything.",
        ),
    ] = False,
) -> None:
    """Watch the cameras until stopped (SIGTERM); SIGHUP reads the directory again.

    Exit codes: 0 stopped or done, 1 failed, 2 wrong command line, 3 this box has been revoked: do
    not restart it.
    """
    if print_config and not config.exists():
        _print(render_box(_example()))
        return
    settings = load_box(config)
    if print_config:
        _print(render_box(settings))
        return
    if check:
        _check(settings)
        return
    if exit_when_done:
        settings = settings.model_copy(update={"exit_when_done": True})
    logs.configure(settings.log, role="edge")

    from edge_agent.agent import Agent  # noqa: PLC0415 - loads OpenCV and the model runtimes
    from edge_agent.identity import BoxRevoked  # noqa: PLC0415 - goes with it

    try:
        code = Agent(settings).run()
    except BoxRevoked as error:
        _complain(error)
        raise typer.Exit(EXIT_REVOKED) from error
    raise typer.Exit(code)


@app.command(epilog="Example:  sealtrace edge check --config box.toml")
def check(config: ConfigOption = _DEFAULT) -> None:
    """Check configuration, key, directory and model bundle; nothing is changed or connected."""
    _check(load_box(config))


@app.command(
    epilog="Examples:  sealtrace edge status --config box.toml   |   "
    "sealtrace edge status --config box.toml --json"
)
def status(
    config: ConfigOption = _DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is wrong, what waits in the outbox and what was counted, beside a running agent."""
    from edge_agent.outbox_store import read_status  # noqa: PLC0415 - not needed for --help
    from edge_agent.troubles import read_troubles  # noqa: PLC0415 - not needed for --help

    settings = load_box(config)
    cameras, counters = read_status(settings.state_dir / "outbox.sqlite")
    troubles = read_troubles(settings.state_dir)
    wrong = [] if troubles is None else troubles.lines([one.name for one in settings.cameras])
    kept = (settings.state_dir / "day-keys").glob("*.cbor")
    day_keys = sorted({path.stem.partition(".")[0] for path in kept})  # of either form
    if as_json:
        rows = [
            {
                "camera": camera.name,
                "next_sequence": camera.next_sequence,
                "generation": camera.generation,
                "messages": camera.messages,
                "bytes": camera.bytes,
                "oldest_sequence": camera.oldest_sequence,
            }
            for camera in cameras
        ]
        _print(
            json.dumps(
                {
                    "box": settings.box,
                    "cameras": rows,
                    "counters": counters,
                    "day_keys": day_keys,
                    "troubles": wrong,
                    "troubles_at_ms": None if troubles is None else troubles.at_ms,
                }
            )
        )
        return
    table = Table(title=f"Outbox of {settings.box}")
    for heading in ("camera", "waiting", "bytes", "oldest", "next", "keys since"):
        table.add_column(heading, justify="left" if heading == "camera" else "right")
    for camera in cameras:
        since = datetime.fromtimestamp(camera.generation, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(
            camera.name,
            str(camera.messages),
            f"{camera.bytes:,}",
            "" if camera.oldest_sequence is None else str(camera.oldest_sequence),
            str(camera.next_sequence),
            since if camera.generation else "never",
        )
    _out.print(table)
    for name, value in counters.items():
        _out.print(f"{name}: {value}")
    _out.print(f"day keys received from: {', '.join(day_keys) or 'nobody yet'}")
    _show_troubles(troubles, wrong)


def _show_troubles(troubles: Troubles | None, wrong: list[str]) -> None:
    if troubles is None:
        _print("troubles: not known, since no agent runs here")
        return
    now_ms = time.time_ns() // 1_000_000
    at = datetime.fromtimestamp(troubles.at_ms / 1000, UTC)
    since = "" if troubles.holds(now_ms) else f" at {at:%Y-%m-%d %H:%M:%S} UTC, when it said last"
    _print(f"troubles{since}: {'; '.join(wrong) or 'none'}")


def _check(settings: BoxConfig) -> None:
    from edge_agent.identity import BoxRevoked, load_installed  # noqa: PLC0415 - not for --help
    from runtime.tls import client_context  # noqa: PLC0415 - not for --help

    try:
        installed = load_installed(settings, keep_state=False)
    except BoxRevoked as error:
        _complain(error)
        raise typer.Exit(EXIT_REVOKED) from error
    if settings.mqtt.tls is not None:
        client_context(settings.mqtt.tls)
    directory = installed.trust.directory
    custodians = directory.custodians()
    _out.print(f"box        {settings.box} of site {settings.site}: as the directory has it")
    _out.print(f"directory  version {directory.version}")
    _out.print(f"custodians {', '.join(custodians)}; {directory.threshold} must grant")
    _out.print(f"models     {', '.join(installed.bundle.models().values())}")
    own = ", ".join(camera.name for camera in settings.cameras)
    _out.print(f"cameras    {own or 'none: an import station'}")
    if films := directory.principals[settings.box].recordings:
        _out.print(f"films of   {', '.join(films)}")
    _out.print("all right")


def _example() -> BoxConfig:
    return BoxConfig(
        site="demo",
        box="box-1",
        authority="58" + "66" * 31,
        cameras=(CameraConfig(name="cam-1", source="rtsp://camera.example/stream"),),
    )


def _print(text: str) -> None:
    _out.print(text, markup=False, highlight=False, soft_wrap=True, end="\n")


def _complain(error: OperationError) -> None:
    _err.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
