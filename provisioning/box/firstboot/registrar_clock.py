"""Set a box's clock by the registrar's where no time server answers: signed, and within bounds.

A liar must be the registrar itself, whose key the claim names, and is believed only within the time
in which the box could join or renew anyway: not before the claim was made or what it has told
before, not after the claim, or this box's certificate, runs out.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from protocol.errors import ProtocolError
from protocol.joining import NONCE_BYTES, RegistrarTime
from protocol.signing import VerifyKey
from protocol.textformats import parse_json
from provisioning.box.firstboot import est_client
from provisioning.box.firstboot.errors import FirstBootError, InstallRefused
from provisioning.box.firstboot.install import Folder
from provisioning.formats import pki
from provisioning.formats.claimfile import ClaimFile
from runtime.clock import running_ms, system_ms
from runtime.errors import OperationError
from runtime.fsio import atomic_write, read_file

CLOCK_FILE = "clock.json"
CLOSE_ENOUGH_MS = 2000
"""A clock that is no further off is left alone."""
_SLOWEST_MS = 10_000
_MAX_BYTES = 1024
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Correction:
    """What the registrar said and what was done: ms UTC, by how many ms the clock was moved."""

    told_ms: int
    moved_ms: int

    @property
    def was_set(self) -> bool:
        """Whether the clock was set."""
        return self.moved_ms != 0


def set_by_registrar(
    folder: Folder,
    claim: ClaimFile,
    *,
    set_ms: Callable[[int], None] | None = None,
    now_ms: Callable[[], int] = system_ms,
    counted_ms: Callable[[], int] = running_ms,
) -> Correction:
    """Ask the registrar for the time, and set the machine's clock by a plausible answer.

    Args:
        set_ms: sets the clock, ms UTC; the machine's by default.
        now_ms: the clock that is set.
        counted_ms: a clock that nobody sets.

    Raises:
        PeerUnreachable, ProblemError: there is no answer.
        InstallRefused: it is not the registrar's, took too long, or is not plausible.
        FirstBootError: the claim does not name the registrar's key, or this user may not set it.
    """
    if not claim.registrar:
        raise FirstBootError(
            "the claim does not name the registrar's key, which may tell the time: it is of an"
            " earlier version; set the clock (NTP), or claim the box anew at headquarters"
        )
    nonce = secrets.token_bytes(NONCE_BYTES)
    began = counted_ms()
    data = est_client.time(claim, nonce)
    took = counted_ms() - began
    try:
        key = VerifyKey(bytes.fromhex(claim.registrar))
        said = RegistrarTime.open(data, site=claim.site, nonce=nonce, key=key)
    except ProtocolError as error:
        raise InstallRefused(f"the site's registrar did not sign this time: {error}") from error
    if took > _SLOWEST_MS:
        raise InstallRefused(f"the registrar's time took {took / 1000:.0f} s to come; try again")
    told_ms = said.time_ms + took // 2
    _require_plausible(folder, claim, told_ms)
    off_ms = told_ms - now_ms()
    if abs(off_ms) <= CLOSE_ENOUGH_MS:
        return Correction(told_ms, 0)
    (set_ms or _set_system_clock)(told_ms)
    atomic_write(folder.path / CLOCK_FILE, json.dumps({"v": 1, "time_ms": told_ms}).encode(), 0o600)
    _log.warning("clock_set_by_registrar", moved_ms=off_ms, to=str(_moment(told_ms)))
    return Correction(told_ms, off_ms)


def _require_plausible(folder: Folder, claim: ClaimFile, told_ms: int) -> None:
    root = pki.load_certificates(claim.ca.encode(), what="the claim's CA")[0]
    earliest = [root.not_valid_before_utc, claim.made_at or root.not_valid_before_utc]
    latest, until = claim.expires_at, "the claim runs out"
    if (certificate := folder.read_certificate()) is not None:
        earliest.append(certificate.not_valid_before_utc)
        latest, until = certificate.not_valid_after_utc, "this box's certificate runs out"
    if (known := _last_known(folder)) is not None:
        earliest.append(known)
    told, floor = _moment(told_ms), max(earliest)
    if told < floor:
        raise InstallRefused(
            f"the registrar says that it is {told:%Y-%m-%d %H:%M:%S} UTC, and it is no earlier than"
            f" {floor:%Y-%m-%d %H:%M:%S}; look at the clock of the registrar's machine"
        )
    if told > latest:
        raise InstallRefused(
            f"the registrar says that it is {told:%Y-%m-%d %H:%M:%S} UTC, after {until} ("
            f"{latest:%Y-%m-%d %H:%M}): it could not let this box in; look at its machine's clock,"
            " or make a new claim"
        )


def _last_known(folder: Folder) -> datetime | None:
    path = folder.path / CLOCK_FILE
    if not path.exists():
        return None
    try:
        return _moment(int(parse_json(read_file(path, _MAX_BYTES))["time_ms"]))
    except (OperationError, ValueError, KeyError, TypeError):
        return None  # damaged: the other bounds hold


def _moment(time_ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise InstallRefused(f"the registrar says {time_ms} ms, which is no time") from None


def _set_system_clock(time_ms: int) -> None:
    try:
        time.clock_settime_ns(time.CLOCK_REALTIME, time_ms * 1_000_000)
    except PermissionError:
        raise FirstBootError("only root may set the clock; run it with sudo") from None
