"""A site of real processes for ten officers: filed queries with results, and boxes that send on."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from benchmarks.sealed_site import MODEL, Camera, Message, unit_rows
from demo.local_site import CUSTODIANS, PASSPHRASE, LocalSite, plan_of
from protocol.about_queries import MATCHER_KEY_KIND, Approval, MatcherKey
from protocol.daykeys import DAY_KEYS_KIND, DayKeys
from protocol.directory import Directory, open_directory
from protocol.epoch import announce, excluded_subsets
from protocol.keytree import DEPTH, FACE, META, descend, tree_top
from protocol.names import (
    ENVELOPE,
    SLOT_MS,
    CameraAddress,
    SlotName,
    epoch_of,
    slot_of,
    slot_start_ms,
)
from protocol.policy import parse_policy
from protocol.query import Query, Subject, TemplateReference
from protocol.sealing import SEGMENT
from protocol.sightings import MaskStatus, Quantised
from protocol.signing import Signed, SigningKey, VerifyKey
from protocol.templates import Template, seal_templates
from protocol.v2 import VERSION
from protocol.v2.blocks import Space
from protocol.v2.envelopes import Batch, seal
from protocol.v2.header import CLOCK, Header
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.rows import Coverage
from protocol.v2.sightings import Row, Sighting
from runtime.clock import system_ms
from runtime.config import MqttConfig, TlsConfig
from runtime.http import client, raise_for_problem
from runtime.keyfiles import read_secret
from runtime.mqtt import Session

OFFICERS = {
    **dict.fromkeys(("ana", "dan", "fay", "gil"), ("investigator",)),
    **dict.fromkeys(("bo", "cy", "di", "hal"), ("approver",)),
    **dict.fromkeys(("eve", "ivy"), ("auditor",)),
}
"""Ten officers, name to duties."""
SERVERS = ("broker", *CUSTODIANS, "aggregator")
CAMERAS = 16
_PEOPLE, _SIGHTINGS = 8, 8
_PATIENCE_S, _DAY_MS = 60.0, 86_400_000
_ENDED = frozenset({"complete", "expired", "failed", "withdrawn"})


class DeskSite:
    """Broker, aggregator and custodians as processes, and every officer's keys in hand.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        cameras = {f"cam-{n}": {"source": "file:none.mp4"} for n in range(1, CAMERAS + 1)}
        plan = plan_of(
            cameras,
            bundle=None,
            officers=OFFICERS,
            policy={"threshold_floor": {MODEL: 0.3}},
        )
        self.local = LocalSite.create(plan, folder)
        self.policy = parse_policy(self.local.paths.policy.read_bytes())
        self._clients: dict[str, httpx.Client] = {}
        self.people = unit_rows(np.random.default_rng(1), _PEOPLE)
        """Templates of those who are looked for, (n, d) int8."""

    def close(self) -> None:
        """Stop all processes, the desks first."""
        for one in self._clients.values():
            one.close()
        self.local.stop()

    # ------------------------------------------------------------------ keys

    @property
    def directory(self) -> Directory:
        """The directory."""
        paths = self.local.paths
        authority = VerifyKey(bytes.fromhex(paths.authority_public.read_text().strip()))
        return open_directory(paths.directory.read_bytes(), authority)

    def signing(self, name: str) -> SigningKey:
        """Return an officer's or a box's signing key."""
        folder = self._folder(name)
        if (folder / "identity.key").exists():
            return SigningKey(name, read_secret(folder / "identity.key", None, "identity"))
        secret = read_secret(folder / "identity.secret", PASSPHRASE.encode(), "identity")
        return SigningKey(name, secret)

    def _folder(self, name: str) -> Path:
        root = self.local.paths.root
        places = (root / group / name for group in ("officers", "boxes", "custodians"))
        return next((place for place in places if place.is_dir()), root / name)

    # ------------------------------------------------------------------ headquarters

    def ask(self, caller: str, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        """Call the aggregator as an officer.

        Raises:
            ProblemError: it refuses.
        """
        if caller not in self._clients:
            url = self.local.plan.aggregator.url
            self._clients[caller] = client(url, self._tls(caller), 30.0)
        headers = {} if body is None else {"content-type": "application/cbor"}
        answer = self._clients[caller].request(method, path, content=body, headers=headers)
        return raise_for_problem(answer)

    def _tls(self, name: str) -> TlsConfig:
        folder = self._folder(name) / "tls"
        return TlsConfig(
            ca=folder / "ca.pem",
            certificate=folder / "certificate.pem",
            private_key=folder / "private-key.pem",
        )

    def _day_keys(self, custodian: str, epoch: int) -> Any:
        url = next(one.url for one in self.local.plan.custodians if one.name == custodian)
        with client(url, self._tls("aggregator"), 30.0) as http:
            signed = Signed.parse(http.get("/v1/day-keys").content, kind=DAY_KEYS_KIND)
        return DayKeys.parse(signed.payload, custodian=signed.signer).keys[epoch]

    # ------------------------------------------------------------------ boxes

    def cameras(self) -> list[Camera]:
        """Return today's cameras, with the real boxes' keys and shares for the real custodians."""
        epoch = epoch_of(system_ms())
        keys = {name: self._day_keys(name, epoch) for name in CUSTODIANS}
        made = []
        for number in range(1, CAMERAS + 1):
            address = CameraAddress(self.local.plan.site, f"box-{number}", f"cam-{number}")
            roots = tuple(os.urandom(32) for _ in excluded_subsets(CUSTODIANS, 2))
            announcement = announce(
                roots,
                address=address,
                epoch=epoch,
                generation=1,
                sequence=0,
                threshold=2,
                custodians=CUSTODIANS,
                day_keys=keys,
                models={FACE: MODEL},
                announced_at_ms=system_ms(),
                version=VERSION,
            )
            made.append(Camera(address, self.signing(address.box), announcement, roots))
        return made

    @property
    def mqtt(self) -> MqttConfig:
        """How boxes connect to the broker."""
        return MqttConfig(host="localhost", port=self.local.plan.broker.port)

    def show_people(self, cameras: Sequence[Camera]) -> None:
        """Have every camera announce its day, and send an envelope with all people in it."""
        session = Session(self.mqtt, client_id="bench-people", window=64)
        session.start()
        if not session.wait_connected(_PATIENCE_S):
            raise TimeoutError("the broker does not answer")
        for camera in cameras:
            session.publish_and_wait(*camera.message_of_day())
            session.publish_and_wait(*_segment(camera, self.people))
        session.stop()

    # ------------------------------------------------------------------ queries

    def file(self, requester: str, number: int) -> tuple[Query, bytes]:
        """File a query for one of the people, at half of the cameras; return it and its digest."""
        now_ms, row = system_ms(), self.people[number % _PEOPLE]
        scale = float(1 / np.linalg.norm(row.astype(np.float32)))
        template = Template(FACE, MODEL, os.urandom(32), row, scale)
        subject = f"patient-{number}"
        begins_ms = slot_start_ms(epoch_of(now_ms), _slot())
        query = Query(
            query_id=os.urandom(16),
            site=self.local.plan.site,
            subjects=(
                Subject(
                    subject,
                    f"consent C-2031/{number}",
                    (TemplateReference(FACE, MODEL, template.digest),),
                    consent_document=bytes(32),
                ),
            ),
            purpose="contact tracing of a confirmed patient",
            legal_basis="consent",
            cameras=tuple(sorted(f"cam-{1 + (number + n) % CAMERAS}" for n in range(8))),
            window_from_ms=begins_ms,
            window_to_ms=begins_ms + SLOT_MS,
            modalities=(FACE,),
            live=False,
            thresholds={MODEL: 0.6},
            contacts=True,
            max_candidates=50,
            expected_false=0.001,
            requested_at_ms=now_ms,
            not_after_ms=now_ms + _DAY_MS,
            policy_digest=self.policy.digest,
            version=1 if self.policy.purposes is None else 2,
            purpose_kind=min(self.policy.purposes or [""]),
        )
        signed = query.sign(self.signing(requester))
        self.ask(requester, "POST", "/v1/queries", signed.to_bytes())
        path = f"/v1/queries/{query.query_id.hex()}"
        data = self.ask(requester, "POST", f"{path}/matcher-key", b"").content
        key = MatcherKey.parse(Signed.parse(data, kind=MATCHER_KEY_KIND).payload)
        sealed = seal_templates({subject: [template]}, key.key, query_digest=signed.digest)
        self.ask(requester, "PUT", f"{path}/templates", sealed)
        return query, signed.digest

    def approve(self, query: Query, digest: bytes, approvers: Sequence[str]) -> None:
        """Approve a query."""
        path = f"/v1/queries/{query.query_id.hex()}/approvals"
        for approver in approvers:
            approval = Approval(digest, self.policy.digest, system_ms())
            self.ask(approver, "POST", path, approval.sign(self.signing(approver)).to_bytes())

    def listed(self) -> list[dict[str, Any]]:
        """Return what the aggregator says of all queries, the newest first."""
        found: list[dict[str, Any]] = self.ask("ana", "GET", "/v1/queries").json()
        return found

    def wait_answered(self, ids: Sequence[str]) -> None:
        """Wait until queries have ended.

        Raises:
            TimeoutError: they do not, or ended without a result.
        """
        deadline, wanted = time.monotonic() + _PATIENCE_S, set(ids)
        while time.monotonic() < deadline:
            states = {one["id"]: one for one in self.listed() if one["id"] in wanted}
            if all(one["state"] in _ENDED for one in states.values()):
                break
            time.sleep(0.25)
        short = [one for one in states.values() if not one["candidates"]]
        if short:
            raise TimeoutError(f"{len(short)} queries found nothing: {json.dumps(short[0])[:300]}")


class Boxes:
    """A process that speaks for all boxes: sealed beforehand, sent at a rate.

    Args:
        site: running.
        cameras: announced already.
        rate: envelopes a second, of all together.
        seconds: for which there is enough to send.
    """

    def __init__(
        self, site: DeskSite, cameras: Sequence[Camera], *, rate: int, seconds: float
    ) -> None:
        context = multiprocessing.get_context("fork")  # keys go to no other program
        self._go, self._ready, self._stop = (context.Event() for _ in range(3))
        # Not a daemon: `with` ends it, and it ends itself when it has sent all.
        self.process = context.Process(
            target=_send,
            args=(site.mqtt, list(cameras), rate, seconds),
            kwargs={"ready": self._ready, "go": self._go, "stop": self._stop},
        )

    @contextmanager
    def sending(self) -> Iterator[Callable[[], None]]:
        """Yield what has it begin."""
        self.process.start()

        def begin() -> None:
            if not self._ready.wait(_PATIENCE_S):
                raise TimeoutError("the boxes have sealed nothing")
            self._go.set()

        try:
            yield begin
        finally:
            self._stop.set()
            self._go.set()
            self.process.join(_PATIENCE_S)


def _send(
    mqtt: MqttConfig,
    cameras: list[Camera],
    rate: int,
    seconds: float,
    *,
    ready: Any,
    go: Any,
    stop: Any,
) -> None:
    rng = np.random.default_rng(2)
    rows = [unit_rows(rng, _SIGHTINGS) for _ in range(64)]
    messages = [
        cameras[n % len(cameras)].seal(SEGMENT, n % (_slot() + 1), rows[n % len(rows)])
        for n in range(int(rate * seconds))
    ]
    session = Session(mqtt, client_id="bench-boxes", window=256)
    session.start()
    if not session.wait_connected(_PATIENCE_S):
        raise TimeoutError("the broker does not answer")
    ready.set()
    go.wait()
    begin = time.monotonic()
    for number, (topic, payload) in enumerate(messages):
        ahead_s = begin + number / rate - time.monotonic()
        if ahead_s > 0:
            time.sleep(ahead_s)
        if stop.is_set():
            break
        session.publish(topic, payload, timeout_s=_PATIENCE_S)
    session.stop()


def _segment(camera: Camera, people: npt.NDArray[np.int8]) -> Message:
    """Return a segment in which all people were seen, whose rows custodians can open."""
    epoch, slot = camera.announcement.epoch, _slot()
    name = SlotName(camera.address, epoch, camera.announcement.generation, slot)
    begin_ms = slot_start_ms(epoch, slot)
    camera.sequence += 1
    header = Header(
        SEGMENT,
        name,
        camera.sequence,
        camera.announcement.origin,
        CLOCK,
        begin_ms + SLOT_MS,
        os.urandom(8),
        (),
        (),
    )
    number = int(camera.address.camera.removeprefix("cam-"))
    seen = []
    for each, row in enumerate(people):
        # One camera after the other, a quarter of a minute on foot between them.
        at_ms = begin_ms + number * 45_000 + each * 1000
        made = Quantised(row, float(1 / np.linalg.norm(row.astype(np.float32))))
        cover = Row(at_ms, at_ms + 4000, MaskStatus.UNMASKED, 0.9, 0.8)
        seen.append(Sighting(os.urandom(8), os.urandom(8), cover, {FACE: made}))
    sealed = seal(
        header,
        Batch(
            seen, {FACE: Space(MODEL)}, Coverage(watched_s=SLOT_MS // 1000), True, frozenset(), None
        ),
        key=lambda label: slot_key(
            [descend(tree_top(root, label, VERSION), DEPTH, slot).key for root in camera.roots],
            name,
            label,
        ),
        row_key=lambda row: row_key(
            [
                row_value(descend(tree_top(root, META, VERSION), DEPTH, slot).key, row)
                for root in camera.roots
            ],
            name,
            row,
        ),
        board=camera.board,
    )
    return camera.address.topic(ENVELOPE), sealed.to_bytes()


def _slot() -> int:
    """Return a quarter hour of today of which all has come (at midnight, the first)."""
    return max(slot_of(system_ms()) - 8, 0)
