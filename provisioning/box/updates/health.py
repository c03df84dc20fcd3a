"""Restart the agent and wait until it is well again, or say why it is not."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence

from provisioning.box.updates.update_config import ServiceConfig

_SHOWN = 300


def restart_and_wait(service: ServiceConfig) -> str | None:
    """Restart the agent; return None once it is well, else what is wrong.

    Well means: the health command exited with 0 ``times`` times in a row, ``interval_s`` apart,
    and the time of ``status_file`` (if there is one) advanced meanwhile.
    """
    deadline = time.monotonic() + service.deadline_s
    problem = _run(service.restart, service.deadline_s)
    if problem is not None:
        return f"the restart failed: {problem}"
    well = 0
    first_seen = _modified(service)
    problem = "it was not looked at in time"
    while time.monotonic() < deadline:
        found = _run(service.health, max(0.1, deadline - time.monotonic()))
        well = well + 1 if found is None else 0
        fresh = service.status_file is None or _modified(service) not in {None, first_seen}
        if well >= service.times and fresh:
            return None
        if found is not None:
            problem = found
        elif not fresh:
            problem = f"{service.status_file} was not written again"
        else:
            problem = f"it was well only {well} of {service.times} times in a row"
        time.sleep(service.interval_s)
    return f"health did not come back within {service.deadline_s:g} s: {problem}"


def _modified(service: ServiceConfig) -> int | None:
    if service.status_file is None:
        return None
    try:
        return service.status_file.stat().st_mtime_ns
    except OSError:
        return None


def _run(command: Sequence[str], timeout_s: float) -> str | None:
    """Run a command; return what went wrong, None when it exited with 0."""
    what = f"`{' '.join(command)}`"
    # A file, not a pipe: a service that a script starts may keep a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        try:
            ended = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{what} did not end within {timeout_s:.0f} s"
        except OSError as error:
            return f"{what} cannot be run: {error.strerror}"
        if ended.returncode == 0:
            return None
        output.seek(max(0, output.tell() - _SHOWN))
        said = output.read(_SHOWN).decode("utf-8", "replace").strip()
    return f"{what} exited with {ended.returncode}" + (f" ({said})" if said else "")
