"""The agent as a process: a recording to its end, signals, faults, kills, revocation."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_process import ENVIRONMENT, RUN, Field, Process, box_toml
from edge_site import Site, wait_until

from protocol import names
from protocol.epoch import EPOCH_KIND, RECORDING
from protocol.signing import SigningKey
from protocol.v2.header import CLOCK, STATED
from runtime.keyfiles import write_secret

pytestmark = [pytest.mark.processes, pytest.mark.models]

Start = Callable[..., Process]


def today_at(hour: int, minute: int) -> str:
    return time.strftime(f"%Y-%m-%dT{hour:02}:{minute:02}:00Z", time.gmtime())


def test_a_recording_is_sealed_into_the_slots_of_its_own_time(start: Start, field: Field) -> None:
    config = field.config(field.recording("cam-1", today_at(0, 20)), field.recording("cam-2"))
    process = start("run", "--config", config, "--exit-when-done")
    assert process.end() == 0, "".join(process.lines)
    process.wait_event("ready")
    segments = [one for one in field.opened("cam-1") if one.kind == "segment"]
    assert [(one.slot, len(one.sightings)) for one in segments] == [(1, 2)]
    assert all(s.encounters for s in segments[0].sightings), "the two were near each other"
    covered = segments[0].coverage
    assert covered is not None
    assert covered.watched_s >= 2
    assert sum(covered.to_value().values()) == 4, "the last frames show nothing"
    for camera, time_source in (("cam-1", STATED), ("cam-2", CLOCK)):
        said = {(one.origin, one.time_source) for one in field.opened(camera)}
        assert said == {(RECORDING, time_source)}
    assert len([one for one in field.opened("cam-2") if one.kind == "segment"]) == 1
    assert field.headquarters.reports[-1].state == "offline"
    figures = field.headquarters.reports[-2].figures
    assert figures["day_keys.known"] == 3
    assert any(name.startswith("model.face.sface-128@") for name in figures)
    status = subprocess.run(
        [*RUN, "status", "--config", str(config), "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    told = json.loads(status.stdout)
    assert [camera["messages"] for camera in told["cameras"]] == [0, 0]
    assert told["counters"]["sealed_sightings"] == 4


def test_sigterm_seals_what_was_seen_and_delivers_it(start: Start, field: Field) -> None:
    process = start("run", "--config", field.config(field.looping("cam-1")))
    wait_until(lambda: len(field.headquarters.sequences("cam-1")) >= 2, "a live envelope")
    process.send(signal.SIGTERM)
    assert process.end() == 0, "".join(process.lines)
    assert process.events("stopped")[0]["kept"] == 0
    envelopes = field.opened("cam-1")
    lives = [s.sighting_id for one in envelopes if one.kind == "live" for s in one.sightings]
    segments = [s.sighting_id for one in envelopes if one.kind == "segment" for s in one.sightings]
    assert lives
    assert set(lives) <= set(segments)
    covered = [one.coverage for one in envelopes if one.kind == "segment" and one.coverage]
    standing_in = sum(one.standing_in_s for one in covered)
    assert standing_in > 0, "a film in place of a camera"
    assert standing_in == sum(sum(one.to_value().values()) for one in covered)


def test_a_second_agent_is_refused_and_the_first_goes_on(start: Start, field: Field) -> None:
    config = field.config(field.looping("cam-1"))
    first = start("run", "--config", config)
    first.wait_event("ready")
    second = start("run", "--config", config)
    assert second.end() == 1
    assert any("another process already uses" in line for line in second.lines)
    first.send(signal.SIGTERM)
    assert first.end() == 0


def test_a_bad_camera_does_not_disturb_the_others(start: Start, field: Field) -> None:
    (field.folder / "broken.mp4").write_bytes(b"not a video")
    config = field.config('name = "cam-1"\nsource = "file:broken.mp4"', field.recording("cam-2"))
    process = start("run", "--config", config, "--exit-when-done")
    assert process.end() == 1
    assert "cannot be decoded" in str(process.events("camera_failed")[0]["reason"])
    assert any(one.kind == "segment" for one in field.opened("cam-2"))
    assert field.headquarters.reports[-2].figures["camera.cam-1.state"] == 0


def test_a_killed_agent_goes_on_where_it_was(start: Start, field: Field) -> None:
    field.headquarters.receipts = False
    config = field.config(field.looping("cam-1"))
    first = start("run", "--config", config)
    wait_until(lambda: len(field.headquarters.sequences("cam-1")) >= 2)
    first.send(signal.SIGKILL)
    first.end()
    seen = field.headquarters.sequences("cam-1")
    field.headquarters.receipts = True
    second = start("run", "--config", config)
    wait_until(lambda: field.headquarters.sequences("cam-1")[-1] > seen[-1] + 1)
    second.send(signal.SIGTERM)
    assert second.end() == 0
    sequences = field.headquarters.sequences("cam-1")
    assert sequences == list(range(sequences[-1] + 1))
    generations = [one.generation for one in field.opened("cam-1")]
    assert len(set(generations)) == 2
    assert generations == sorted(generations)


def test_without_a_broker_known_day_keys_suffice_to_seal(start: Start, field: Field) -> None:
    config = field.config(field.recording("cam-1"))
    assert start("run", "--config", config, "--exit-when-done").end() == 0
    field.headquarters.stop()
    field.broker.stop()
    config = field.config(field.looping("cam-1"), more="shutdown_s = 0.5")
    process = start("run", "--config", config)
    process.wait_event("epoch_announced")
    process.wait_event("mqtt_unreachable")
    wait_until(lambda: _queued(config) >= 2, "an announcement and a live envelope")
    process.send(signal.SIGTERM)
    assert process.end() == 0, "".join(process.lines)
    assert int(str(process.events("stopped")[0]["kept"])) >= 2
    assert EPOCH_KIND.encode() in (field.folder / "state" / "outbox.sqlite").read_bytes()


def _queued(config: Path) -> int:
    from edge_agent.outbox_store import read_status

    cameras, _ = read_status(config.parent / "state" / "outbox.sqlite")
    return sum(camera.messages for camera in cameras)


def test_a_revoked_box_ends_with_its_own_exit_code_for_good(start: Start, field: Field) -> None:
    config = field.config(field.looping("cam-1"))
    process = start("run", "--config", config)
    process.wait_event("epoch_announced")
    revoked = field.site.directory.revoke("box-1", at_ms=5)
    field.headquarters.publish(names.directory_topic("demo"), field.site.signed_directory(revoked))
    assert process.end() == 3
    assert process.events("box_revoked")
    for command in (["run"], ["check"], ["run", "--check"]):
        again = start(*command, "--config", config)
        assert again.end() == 3
        assert "revoked" in "".join(again.lines)
        assert "Traceback" not in "".join(again.lines)


def test_sighup_reads_the_installed_directory_again(start: Start, field: Field) -> None:
    process = start("run", "--config", field.config(field.looping("cam-1")))
    process.wait_event("ready")
    newer = field.site.directory.next_version(field.site.directory.principals, at_ms=2)
    field.site.installed.write_bytes(field.site.signed_directory(newer))
    process.send(signal.SIGHUP)
    assert process.wait_event("directory_accepted")["version"] == 2
    process.send(signal.SIGTERM)
    assert process.end() == 0, "".join(process.lines)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("none", "all right"),
        ("identity", "knows 'box-1' by the key"),
        ("purpose", "for another purpose"),
        ("directory", "not this site's directory"),
        ("bundle", "no key trusted here"),
        ("model", "not the one that was signed"),
        ("camera", "does not let 'box-1' speak for cam-9"),
        ("key", "no such key; did you mean 'cameras'"),
    ],
)
def test_check_names_what_is_wrong_and_touches_nothing(
    site: Site, bundle_keys: str, identity: Path, fault: str, told: str
) -> None:
    tmp_path = identity.parent
    camera = "cam-9" if fault == "camera" else "cam-1"
    source = f'name = "{camera}"\nsource = "rtsp://u:secret@10.0.0.9/x"'
    text = box_toml(site, bundle_keys, "", 1, [source])
    config = tmp_path / "box.toml"
    model_bundle_path = bundle_keys.split('"')[1]
    if fault == "identity":
        seed = SigningKey.generate("box-1").seed
        write_secret(tmp_path / "identity.key", seed, None, "identity", overwrite=True)
    elif fault == "purpose":
        write_secret(tmp_path / "identity.key", bytes(32), None, "sealing", overwrite=True)
    elif fault == "directory":
        site.installed.write_bytes(site.directory.sign(SigningKey.generate("authority")).to_bytes())
    elif fault == "bundle":
        text = "\n".join(line for line in text.splitlines() if "bundle_keys" not in line)
    elif fault == "model":
        altered = tmp_path / "altered"
        shutil.copytree(model_bundle_path, altered)
        (altered / "face_detection_yunet_2023mar.onnx").write_bytes(b"other")
        text = text.replace(model_bundle_path, str(altered))
    elif fault == "key":
        text = text.replace("[[cameras]]", "[[camera]]")
    config.write_text(text)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = subprocess.run(
        [*RUN, "check", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    said = found.stdout + found.stderr
    assert told in said
    assert found.returncode == (0 if fault == "none" else 1)
    assert "Traceback" not in said
    assert "secret" not in said
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
