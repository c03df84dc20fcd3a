"""A site's whole day, to be watched from outside: every role starts, works and stops.

    python whole_day.py FOLDER PHOTOS MODELS CLIPS

Writes ``FOLDER/ports.json`` (name to port on loopback) and ends with 0 if the patient was found.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from film_set import FilmSet
from release_desk import Box, Desk
from waiting import wait_for

from demo.clips import compose
from demo.ports import free_ports
from demo.processes import Service, run_command, sealtrace
from demo.scenario import demo_scenario

LONGER_THAN_A_LIBRARY_WAITS_S = 20.0
"""onnxruntime makes its first look-up ten seconds after it was loaded."""


def main(folder: Path, photos: Path, models: Path, clips: Path) -> int:
    """Have the day."""
    day = FilmSet.make(
        folder,
        compose(demo_scenario(), photos, clips),
        photos,
        models,
        broker="mosquitto",
        aggregator_settings={"matching": {"pool_from_envelopes": 1, "processes": 1}},
    )
    local, plan = day.site.local, day.site.plan
    [spare] = free_ports(1)
    assert plan.registrar is not None
    ports = {c.name: urlsplit(c.url).port for c in plan.custodians}
    ports |= {"headquarters": plan.broker.headquarters}
    ports |= {"broker": plan.broker.port, "aggregator": urlsplit(plan.aggregator.url).port}
    ports |= {"registrar": urlsplit(plan.registrar.url).port, "spare": spare}
    (folder / "ports.json").write_text(json.dumps(ports))
    embedded = Service(
        "embedded broker",
        sealtrace("broker", "serve", "--port", str(spare), "--data", str(folder / "embedded")),
        folder,
        folder / "logs" / "embedded.log",
        local.environment,
    )
    began = time.monotonic()
    try:
        embedded.start()
        embedded.wait_ready()
        day.shoot()
        local.start("registrar")
        query = day.trace(day.enrol())
        found = local.run_json("ana", "trace", "show", query)
        _audit(day, folder)
        _admit(day, folder)
        _update(folder / "fleet", local.environment)
        wait_for(
            lambda: time.monotonic() - began > LONGER_THAN_A_LIBRARY_WAITS_S,
            "the time in which a library would call home",
        )
        assert not local.crashed(), local.crashed()
    finally:
        day.stop()
        embedded.stop()
    return 0 if found else 1


def _audit(day: FilmSet, folder: Path) -> None:
    local = day.site.local
    local.run("eve", "audit", "fetch", "--out", str(folder / "audit"))
    local.run("eve", "audit", "verify", str(folder / "audit"), expect=None)


def _admit(day: FilmSet, folder: Path) -> None:
    """Let a new box in through the registrar, and renew its certificate."""
    cameras = folder / "cameras.toml"
    cameras.write_text('[[cameras]]\nname = "door"\nsource = "file:none.mp4"\n')
    root = str(day.site.local.paths.root)
    day.site.command("box", "claim", root, "box-9", "--cameras-file", str(cameras))
    claim, box = str(folder / "box-9.claim.toml"), str(folder / "box-9")
    day.site.command("box", "join", "--folder", box, "--claim-file", claim)
    day.site.command("box", "renew", "--folder", box)


def _update(folder: Path, environment: dict[str, str]) -> None:
    """Let a box update itself from a release repository."""
    desk = Desk(folder / "desk")
    desk.models("good 1")
    box = Box(folder / "box", desk, desk.trusted_root)
    config = folder / "updates.toml"
    written = box.config
    config.write_text(
        f'repository = "{written.repository}"\nroot = "{written.root}"\n'
        f'authority = "{written.authority}"\nstate_dir = "{written.state_dir}"\n'
        f'bundles = "{written.bundles}"\nagents = "{written.agents}"\n'
        f"[service]\nrestart = {json.dumps(list(written.service.restart))}\n"
        f"health = {json.dumps(list(written.service.health))}\n"
        "deadline_s = 30\ninterval_s = 0.1\ntimes = 1\n"
    )
    run_command(
        sealtrace("release", "update", "--config", str(config)),
        folder=folder,
        environment=environment,
    )


if __name__ == "__main__":
    os.environ.setdefault("TMPDIR", sys.argv[1])
    sys.exit(main(*map(Path, sys.argv[1:5])))
