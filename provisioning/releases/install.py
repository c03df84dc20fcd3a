"""Put a downloaded package together as a version beside the one that runs, checked and whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from provisioning.releases.client import Offer
from provisioning.releases.errors import ReleaseUnusable
from provisioning.releases.packages import DISTRIBUTION, bundle_id, read_wheel, unpack
from provisioning.releases.slots import Slots
from runtime.bundle import BundleError, load_bundle
from runtime.errors import OperationError
from runtime.fsio import FileProblem

_PIP_TIMEOUT_S = 1800
_CHECK_TIMEOUT_S = 120
_AGENT_GROWTH = 4
"""An installed wheel takes up to this many times its packed size."""


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


def install_agent(slots: Slots, offer: Offer, archive: Path, python: Path, sha256: str) -> None:
    """Install the wheels of an agent into a folder of its own, and see it start there.

    Only wheels of the package are used, without any index, and nothing of them is run before their
    hash was checked.

    Raises:
        ReleaseUnusable: the wheels do not fit this box, or the agent does not start.
        FileProblem: the disk refuses.
    """
    wheelhouse = slots.incoming(f"{offer.version}.wheels")
    incoming = slots.incoming(offer.version)
    unpack(archive, wheelhouse, max_bytes=offer.unpacked_bytes)
    try:
        wheels = [read_wheel(path) for path in sorted(wheelhouse.glob("*.whl"))]
    except OperationError as error:
        raise ReleaseUnusable(f"the agent {offer.version} cannot be used: {error}") from error
    wanted = sorted({f"{wheel.distribution}=={wheel.version}" for wheel in wheels})
    if f"{DISTRIBUTION}=={offer.version}" not in wanted:
        raise ReleaseUnusable(
            f"{offer.target.path} has no wheel of {DISTRIBUTION} {offer.version}; release it again"
        )
    _run(
        [
            *(str(python), "-m", "pip", "install", "--isolated", "--no-index", "--no-deps"),
            *("--no-input", "--disable-pip-version-check", "--no-cache-dir", "--quiet"),
            *("--only-binary", ":all:", "--find-links", str(wheelhouse)),
            *("--target", str(incoming), *wanted),
        ],
        None,
        f"the wheels of agent {offer.version} do not fit this box",
        _PIP_TIMEOUT_S,
    )
    started = _run(
        [str(python), "-m", "provisioning.command", "--version"],
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
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    environment["PIP_CONFIG_FILE"] = os.devnull
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
    if ended.returncode != 0:
        lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
        raise ReleaseUnusable(
            f"{problem}: {lines[-1] if lines else f'exit code {ended.returncode}'}; release one"
            " that does"
        )
    return ended.stdout
