"""`sealtrace footage import`: a folder of recordings becomes sealed sightings."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.footage.cli import (
    CameraOption,
    FolderArgument,
    ListOption,
    OffsetOption,
    PatternOption,
    ZoneOption,
    options_of,
    telling,
)
from edge_agent.footage.found import Scan
from edge_agent.footage.quality import TRADED, Quality
from runtime.errors import OperationError
from runtime.terminal import DryRun, err, note, progress, reported, say
from runtime.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.config import BoxConfig
    from edge_agent.footage.handover import Desk
    from edge_agent.footage.importing import Outcome, Progress
    from edge_agent.footage.planning import Plan
    from runtime.lifecycle import Stop

_QUALITIES: tuple[Quality, ...] = ("full", "fast")
_SHOWN = 200
_LINE_EVERY_S = 10.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "import",
        epilog="Examples:  sealtrace footage import /media/usb --dry-run   |   "
        "sealtrace footage import /media/usb --config box.toml --workers 4   |   "
        "sealtrace footage import lobby/ --camera cam-lobby --clock-offset cam-lobby=+3m20s",
    )(import_films)


def import_films(
    folder: FolderArgument,
    *,
    config: Annotated[
        Path, typer.Option("--config", "-c", help="This box's configuration.", show_default=True)
    ] = Path("box.toml"),
    pattern: PatternOption = None,
    time_zone: ZoneOption = None,
    clock_offset: OffsetOption = None,
    camera: CameraOption = None,
    list_file: ListOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Processes that look at films. Default: one a core."),
    ] = None,
    quality: Annotated[
        str, typer.Option(metavar="full|fast", help=f"What is traded for speed. {TRADED}")
    ] = "full",
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="Import what was watched live, or imported as of another time, all the same.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Seal what recordings show, each quarter hour under the keys of its own day.

    Ctrl-C (or a kill) loses the quarter hours that were not sealed yet, and no more: the same
    command goes on from there. A second run of the same files adds nothing. An agent that runs on
    this box goes on watching; where none runs, this command delivers by itself.

    Exit codes: 0 all is imported, or was before; 1 some files were refused or broke off, or it
    failed; 130 stopped.
    """
    # Seconds of imports, which --help saves.
    from edge_agent.config import load_box  # noqa: PLC0415
    from edge_agent.footage.apart import looking_apart  # noqa: PLC0415
    from edge_agent.footage.scan import scan_folder  # noqa: PLC0415
    from edge_agent.footage.station import at_a_desk  # noqa: PLC0415
    from runtime import logs  # noqa: PLC0415
    from runtime.config import LogConfig  # noqa: PLC0415

    chosen: Quality | None = next((one for one in _QUALITIES if one == quality), None)
    if chosen is None:
        raise typer.BadParameter("full or fast", param_hint="--quality")
    with reported("stopped before anything was imported"):
        settings = load_box(config)
        logs.configure(LogConfig(level="error"), role="import")
        options = options_of(
            pattern=pattern,
            time_zone=time_zone,
            clock_offset=clock_offset,
            camera=camera,
            list_file=list_file,
            config=config,
        )
        with progress("scanning") as notify, looking_apart() as look:
            found = scan_folder(folder, options=options, tell=telling(notify), look=look)
        if not found.files:
            raise OperationError(
                f"there are no recordings in {folder} ({found.passed_over:,} other things were "
                "passed over)"
            )
        errand = _Errand(
            settings,
            found,
            workers=workers or os.cpu_count() or 1,
            quality=chosen,
            anyway=anyway,
            dry_run=dry_run,
        )
        undelivered = at_a_desk(settings, errand)
        _report(errand, undelivered, folder=folder, as_json=as_json, dry_run=dry_run)
    raise typer.Exit(errand.exit_code)


@dataclass
class _Errand:
    """What is done at the desk; what came of it stands here afterwards."""

    settings: BoxConfig
    found: Scan
    workers: int
    quality: Quality
    anyway: bool
    dry_run: bool
    plan: Plan | None = None
    outcome: Outcome | None = None
    took_s: float = 0.0
    stopped: bool = False

    def __call__(self, desk: Desk, stop: Stop) -> None:
        """Plan and, unless it is a dry run, import."""
        from edge_agent.footage.importing import Import, prepare  # noqa: PLC0415
        from edge_agent.footage.processes import Outfit  # noqa: PLC0415
        from runtime.clock import system_ms  # noqa: PLC0415

        with progress("reading through") as notify:
            self.plan = prepare(
                desk,
                self.found.files,
                now_ms=system_ms(),
                workers=self.workers,
                anyway=self.anyway,
                stopped=stop.is_set,
                pause=stop.wait,
                tell=telling(notify),
            )
        if stop.is_set():
            self.stopped = True
            return
        if self.dry_run or not self.plan.passages:
            return
        outfit = Outfit(
            self.settings.bundle,
            tuple(self.settings.trusted_bundle_keys),
            common=self.settings.vision,
            vision=self.settings.film_vision(),
            quality=self.quality,
            threads=self.settings.model_threads,
        )
        began_s = time.monotonic()
        with _shown(began_s) as tell:
            work = Import(
                desk,
                self.plan,
                models=desk.standing([]).models,
                tell=tell,
                stopped=stop.is_set,
            )
            self.outcome = work.run(outfit, workers=self.workers)
        self.took_s = time.monotonic() - began_s
        self.stopped = self.outcome.stopped

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        from edge_agent.footage.planning import Fate  # noqa: PLC0415

        if self.stopped:
            return 130
        refused = self.plan is None or any(one.fate is Fate.REFUSED for one in self.plan.verdicts)
        return int(refused or bool(self.outcome and self.outcome.broken))


@contextmanager
def _shown(began_s: float) -> Iterator[Callable[[Progress], None]]:
    """Show how an import goes on: a bar, or plain lines where there is no terminal."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    def line(now: Progress) -> str:
        speed = now.film_done_s / max(1e-3, time.monotonic() - began_s)
        return (
            f"{now.files_done:,}/{now.files:,} files  {speed:.1f} s of film a second  "
            f"{now.sightings:,} sightings"
        )

    if not err.is_terminal:
        told_s = time.monotonic()

        def tell(now: Progress) -> None:
            nonlocal told_s
            if time.monotonic() - told_s >= _LINE_EVERY_S:
                told_s = time.monotonic()
                share = 100 * now.film_done_s / max(1e-3, now.film_s)
                note(f"importing: {min(100.0, share):.0f}%  {line(now)}")

        yield tell
        return
    columns = (
        TextColumn("importing"),
        BarColumn(bar_width=20),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=err, transient=True) as bars:
        task = bars.add_task("", total=None)

        def move(now: Progress) -> None:
            done_s = min(now.film_done_s, now.film_s)
            bars.update(task, total=now.film_s, completed=done_s, description=line(now))

        yield move


def _report(
    errand: _Errand, undelivered: int | None, *, folder: Path, as_json: bool, dry_run: bool
) -> None:
    plan, outcome = errand.plan, errand.outcome
    if plan is None:
        note("stopped before anything was imported")
        return
    if as_json:
        say(json.dumps(_document(errand, undelivered)))
        return
    _say_verdicts(plan, folder)
    if plan.unasked:
        say(
            f"Headquarters has not told which hours of {', '.join(plan.unasked)} other boxes "
            "watched or imported: only what this box knows itself was held against these films."
        )
    fates = Counter(one.fate.value for one in plan.verdicts)
    say("; ".join(f"{counted(many, 'file')}: {fate}" for fate, many in sorted(fates.items())) + ".")
    if dry_run:
        say(f"{plan.seconds:,.0f} s of film would be looked at; nothing was imported.")
        return
    for path, trouble in outcome.broken if outcome else ():
        say(f"broke off  {_name(path, folder)}: {trouble}")
    if outcome is not None:
        done = outcome.progress
        speed = done.film_done_s / max(1e-3, errand.took_s)
        say(
            f"{done.film_done_s:,.0f} s of film in {errand.took_s:,.0f} s ({speed:.1f} times its "
            f"length), {counted(done.sightings, 'sighting')}, "
            f"{counted(done.sealed, 'quarter hour')} sealed."
        )
    if errand.stopped:
        say("Stopped. What was sealed stays; run the same command again to go on.")
    if undelivered:
        say(
            f"Waiting for headquarters: {counted(undelivered, 'message')}. The agent delivers them "
            "when it runs, or the next import does. Look at the network and the broker, and "
            "whether this box was revoked. If the broker refuses them (publish_refused), its "
            "access list does not know of these films: at headquarters, `sealtrace site update DIR "
            "--push`."
        )


def _say_verdicts(plan: Plan, folder: Path) -> None:
    from edge_agent.footage.planning import Fate  # noqa: PLC0415

    told = [one for one in plan.verdicts if one.fate is not Fate.IMPORT]
    for one in told[:_SHOWN]:
        say(f"{one.fate.value:<14} {_name(one.file.path, folder)}: {one.why}")
    if len(told) > _SHOWN:
        say(f"... and {len(told) - _SHOWN:,} more; --json lists them all.")


def _name(path: Path, folder: Path) -> str:
    try:
        name = str(path.relative_to(folder))
    except ValueError:
        name = path.name
    return name.replace("\n", "\\n").replace("\t", "\\t")


def _document(errand: _Errand, undelivered: int | None) -> dict[str, object]:
    plan, outcome = errand.plan, errand.outcome
    done = None if outcome is None else outcome.progress
    return {
        "schema": 1,
        "files": [
            {
                "path": str(one.file.path),
                "camera": one.file.camera,
                "began_ms": one.file.began_ms,
                "seconds": round(one.file.seconds, 3),
                "fate": one.fate.value,
                "why": one.why,
            }
            for one in (plan.verdicts if plan else ())
        ],
        "broken": [[str(path), why] for path, why in (outcome.broken if outcome else ())],
        "film_s": round(done.film_done_s, 1) if done else 0,
        "took_s": round(errand.took_s, 1),
        "sightings": done.sightings if done else 0,
        "quarter_hours": done.sealed if done else 0,
        "stopped": errand.stopped,
        "undelivered": undelivered,
        "not_asked": list(plan.unasked) if plan else [],
    }
