"""Put a downloaded package together as a version beside the one that runs, checked and whole."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from provisioning.box.updates.client import Offer
from provisioning.box.updates.slots import Slots
from provisioning.formats.releases.errors import ReleaseError, ReleaseUnusable
from provisioning.formats.releases.packages import DISTRIBUTION, bundle_id, unpack
from provisioning.formats.releases.wheels import read_wheel, unpack_wheel
from runtime.bundle import BundleError, load_bundle
from runtime.fsio import FileProblem

_CHECK_TIMEOUT_S = 600
_AGENT_GROWTH = 4
"""An unpacked and compiled wheel takes up to this many times its packed size."""


def require_space(slots: Slots, offer: Offer, *, max_bytes: int) -> None:
    """Raise unless the package may be and can be taken in.

    Raises:
        ReleaseUnusable: it is larger than this box takes.
        FileProblem: the disk is too full.
    """
    length = offer.target.length
    if max(length, offer.unpacked_bytes) > max_bytes:
        raise ReleaseUnusable(
            f"{offer.target.path} has {max(length, offer.unpacked_bytes)} bytes, more than"
            f" `max_package_mb` of this box allows ({max_bytes}); raise it if that is right"
        )
    growth = _AGENT_GROWTH if offer.kind == "agent" else 1
    needed = 2 * length + growth * offer.unpacked_bytes
    slots.make_folder()
    free = shutil.disk_usage(slots.folder).free
    if free < needed:
        raise FileProblem(
            f"{slots.folder} has {free} bytes free, but {offer.target.path} needs {needed}; make"
            " room on the disk"
        )


def install_models(
    slots: Slots, offer: Offer, archive: Path, model_keys: Sequence[bytes], sha256: str
) -> None:
    """Unpack a model bundle, check its own signature and files, and put it in its place.

    Raises:
        ReleaseUnusable: it is not a bundle that this site's keys vouch for.
        FileProblem: the disk refuses.
    """
    incoming = slots.incoming(offer.version)
    unpack(archive, incoming, max_bytes=offer.unpacked_bytes)
    try:
        load_bundle(incoming, model_keys)
        found = bundle_id(incoming)
    except BundleError as error:
        raise ReleaseUnusable(f"the model bundle {offer.version} is refused: {error}") from error
    if found != offer.version:
        raise ReleaseUnusable(
            f"{offer.target.path} holds model bundle {found}, not the one it is called after;"
            " release it again"
        )
    slots.adopt(incoming, offer.version, sha256)


def install_agent(
    slots: Slots, offer: Offer, archive: Path, python: Path, sha256: str, *, max_bytes: int
) -> None:
    """Unpack the wheels of an agent into a folder of its own, and see it start there.

    Nothing of them is run before their hash was checked. What they do not bring is taken from the
    libraries that ``python`` has.

    Raises:
        ReleaseUnusable: the wheels do not fit this box, or the agent does not start.
        FileProblem: the disk refuses.
    """
    wheelhouse = slots.incoming(f"{offer.version}.wheels")
    incoming = slots.incoming(offer.version)
    unpack(archive, wheelhouse, max_bytes=offer.unpacked_bytes)
    try:
        wheels = [read_wheel(path) for path in sorted(wheelhouse.glob("*.whl"))]
    except ReleaseError as error:
        raise ReleaseUnusable(f"the agent {offer.version} cannot be used: {error}") from error
    chosen = {wheel.distribution: wheel for wheel in wheels if wheel.fits()}
    if missing := sorted({wheel.distribution for wheel in wheels} - chosen.keys()):
        raise ReleaseUnusable(
            f"{offer.target.path} has no wheel of {', '.join(missing)} for this machine"
            f" ({platform.machine()}, Python {platform.python_version()}); release it with one"
        )
    own = chosen.get(DISTRIBUTION)
    if own is None or own.version != offer.version:
        raise ReleaseUnusable(
            f"{offer.target.path} has no wheel of {DISTRIBUTION} {offer.version}; release it again"
        )
    left = max_bytes
    for wheel in chosen.values():
        left -= unpack_wheel(wheel, incoming, max_bytes=left)
    # The agent's user may not write here: without this each start would compile anew.
    _run([str(python), "-m", "compileall", "-q", str(incoming)], None, "", _CHECK_TIMEOUT_S)
    started = _run(
        [str(python), "-m", "sealtrace.command", "--version"],
        incoming,
        f"the agent {offer.version} does not start",
        _CHECK_TIMEOUT_S,
    )
    if started.split() != [DISTRIBUTION, offer.version]:
        raise ReleaseUnusable(
            f"the agent in {offer.target.path} calls itself {started.strip()!r}; release it again"
        )
    shutil.rmtree(wheelhouse, ignore_errors=True)
    slots.adopt(incoming, offer.version, sha256)


def _run(command: list[str], python_path: Path | None, problem: str, timeout_s: float) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    if python_path is not None:
        environment["PYTHONPATH"] = str(python_path)
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            cwd=python_path or "/",
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReleaseUnusable(f"{problem}: {command[0]}: {error}") from error
    if problem and ended.returncode != 0:
        lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
        raise ReleaseUnusable(
            f"{problem}: {lines[-1] if lines else f'exit code {ended.returncode}'}; release one"
            " that does"
        )
    return ended.stdout
