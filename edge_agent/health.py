"""What a box tells about itself: figures by name, never anything about what was seen.

Whoever keeps the broker reads them, so none rises because somebody passed: how many sightings are
held or have been sealed stays on the box (`sealtrace edge status`).

Names: ``outbox.*`` (messages and bytes kept), ``count.*`` (totals since the box was set up, such as
``count.dropped_live``), ``camera.<name>.*``, ``model.<modality>.<model id>`` (always 1: the name
is the news), ``day_keys.*`` (custodians whose key of today is known, and how many there are),
``trouble.day_keys.<custodian>`` (1: its day keys cannot be used), ``trouble.camera.<name>`` (1:
sealing fails there), ``group.<name>`` (always 1: the group with which the box takes its versions),
``certificate_ends_s`` (when its certificate for the broker ends, in seconds since 1970),
``trouble.view.<name>`` (its pictures show nothing, or another place: 1 too
dark, 2 blocked, 3 blurred, 4 standing still, 5 moved; for half a minute at least) and the rest,
about the machine. ``camera.<name>.state`` is 0 failed, 1 no
frames now, 2 working, 3 ended.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cryptography import x509

from edge_agent.outbox import OutboxStats
from edge_agent.vision.view import Trouble

FAILED, SILENT, WORKING, ENDED = 0, 1, 2, 3
OF_PEOPLE = frozenset({"sealed_sightings", "late_sightings_restamped"})
"""Counters that rise when nothing is wrong, and with each person."""
_DISK_STEP = 64 << 20
"""Steps in which free bytes are told: stills take some kilobytes for each person who passes."""
_THERMAL = Path("/sys/class/thermal")


@dataclass(frozen=True, slots=True)
class CameraFigures:
    """One camera: state, frames a second looked at, read and dropped, waiting, trouble of view."""

    state: int
    fps: float
    read: int
    dropped: int
    waiting: bool
    generation: int
    trouble: Trouble = Trouble.NONE


def figures(
    *,
    outbox: OutboxStats,
    cameras: Mapping[str, CameraFigures],
    models: Mapping[str, str],
    state_dir: Path,
    others: Mapping[str, float],
) -> dict[str, float]:
    """Put together the figures of a health report; at most seven a camera (64 cameras fit)."""
    found: dict[str, float] = {
        "outbox.queued": outbox.queued,
        "outbox.sent": outbox.sent,
        "outbox.acknowledged": outbox.acknowledged,
        "outbox.in_memory": outbox.in_memory,
        "outbox.bytes": outbox.bytes_kept,
        "outbox.disk_full": int(outbox.disk_full),
    }
    found.update({f"model.{modality}.{model}"[:256]: 1 for modality, model in models.items()})
    found.update(
        {f"count.{name}": value for name, value in outbox.counters.items() if name not in OF_PEOPLE}
    )
    for name, camera in cameras.items():
        found.update(
            {
                f"camera.{name}.state": camera.state,
                f"camera.{name}.fps": round(camera.fps, 2),
                f"camera.{name}.read": camera.read,
                f"camera.{name}.dropped": camera.dropped,
                f"camera.{name}.waiting_for_keys": int(camera.waiting),
                f"camera.{name}.generation": camera.generation,
            }
        )
        if camera.trouble:
            found[f"trouble.view.{name}"] = int(camera.trouble)
    found.update(others)
    if (celsius := temperature_c()) is not None:
        found["temperature_c"] = celsius
    try:
        usage = shutil.disk_usage(state_dir)
        found["disk_free_bytes"] = usage.free // _DISK_STEP * _DISK_STEP
        found["disk_total_bytes"] = usage.total
    except OSError:
        found["disk_free_bytes"] = -1
    return found


def temperature_c(folder: Path = _THERMAL) -> float | None:
    """Return the hottest of the machine's thermal zones in degrees Celsius, None if unknown.

    Source: Linux, Documentation/driver-api/thermal/sysfs-api.rst (millidegrees).
    """
    found = []
    for zone in folder.glob("thermal_zone*/temp"):
        try:
            found.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return max(found, default=None)


class CertificateEnd:
    """When the certificate in a file ends; read anew when the file changes. For one thread.

    Args:
        path: PEM; None where there is none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._changed_ns = -1
        self._ends_s: int | None = None

    def figures(self) -> dict[str, float]:
        """Return the figure of a health report; none while the file cannot be read."""
        if self._path is None:
            return {}
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns != self._changed_ns:
                read = x509.load_pem_x509_certificate(self._path.read_bytes())
                self._ends_s = int(read.not_valid_after_utc.timestamp())
                self._changed_ns = changed_ns
        except (OSError, ValueError):
            return {}
        return {} if self._ends_s is None else {"certificate_ends_s": self._ends_s}


def software_version() -> str:
    """Return the version of the installed package."""
    try:
        return version("sealtrace")
    except PackageNotFoundError:
        return "0"
