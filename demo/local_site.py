"""A whole site on this machine: made from a plan, its processes started on loopback, stopped again.

Used by the demo and by the system tests. Nothing here knows what the processes do.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from demo.ports import free_ports
from demo.processes import READY_WITHIN_S, ProcessFailed, Service, run_command, sealtrace
from provisioning.authority import create_site
from provisioning.formats.layout import SitePaths
from provisioning.formats.plan import SitePlan
from provisioning.registrar import mosquitto
from runtime.keyfiles import PASSPHRASE_ENVIRONMENT

CUSTODIANS = ("c1", "c2", "c3")
OFFICERS: Mapping[str, Sequence[str]] = {
    "ana": ["investigator"],
    "bo": ["approver"],
    "cy": ["approver"],
    "eve": ["auditor"],
}
PASSPHRASE = "only for a demonstration"  # noqa: S105 - of a site that lives for minutes
Broker = Literal["embedded", "mosquitto"]
Tell = Callable[[str], None]


def plan_of(
    cameras: Mapping[str, Mapping[str, Any]],
    *,
    bundle: Path | None,
    broker: Broker = "embedded",
    policy: Mapping[str, Any] | None = None,
    box_settings: Mapping[str, Any] | None = None,
    aggregator_settings: Mapping[str, Any] | None = None,
    officers: Mapping[str, Sequence[str]] = OFFICERS,
    stations: Mapping[str, Sequence[str]] | None = None,
) -> SitePlan:
    """Return the plan of a small site: 2 of 3 custodians, four officers, a box for each camera.

    Its one investigator decides alone, unless ``officers`` and ``policy`` say otherwise.

    Args:
        cameras: camera name to its table in ``box.toml`` (``source`` and more); camera ``cam-N``
            is wired to ``box-N``.
        bundle: the signed model bundle.
        broker: which broker.
        policy: values of the policy other than the defaults.
        box_settings: keys and sections for every ``box.toml``.
        aggregator_settings: the same for ``aggregator.toml``.
        officers: name to duties.
        stations: name of an import station to the cameras whose films it may import.
    """
    ports = iter(free_ports(len(CUSTODIANS) + 4))
    return SitePlan.model_validate(
        {
            "site": "demo",
            "threshold": 2,
            "bundle": bundle,
            "custodians": [{"name": name, "port": next(ports)} for name in CUSTODIANS],
            "officers": [{"name": n, "duties": duties} for n, duties in officers.items()],
            "aggregator": {"port": next(ports), "settings": dict(aggregator_settings or {})},
            "broker": {"kind": broker, "port": next(ports), "headquarters_port": next(ports)},
            "registrar": {"port": next(ports)},
            "boxes": [
                {
                    "name": camera.replace("cam-", "box-"),
                    "cameras": [{"name": camera, **table}],
                    "settings": dict(box_settings or {}),
                }
                for camera, table in cameras.items()
            ]
            + [
                {"name": name, "recordings": list(films)}
                for name, films in (stations or {}).items()
            ],
            "policy": {"confirmations": 1, **(policy or {})},
            "security": {"argon2_memory_kib": 1024},
        }
    )


@dataclass(slots=True)
class LocalSite:
    """The site in ``folder`` and its processes by name (``broker``, ``c1``, ``box-1``, ...)."""

    plan: SitePlan
    folder: Path
    paths: SitePaths = field(init=False)
    services: dict[str, Service] = field(init=False)

    def __post_init__(self) -> None:
        self.paths = SitePaths(self.folder / "site")
        self.services = {}

    @classmethod
    def create(cls, plan: SitePlan, folder: Path, *, tell: Tell | None = None) -> LocalSite:
        """Make keys, certificates and configurations of ``plan`` in ``folder``."""
        site = cls(plan, folder)
        create_site(plan, site.paths.root, PASSPHRASE.encode(), notify=tell)
        (folder / "logs").mkdir(exist_ok=True)
        site.list_services()
        return site

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process: the passphrase, no colours, one thread a library."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {
            **kept,
            PASSPHRASE_ENVIRONMENT: PASSPHRASE,
            "NO_COLOR": "1",
            "COLUMNS": "160",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *names: str) -> None:
        """Start processes and wait until each is ready."""
        for name in names:
            self.services[name].start()
        for name in names:
            self.services[name].wait_ready()

    def stop(self) -> None:
        """Stop everything, boxes first and the broker last."""
        for name in reversed(list(self.services)):
            self.services[name].stop()

    def crashed(self) -> list[str]:
        """Return the processes that were started and do not run any more."""
        return [
            name
            for name, service in self.services.items()
            if service.process is not None and not service.running
        ]

    def officer(self, name: str) -> Path:
        """Return an officer's configuration file."""
        return self.paths.root / "officers" / name / "officer.toml"

    def start_desks(self, *officers: str) -> Mapping[str, str]:
        """Start these officers' desks, all at once.

        Returns:
            What opens each in a browser, once within two minutes, by the officer's name.

        Raises:
            ProcessFailed: a desk does not come up, or says no address.
        """
        names = {officer: f"desk-{officer}" for officer in officers}
        for (officer, name), port in zip(names.items(), free_ports(len(names)), strict=True):
            desk = sealtrace("desk", "--officer", str(self.officer(officer)), "--port", str(port))
            self._add(name, [*desk, "--no-browser"], self.officer(officer).parent)
            self.services[name].port = port
        self.start(*names.values())
        return {officer: self._address(officer, name) for officer, name in names.items()}

    def _address(self, officer: str, name: str) -> str:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:  # it listens a moment before it says so
            said = self.services[name].output()
            if said.endswith("\n") and (found := _START_ADDRESS.search(said)) is not None:
                return found[0]
            time.sleep(0.05)
        raise ProcessFailed(f"the desk of {officer} says no address: {said}")

    def run(self, officer: str, *arguments: str, expect: int | None = 0) -> str:
        """Run ``sealtrace ARGUMENTS`` as an officer; return what it printed.

        Raises:
            ProcessFailed: it ended with another exit code than ``expect``.
        """
        environment = {**self.environment, "SEALTRACE_OFFICER": str(self.officer(officer))}
        done = run_command(
            sealtrace(*arguments), folder=self.folder, environment=environment, expect=expect
        )
        return done.stdout if expect == 0 else done.stdout + done.stderr

    def run_json(self, officer: str, *arguments: str) -> Any:
        """Run a command with ``--json`` and return its value."""
        printed = self.run(officer, *arguments, "--json")
        try:
            return json.loads(printed)
        except ValueError as error:
            raise ProcessFailed(
                f"{' '.join(arguments)} printed no JSON: {printed[:300]}"
            ) from error

    def files(self) -> Iterable[Path]:
        """Yield every file of the site, its processes' state and logs."""
        return (path for path in sorted(self.folder.rglob("*")) if path.is_file())

    def list_services(self) -> None:
        """Note how each process of the plan is started."""
        root, plan = self.paths.root, self.plan
        self.paths.broker.mkdir(exist_ok=True)
        if plan.broker.kind == "embedded":
            broker = sealtrace(
                "broker", "serve", "--port", str(plan.broker.port), "--data", str(root / "broker")
            )
        else:
            broker = mosquitto.mosquitto_command()
        self._add("broker", broker, self.paths.broker)
        if plan.broker.kind == "mosquitto":
            self.services["broker"].port = plan.broker.port
            self.services["broker"].account = mosquitto.ACCOUNT
        for custodian in plan.custodians:
            folder = root / "custodians" / custodian.name
            serve = sealtrace("custodian", "serve", "--config", str(folder / "custodian.toml"))
            self._add(custodian.name, serve, folder)
        folder = root / "aggregator"
        serve = sealtrace("aggregator", "serve", "--config", str(folder / "aggregator.toml"))
        self._add("aggregator", serve, folder)
        if plan.registrar is not None:
            serve = sealtrace("registrar", "serve", "--config", str(self.paths.registrar))
            self._add("registrar", serve, self.paths.registrar.parent)
        for box in plan.boxes:
            folder = root / "boxes" / box.name
            run = sealtrace("edge", "run", "--config", str(folder / "box.toml"))
            self._add(box.name, run, folder)

    def add(self, name: str, arguments: list[str], folder: Path) -> None:
        """Note how a further process is started, or another way for one that is noted."""
        self._add(name, arguments, folder)

    def _add(self, name: str, arguments: list[str], folder: Path) -> None:
        self.services[name] = Service(
            name, arguments, folder, self.folder / "logs" / f"{name}.log", self.environment
        )


_START_ADDRESS = re.compile(r"http://localhost:\S+")
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV")
