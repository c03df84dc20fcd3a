"""`sealtrace aggregator scheduler` and `match-worker`: the processes of a cluster that matches.

Dask is loaded by the commands and not by this module: `--help` does not need it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from aggregator.cluster.config import SchedulerConfig, WorkerConfig
from aggregator.cluster.joining import require_dask
from runtime import logs
from runtime.config import RoleConfig, TlsConfig, load, parse, render
from runtime.process import begin
from runtime.terminal import say

app = typer.Typer()
SomeConfig = TypeVar("SomeConfig", bound=RoleConfig)
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The process's configuration.")]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the effective configuration and end.")
]
Check = Annotated[bool, typer.Option("--check", help="Check configuration and files and end.")]
_TLS = TlsConfig(
    ca=Path("tls/ca.pem"),
    certificate=Path("tls/certificate.pem"),
    private_key=Path("tls/private-key.pem"),
)
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A worker has one core; BLAS reads these when it is loaded."""


@app.command(
    epilog="Examples:  sealtrace aggregator scheduler --config scheduler.toml   |   "
    "sealtrace aggregator scheduler --config scheduler.toml --check"
)
def scheduler(
    config: ConfigOption = Path("scheduler.toml"),
    print_config: PrintConfig = False,
    check: Check = False,
) -> None:
    """Carry sealed portions of matching between the aggregator and match workers.

    Runs until stopped (SIGTERM). It holds nothing that it could read, and nothing on a disk.
    """
    settings = _settings(config, SchedulerConfig, SchedulerConfig(tls=_TLS), print_config)
    if settings is None:
        return
    logs.configure(settings.log, role="scheduler")
    begin()
    from aggregator.cluster.scheduler import SchedulerProcess  # noqa: PLC0415

    process = SchedulerProcess(settings)
    if check:
        say(f"{config} is in order")
        return
    raise typer.Exit(process.run())


@app.command(
    "match-worker",
    epilog="Examples:  sealtrace aggregator match-worker --config match-worker.toml   |   "
    "sealtrace aggregator match-worker --config match-worker.toml --check   |   "
    "sealtrace aggregator match-worker --metrics 127.0.0.1:9472",
)
def match_worker(
    config: ConfigOption = Path("match-worker.toml"),
    print_config: PrintConfig = False,
    check: Check = False,
    metrics: Annotated[
        str | None,
        typer.Option(
            envvar="SEALTRACE_METRICS",
            help="Loopback address and port of this worker's metrics, where several share a"
            " configuration; else [metrics] listen.",
        ),
    ] = None,
) -> None:
    """Compare what the aggregator asks for, on one core: start one for each.

    Runs until stopped (SIGTERM); a portion that it was at is done by another. Keys and templates
    come sealed to a key that it draws at its start, and stay in memory.
    """
    example = WorkerConfig(scheduler="10.0.0.5:8786", tls=_TLS)
    settings = _settings(config, WorkerConfig, example, print_config)
    if settings is None:
        return
    if metrics is not None:
        said = {**settings.model_dump(exclude_unset=True), "metrics": {"listen": metrics}}
        settings = parse(said, WorkerConfig, source="the command line", folder=Path())
    logs.configure(settings.log, role="match-worker")
    begin()
    os.environ.update(_ONE_THREAD)
    from aggregator.cluster.worker import WorkerProcess  # noqa: PLC0415
    from aggregator.store import open_reader  # noqa: PLC0415

    process = WorkerProcess(settings)
    if check:
        open_reader(settings.store_place).newest()
        say(f"{config} is in order")
        return
    raise typer.Exit(process.run())


def _settings(
    path: Path, model: type[SomeConfig], example: SomeConfig, print_config: bool
) -> SomeConfig | None:
    """Read a configuration; None once it has been printed as asked."""
    if print_config:
        sys.stdout.write(render(load(path, model) if path.exists() else example))
        return None
    settings = load(path, model)
    require_dask()
    return settings
