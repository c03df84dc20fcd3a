"""What `sealtrace doctor` looks at on a board. No picture is taken, and no password is shown."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge_agent.camera_setup.probe import knock
from edge_agent.config import BoxConfig, CameraConfig, load_box
from edge_agent.footage import ledger
from edge_agent.identity import (
    BoxRevoked,
    load_board_key,
    load_models_bundle,
    load_trust,
    require_box,
)
from edge_agent.outbox_store import MIGRATIONS, read_status
from edge_agent.sources import SourceError, parse_source_url
from edge_agent.stills import ring
from edge_agent.troubles import read_troubles
from protocol.directory import REGISTRAR
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import ProtocolError
from runtime.clock import system_ms
from runtime.doctor.broker import look_at_brokers
from runtime.doctor.certificates import look_at_certificate
from runtime.doctor.databases import Known, look_at_databases
from runtime.doctor.files import look_at_secrets
from runtime.doctor.findings import Findings
from runtime.doctor.machine import MIB, look_at_disk
from runtime.doctor.monitoring import look_at_metrics
from runtime.doctor.site import ask_all, compare, look_at_day_keys, newest_day
from runtime.fsio import FileProblem, read_file
from runtime.keyfiles import is_sealed
from runtime.peers import with_address
from runtime.redaction import redact
from runtime.text import counted, quoted
from runtime.trust import Trust

UNIT = "sealtrace-edge"
MENDS = "nothing: the agent puts it aside at its next start; look at the card"
_MANY_MESSAGES = 1000


def examine(path: Path, found: Findings) -> str:
    """Look at a box, from its configuration; return which it is.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    config = load_box(path)
    tls, state = config.mqtt.tls, config.state_dir
    keys = [tls.private_key] if tls is not None and tls.private_key is not None else []
    # The configuration may hold cameras' passwords, so it is a secret, too.
    look_at_secrets(found, [path, config.identity, *keys], state_dir=state)
    stills_bytes = round(config.stills.max_mb * MIB) if config.stills.hours else 0
    look_at_disk(found, state, most=round(config.outbox.max_mb * 1e6) + stills_bytes)
    if tls is not None:
        look_at_certificate(
            found,
            "certificate",
            tls,
            name=config.box,
            renewed_by="sudo sealtrace box renew --restart sealtrace-edge.service; if it has run"
            " out, at headquarters: sealtrace box claim SITE BOX",
            by_itself=True,
        )
    look_at_databases(
        found,
        [
            Known(state / "outbox.sqlite", len(MIGRATIONS)),
            Known(state / "imports.sqlite", len(ledger.MIGRATIONS)),
            Known(state / "stills.sqlite", len(ring.MIGRATIONS)),
        ],
        restored=MENDS,
    )
    trust = _look_at_installed(found, config)
    _look_at_agent(found, config, path)
    if config.cameras and shutil.which("ffmpeg") is None:
        found.warn(
            "ffmpeg",
            "not on PATH: interlaced and some older recordings and cameras cannot be read",
            "sudo apt install ffmpeg",
        )
    look_at_metrics(found, config.metrics)
    look_at_brokers(found, config.mqtt)
    if trust is not None:
        _look_at_kept_keys(found, config, trust)
        answers = ask_all(found, with_address(trust.directory, REGISTRAR), tls)
        compare(found, trust, None, answers)
    for camera in config.cameras:
        look_at_camera(found, camera)
    return f"box {config.box} of site {config.site}"


def _look_at_installed(found: Findings, config: BoxConfig) -> Trust | None:
    """Look at models, key and directory; return whom the box believes."""
    with found.looking("models", next="install the site's models again: folder `bundle`"):
        bundle = load_models_bundle(config)
        found.well("models", f"signed and whole: {', '.join(bundle.models().values())}")
    trust: Trust | None = None
    with found.looking("directory", next="install the box's folder again, or admit it anew"):
        trust = load_trust(config, keep_state=False)
        directory = trust.directory
        if is_sealed(config.identity):
            found.wrong(
                "identity",
                f"{config.identity} opens by a passphrase, and a box starts without anybody",
                "admit the box anew",
            )
            return trust
        try:
            require_box(directory, config, load_board_key(config).verify_key)
        except BoxRevoked as error:
            found.wrong("directory", str(error), "at headquarters: sealtrace box --help")
            return trust
        found.well(
            "directory",
            f"version {directory.version}, signed; lists '{config.box}' with this key and its"
            " cameras",
        )
    return trust


def _look_at_agent(found: Findings, config: BoxConfig, path: Path) -> None:
    """Look at what the running agent said last, and what it has still to send."""
    with found.looking("agent"):
        troubles = read_troubles(config.state_dir)
        start = f"systemctl status {UNIT}; journalctl -u {UNIT} -n 50"
        if troubles is None:
            found.wrong("agent", "does not run", start)
        elif not troubles.holds(system_ms()):
            found.wrong("agent", "has said nothing for minutes: it hangs, or was killed", start)
        elif lines := troubles.lines([one.name for one in config.cameras]):
            for line in lines:
                found.warn("agent", line, f"sealtrace edge status -c {quoted(path)}")
        else:
            found.well("agent", "runs, and reports no trouble")
    if not (config.state_dir / "outbox.sqlite").exists():
        return
    with found.looking("outbox"):
        cameras, _ = read_status(config.state_dir / "outbox.sqlite")
        waiting = sum(camera.messages for camera in cameras)
        size_mb = sum(camera.bytes for camera in cameras) / 1e6
        what = f"{counted(waiting, 'message')} wait, {size_mb:.1f} of {config.outbox.max_mb:g} MB"
        if size_mb > 0.8 * config.outbox.max_mb or waiting > _MANY_MESSAGES * len(cameras):
            found.warn(
                "outbox",
                f"{what}: headquarters has not had them for long",
                "look at the broker (above), and at headquarters: sealtrace doctor aggregator.toml",
            )
        else:
            found.well("outbox", what)


def _look_at_kept_keys(found: Findings, config: BoxConfig, trust: Trust) -> None:
    directory = trust.directory
    newest: dict[str, int] = {}
    with found.looking("day keys"):
        for path in sorted((config.state_dir / "day-keys").glob("*.cbor")):
            try:
                who, last = newest_day(read_file(path, MAX_MESSAGE_BYTES), directory, config.site)
            except (ProtocolError, FileProblem):
                continue
            newest[who] = max(last, newest.get(who, -1))
        look_at_day_keys(found, directory, newest)


def look_at_camera(found: Findings, camera: CameraConfig) -> None:
    """Knock at a camera: a description of what it offers is asked for, and no picture."""
    about = f"camera {camera.name}"
    source = parse_source_url(camera.source)
    if source.networked and not found.network:
        return
    found.tell(about)
    try:
        if not source.networked:
            there = Path(source.target)
            if not there.exists():
                found.wrong(about, f"{there} is not there", "correct its source in box.toml")
                return
        login = knock(source)
    except SourceError as error:
        found.wrong(about, redact_all(str(error), camera.source), "sealtrace camera probe --help")
        return
    except OSError as error:
        found.wrong(about, f"{source}: {error.strerror or type(error).__name__}", "see its cable")
        return
    found.well(about, f"{source} answers{f', login by {login}' if login else ''}")


def redact_all(text: str, source: str) -> str:
    """Return ``text`` without a source's password, should it be in it after all."""
    return text.replace(source, redact(source))
