"""Print figures as one table, with the machine that they were measured on."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
from rich.console import Console  # noqa: TID251 - prints our own words
from rich.table import Table

from benchmarks.figures import Figure


def quiet_logs() -> None:
    """Log errors only while something is measured."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def machine() -> str:
    """Say on what the figures were measured: processor, cores, memory, system, Python."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return (
        f"{_processor()}, {cores} cores, {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, load {load:.1f}"
    )


def number(value: float) -> str:
    """Write a figure with three or four digits that count: 12,345 or 4.56 M."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.2f} M"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(title: str, groups: Sequence[tuple[str, Sequence[Figure]]]) -> Table:
    """Lay out groups of figures, each under its name."""
    made = Table(title=title, title_justify="left")
    for heading, side in (("figure", "left"), ("value", "right"), ("unit", "left")):
        made.add_column(heading, justify=side)  # type: ignore[arg-type]
    made.add_column("against, in the same run")
    made.add_column("ratio", justify="right")
    for name, figures in groups:
        if name:
            made.add_section()
            made.add_row(f"[bold]{name}[/bold]", "", "", "", "")
        for figure in figures:
            ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
            made.add_row(figure.name, number(figure.value), figure.unit, figure.baseline, ratio)
    return made


def print_figures(name: str, figures: Sequence[Figure]) -> None:
    """Print one benchmark's figures."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table(name, [("", figures)]))
    console.print(f"[dim]{machine()}[/dim]")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
