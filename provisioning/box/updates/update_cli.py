"""`sealtrace release update` and `status`: the part of releases that runs on a box."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from provisioning.box.updates.state import Report, StateFile
from provisioning.box.updates.update import BoxUpdater
from provisioning.box.updates.update_config import UpdatesConfig, example, load_updates
from runtime import config as configs
from runtime import logs
from runtime.terminal import note, out, reported, say

_FINE = ("never", "current", "updated", "held-back")
_STOPPED = "stopped; run the same command again to go on"

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="The box's updates.toml.", show_default=True)
]
_DEFAULT = Path("updates.toml")


def update(
    config: ConfigFile = _DEFAULT,
    *,
    check: Annotated[
        bool, typer.Option("--check", "--dry-run", help="Only say what would be installed.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try versions again that failed on this box.")
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the effective configuration and end.")
    ] = False,
) -> None:
    """Bring this box to the version of its group; go back by itself if health does not return.

    Meant for a timer. Exit code 1 and a line in state.json when the repository cannot be reached
    or believed, or when a version had to be rolled back; whatever happens, the box keeps running.
    """
    with reported(_STOPPED):
        if print_config and not config.exists():
            _print(example())
            return
        settings = load_updates(config)
        if print_config:
            _print(settings)
            return
        if check:
            for line in BoxUpdater(settings).check():
                say(line)
            return
        logs.configure(settings.log, role="release")
        show = note if out.is_terminal else _silent
        report = BoxUpdater(settings, on_step=show).run(retry=retry)
        show_report(report)
        if report.result not in _FINE:
            raise typer.Exit(1)


def status(
    config: ConfigFile = _DEFAULT,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what came of the last look for releases, what runs here, and what failed here."""
    with reported(_STOPPED):
        state = StateFile(load_updates(config).state_dir).read()
        if as_json:
            keys = {"report", "bad", "previous", "step", "seen"}
            say(json.dumps(state.model_dump(mode="json", include=keys)))
            return
        show_report(state.report)
        if state.step is not None:
            say(f"under way: {state.step.phase} {state.step.kind} {state.step.version}")
        for kind, versions in state.bad.items():
            for version, reason in versions.items():
                say(f"failed here: {kind} {version}: {reason}")


def show_report(report: Report) -> None:
    """Print a report."""
    when = f" ({report.at:%Y-%m-%d %H:%M} UTC)" if report.at else ""
    say(f"{report.result}{when}" + (f": {report.message}" if report.message else ""))
    for kind, version in report.running.items():
        wanted = report.wanted.get(kind)
        rest = f", its group's is {wanted}" if wanted not in {None, version} else ""
        say(f"  {kind}: {version or 'as it was installed'}{rest}")


def _silent(_line: str) -> None:
    """Say nothing: nobody watches."""


def _print(settings: UpdatesConfig) -> None:
    say(configs.render(settings))
