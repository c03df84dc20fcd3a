"""What every role's command ``serve`` does: print its configuration, check it, or serve."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import typer

from runtime import logs
from runtime.config import RoleConfig, load, render
from runtime.terminal import say

SomeRole = TypeVar("SomeRole", bound=RoleConfig)
Use = Callable[[SomeRole, bytes], object]


def serve_as_told(
    path: Path,
    model: type[SomeRole],
    *,
    role: str,
    unlock: Callable[[SomeRole], bytes],
    verify: Use[SomeRole],
    run: Callable[[SomeRole, bytes], int],
    print_config: bool,
    check: bool,
    adapt: Callable[[SomeRole], SomeRole] = lambda settings: settings,
) -> None:
    """Do what ``serve`` was told to do.

    Args:
        path: the role's configuration.
        model: what it must be.
        role: stands in each line of the log.
        unlock: gets the secret (a passphrase, or what one opened) that the other two take.
        verify: opens all that the configuration names, and raises if something is wrong.
        run: serves until stopped; returns the exit code.
        print_config: print the effective configuration, and no more.
        check: verify, and no more.
        adapt: puts what else the command line said in the place of what the configuration says.

    Raises:
        OperationError: something is not as it should be.
        typer.Exit: it has served.
    """
    settings = adapt(load(path, model))
    if print_config:
        sys.stdout.write(render(settings))
        return
    logs.configure(settings.log, role=role)
    secret = unlock(settings)
    if check:
        verify(settings, secret)
        say(f"{path} is in order")
        return
    raise typer.Exit(run(settings, secret))
