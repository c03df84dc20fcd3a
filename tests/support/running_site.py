"""A site of real processes on loopback, with a test's hands on all its keys, disks and wires."""

from __future__ import annotations

import json
import os
import sqlite3
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from waiting import wait_for

from demo.local_site import CUSTODIANS, PASSPHRASE, LocalSite, plan_of
from demo.ports import free_port
from demo.processes import run_command, sealtrace
from demo.wiretap import Wiretap
from protocol import hpke
from protocol.daykeys import DAY_KEYS_KIND, DayKeys
from protocol.directory import Directory, open_directory
from protocol.policy import Policy, parse_policy
from protocol.signing import Signed, SigningKey, VerifyKey
from provisioning.formats.plan import AGGREGATOR_NAME, OfficerPlan, SitePlan
from runtime.config import MqttConfig, TlsConfig
from runtime.http import ProblemError, client, raise_for_problem
from runtime.keyfiles import read_secret

PUPPET_MODEL = "sample-32@00000000"
"""The model of what puppet boxes seal: the policy of a test's site states a floor for it too."""
SERVERS = ("broker", *CUSTODIANS, "aggregator")


def plan_with_dan(cameras: Mapping[str, Mapping[str, Any]], **options: Any) -> SitePlan:
    """Return `plan_of` these with a second investigator, ``dan``, and a third approver, ``di``."""
    policy = {"threshold_floor": {PUPPET_MODEL: 0.3}, **options.pop("policy", {})}
    plan = plan_of(cameras, policy=policy, **options)
    dan = OfficerPlan(name="dan", duties=("investigator",))
    di = OfficerPlan(name="di", duties=("approver",))
    return plan.model_copy(update={"officers": (*plan.officers, dan, di)})


@dataclass(frozen=True, slots=True)
class Numbered:
    """What the aggregator has accounted for under one sequence number; outcome 1 is stored."""

    sequence: int
    outcome: int


class RunningSite:
    """A `LocalSite` and everything that a test may do to it."""

    def __init__(self, plan: SitePlan, folder: Path, *, database: str = "") -> None:
        """Make it; ``database``: the PostgreSQL that its plan names, where it names one."""
        self.local = LocalSite.create(plan, folder)
        self.plan = plan
        self._database = database

    # ------------------------------------------------------------------ processes

    def start(self, *names: str) -> None:
        """Start processes; return when each is ready."""
        self.local.start(*names)

    def stop(self) -> None:
        """Stop everything."""
        self.local.stop()

    def restart(self, name: str) -> None:
        """Stop one process properly, start it again."""
        self.local.services[name].stop()
        self.local.start(name)

    def kill(self, name: str) -> None:
        """Kill one process and its children (SIGKILL)."""
        self.local.services[name].kill()

    def signal(self, name: str, number: int) -> None:
        """Send a signal to one process and its children."""
        process = self.local.services[name].process
        assert process is not None
        os.killpg(process.pid, number)

    def output(self, name: str) -> str:
        """What a process has printed since its last start."""
        return self.local.services[name].output()

    @contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """Have these processes down inside the block, up again after it."""
        for name in names:
            self.local.services[name].stop()
        try:
            yield
        finally:
            self.local.start(*names)

    def command(self, *arguments: str, expect: int | None = 0) -> str:
        """Run ``sealtrace ARGUMENTS`` as the site's administrator; return all that it printed."""
        done = run_command(
            sealtrace(*arguments),
            folder=self.local.folder,
            environment=self.local.environment,
            expect=expect,
        )
        return done.stdout + done.stderr

    def may_import(self, box: str, *cameras: str, push: bool = False) -> None:
        """Let a box import films of these cameras; ``push``: the site runs."""
        options = [f"--camera={camera}" for camera in cameras]
        if push:
            options += ["--push", "--officer", str(self.local.officer("eve"))]
        self.command("box", "recordings", str(self.local.paths.root), box, *options)

    def have_metrics(self, *names: str) -> None:
        """Have roles tell monitoring once they start, each on a port of its own."""
        for name in names:
            with self.configuration(name).open("a") as file:
                file.write(f'\n[metrics]\nlisten = "127.0.0.1:{free_port()}"\n')

    def metrics(self, name: str) -> str:
        """What a role that runs tells monitoring."""
        told = tomllib.loads(self.configuration(name).read_text())["metrics"]["listen"]
        return httpx.get(f"http://{told}/metrics", trust_env=False).text

    def configuration(self, name: str) -> Path:
        """The configuration of a custodian or the aggregator."""
        kind = "aggregator" if name == "aggregator" else "custodian"
        return self.folder(name) / f"{kind}.toml"

    # ------------------------------------------------------------------ keys

    @property
    def policy(self) -> Policy:
        """The site's policy, as it is now."""
        return parse_policy(self.local.paths.policy.read_bytes())

    @property
    def directory(self) -> Directory:
        """The newest directory that the authority has signed."""
        paths = self.local.paths
        authority = VerifyKey(bytes.fromhex(paths.authority_public.read_text().strip()))
        return open_directory(paths.directory.read_bytes(), authority)

    def folder(self, name: str) -> Path:
        """The folder of a role."""
        root = self.local.paths.root
        for group in ("officers", "custodians", "boxes"):
            if (root / group / name).is_dir():
                return root / group / name
        return root / name

    def signing(self, name: str) -> SigningKey:
        """The signing key of an officer, a custodian, a box or the aggregator."""
        folder = self.folder(name)
        if (folder / "identity.key").exists():
            return SigningKey(name, read_secret(folder / "identity.key", None, "identity"))
        secret = read_secret(folder / "identity.secret", PASSPHRASE.encode(), "identity")
        return SigningKey(name, secret)

    def sealing(self, officer: str) -> hpke.PrivateKey:
        """The sealing key of an officer."""
        path = self.folder(officer) / "sealing.secret"
        return hpke.PrivateKey(read_secret(path, PASSPHRASE.encode(), "sealing"))

    def tls(self, name: str) -> TlsConfig:
        """The certificates of any role."""
        folder = self.folder(name) / "tls"
        return TlsConfig(
            ca=folder / "ca.pem",
            certificate=folder / "certificate.pem",
            private_key=folder / "private-key.pem",
        )

    def day_keys(self, custodian: str) -> Mapping[int, hpke.PublicKey]:
        """The day keys that a custodian publishes."""
        data = self.call("aggregator", custodian, "GET", "/v1/day-keys").content
        signed = Signed.parse(data, kind=DAY_KEYS_KIND)
        return DayKeys.parse(signed.payload, custodian=signed.signer).keys

    # ------------------------------------------------------------------ wires

    def url(self, role: str) -> str:
        """Where a custodian or the aggregator is."""
        if role == "aggregator":
            return self.plan.aggregator.url
        return next(c.url for c in self.plan.custodians if c.name == role)

    def call(
        self, caller: str, role: str, method: str, path: str, **options: Any
    ) -> httpx.Response:
        """Call a role's HTTP interface with the certificate of ``caller``.

        Raises:
            ProblemError: it refuses.
        """
        with client(self.url(role), self.tls(caller), 30.0) as http:
            return raise_for_problem(http.request(method, path, **options))

    def post(self, caller: str, role: str, path: str, body: bytes, method: str = "POST") -> bytes:
        """Send a CBOR message; return the answer's body."""
        headers = {"content-type": "application/cbor"}
        return self.call(caller, role, method, path, content=body, headers=headers).content

    def problem(self, caller: str, role: str, path: str, body: bytes) -> str:
        """Send a CBOR message that must be refused; return the problem's name."""
        try:
            self.post(caller, role, path, body)
        except ProblemError as error:
            return error.type
        return "none: it was accepted"

    def mqtt(self, name: str, **changes: Any) -> MqttConfig:
        """How ``name`` connects to the broker: with its certificate where the broker wants one."""
        tls = self.tls(name) if self.plan.broker.kind == "mosquitto" else None
        broker = self.plan.broker
        port = broker.headquarters if name == AGGREGATOR_NAME else broker.port
        return MqttConfig(host="localhost", port=port, tls=tls, **changes)

    @contextmanager
    def tapped(self, name: str = "wiretap") -> Iterator[Wiretap]:
        """Hear everything that crosses the broker (with Mosquitto: as ``name`` may)."""
        tap = Wiretap(self.mqtt(name))
        tap.start()
        try:
            yield tap
        finally:
            tap.stop()

    # ------------------------------------------------------------------ what is known of boxes

    def boxes(self) -> dict[str, dict[str, Any]]:
        """What ``GET /v1/boxes`` says, by box."""
        listed = self.call("ana", "aggregator", "GET", "/v1/boxes").json()
        return {row["box"]: row for row in listed}

    def rejects(self, box: str) -> dict[str, int]:
        """How often messages of a box were refused, by reason."""
        counts: dict[str, int] = {}
        for row in self.boxes()[box]["rejects"]:
            counts[row["reason"]] = counts.get(row["reason"], 0) + row["count"]
        return counts

    def numbered(self, camera: str) -> list[Numbered]:
        """What the aggregator's store (SQLite) says of a camera's sequence numbers, in order."""
        rows = self.rows(
            "SELECT q.sequence, q.outcome FROM sequences q JOIN streams s ON s.id = q.stream"
            " WHERE s.camera = ? ORDER BY q.sequence",
            camera,
        )
        return [Numbered(*row) for row in rows]

    def stored(self, camera: str) -> list[int]:
        """The sequence numbers of a camera that are stored, in order; one entry each."""
        if self._database:
            rows = self.rows(
                "SELECT e.sequence FROM envelopes e JOIN streams s ON s.id = e.stream"
                " WHERE s.camera = ? ORDER BY e.sequence",
                camera,
            )
            return [sequence for (sequence,) in rows]
        return [item.sequence for item in self.numbered(camera) if item.outcome == 1]

    def announcements(self, *cameras: str) -> list[bytes]:
        """The signed announcements of cameras that the aggregator has, oldest first."""
        rows = self.rows(
            "SELECT s.camera, a.signed FROM announcements a JOIN streams s ON s.id = a.stream"
            " ORDER BY a.id"
        )
        return [signed for camera, signed in rows if camera in cameras]

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Read the aggregator's database; values stand at the question marks."""
        if self._database:
            with psycopg.connect(self._database) as connection:
                return connection.execute(sql.replace("?", "%s").encode(), values).fetchall()
        return read_rows(self.folder("aggregator") / "state" / "aggregator.db", sql, *values)

    def outbox(self, box: str) -> dict[str, Any]:
        """What `sealtrace edge status` says of a box's outbox."""
        config = str(self.local.paths.box(box))
        printed = self.command("edge", "status", "--config", config, "--json")
        status: dict[str, Any] = json.loads(printed)
        return status

    def kept(self, box: str) -> list[tuple[str, int]]:
        """Camera and sequence number of every message in a box's outbox."""
        path = self.folder(box) / "state" / "outbox.sqlite"
        return [(c, n) for c, n in read_rows(path, "SELECT camera, sequence FROM message")]

    def wait_stored(self, camera: str, count: int, **options: Any) -> list[int]:
        """Wait until at least ``count`` messages of a camera are stored."""
        return wait_for(
            lambda: found if len(found := self.stored(camera)) >= count else [],
            f"{count} stored messages of {camera}",
            passing=sqlite3.OperationalError,
            **options,
        )


def read_rows(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Read an SQLite database that another process may be writing."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        return database.execute(sql, values).fetchall()


def is_whole(numbers: Sequence[int]) -> bool:
    """Whether the numbers are 0, 1, 2, ... each exactly once."""
    return list(numbers) == list(range(len(numbers)))
