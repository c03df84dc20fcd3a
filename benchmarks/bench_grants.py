"""How many camera-days a second custodians grant and headquarters takes in, and rows of metadata.

A custodian as it runs: every announcement's signature and share checked, the key tree descended for
the window, the audit entry durable before the grant is sealed. Headquarters' side is what it does
with two custodians' answers: signatures, seals, slots and nodes checked, keys put together.
Requests are a city query's: 256 camera-days each, by a query that names 10,820 cameras.

Times are CPU seconds of this process, which is one thread but where it says so. Run: `python -m
benchmarks.bench_grants [--quick]`.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aggregator.grants import ANNOUNCEMENTS_A_REQUEST
from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from protocol import hpke
from protocol.about_queries import Approval, MatcherKey
from protocol.directory import (
    AGGREGATOR,
    APPROVER,
    AUDITOR,
    AUTHORITY,
    BOX,
    CUSTODIAN,
    INVESTIGATOR,
    Directory,
    Principal,
)
from protocol.epoch import EPOCH_KIND, Announcement, announce, excluded_subsets
from protocol.epoch_keys import EpochKeys
from protocol.grant import GRANT_KIND, Grant, GrantedKeys, GrantRequest
from protocol.keytree import FACE
from protocol.names import CameraAddress, SightingName, epoch_of, slot_start_ms
from protocol.policy import parse_policy, sign_policy
from protocol.query import Query, Subject, TemplateReference
from protocol.reconcile import check_released, reconcile
from protocol.signing import Signed, SigningKey
from protocol.v2 import VERSION
from protocol.v2.release import RowRequest
from runtime.clock import MachineClocks
from runtime.config import load
from runtime.keyfiles import Cost, write_secret

SITE, NAMED = "bench", 10_820
CAMERA_COUNT, QUICK_COUNT = ANNOUNCEMENTS_A_REQUEST, 64
CUSTODIANS = ("c1", "c2", "c3")
ANSWERING = CUSTODIANS[:2]
MODEL = "bench-128@00000000"
PASSPHRASE = b"benchmark passphrase"
CHEAP = Cost(memory_kib=8)
NOW_MS = slot_start_ms(20_500, 95) + 60_000
EPOCH = epoch_of(NOW_MS)
POLICY = f"""site = "{SITE}"
version = 1
programme_ends = 2100-01-01T00:00:00Z
approvals = 1
max_subjects = 10
max_window_hours = 48
max_live_hours = 24
max_cameras = 20000
max_query_days = 14
max_candidates = 100
retention_days = 14
[threshold_floor]
"{MODEL}" = 0.4
[legal_basis.consent]
modalities = ["face", "appearance"]
extra_approvals = 0
""".encode()
BASELINE = "opening the same sealed shares alone (HPKE)"


@dataclass(frozen=True, slots=True)
class Scene:
    """Two running custodians and the announcements of a day of many cameras."""

    custodians: tuple[Custodian, ...]
    keys: dict[str, SigningKey]
    announcements: tuple[bytes, ...]
    matcher: hpke.PrivateKey

    @property
    def custodian(self) -> Custodian:
        """The first of them."""
        return self.custodians[0]

    def close(self) -> None:
        """Close their files."""
        for custodian in self.custodians:
            custodian.close()

    def asked(self, first_slot: int, last_slot: int) -> tuple[bytes, bytes, bytes]:
        """Return an approved query for slots of all cameras, its approval, the matcher's key."""
        reference = TemplateReference("face", MODEL, bytes(32))
        query = Query(
            query_id=os.urandom(16),
            site=SITE,
            subjects=(Subject("P-1", "form 1", (reference,)),),
            purpose="benchmark",
            legal_basis="consent",
            cameras=tuple(sorted(f"cam-{number}" for number in range(NAMED))),
            window_from_ms=slot_start_ms(EPOCH, first_slot),
            window_to_ms=slot_start_ms(EPOCH, last_slot + 1),
            modalities=("face",),
            live=False,
            thresholds={MODEL: 0.5},
            contacts=True,
            max_candidates=100,
            expected_false=0.1,
            requested_at_ms=NOW_MS,
            not_after_ms=NOW_MS + 3_600_000,
            policy_digest=parse_policy(POLICY).digest,
        ).sign(self.keys["ana"])
        approval = Approval(query.digest, parse_policy(POLICY).digest, NOW_MS)
        matcher_key = MatcherKey(query.digest, self.matcher.public, NOW_MS)
        signed = matcher_key.sign(self.keys["aggregator"])
        return query.to_bytes(), approval.sign(self.keys["bo"]).to_bytes(), signed.to_bytes()

    def request(self, first_slot: int, last_slot: int) -> bytes:
        """Return a request for the keys of slots of all cameras."""
        query, approval, matcher_key = self.asked(first_slot, last_slot)
        request = GrantRequest(query, (approval,), (), matcher_key, self.announcements, NOW_MS)
        return request.sign(self.keys["aggregator"]).to_bytes()

    def row_request(self, count: int) -> bytes:
        """Return a request for rows of the first camera, over an hour."""
        query, approval, matcher_key = self.asked(41, 44)
        rows = tuple(
            SightingName("box-0", "cam-0", EPOCH, 1, 41 + number % 4, number.to_bytes(8, "big"))
            for number in range(count)
        )
        request = RowRequest(
            query, (approval,), (), matcher_key, self.announcements[:1], rows, NOW_MS
        )
        return request.sign(self.keys["aggregator"]).to_bytes()


def make_scene(folder: Path, cameras: int) -> Scene:
    """Make a site on disk with one box a camera, and start custodians c1 and c2."""
    duties = {
        "ana": INVESTIGATOR,
        "bo": APPROVER,
        "eve": AUDITOR,
        "aggregator": AGGREGATOR,
        **dict.fromkeys(CUSTODIANS, CUSTODIAN),
        **{f"box-{number}": BOX for number in range(cameras)},
    }
    keys = {name: SigningKey.generate(name) for name in (*duties, AUTHORITY)}
    auditor = hpke.PrivateKey.generate().public
    principals = {
        name: Principal(
            name,
            frozenset({duty}),
            keys[name].verify_key,
            seal_key=auditor if duty == AUDITOR else None,
            cameras=(name.replace("box", "cam"),) if duty == BOX else (),
        )
        for name, duty in duties.items()
    }
    directory = Directory(SITE, 1, NOW_MS, 2, principals)
    signed = directory.sign(keys[AUTHORITY]).to_bytes()
    custodians = tuple(
        _start(folder / name, name, keys[name], keys[AUTHORITY], signed) for name in ANSWERING
    )
    day_keys = {name: hpke.PrivateKey.generate().public for name in CUSTODIANS}
    day_keys |= {one.config.name: one.ring.public_keys()[EPOCH] for one in custodians}
    announcements = tuple(
        announce(
            [os.urandom(32) for _ in excluded_subsets(CUSTODIANS, 2)],
            address=CameraAddress(SITE, f"box-{number}", f"cam-{number}"),
            epoch=EPOCH,
            generation=1,
            sequence=0,
            threshold=2,
            custodians=CUSTODIANS,
            day_keys=day_keys,
            models={"face": MODEL},
            announced_at_ms=NOW_MS,
            version=VERSION,
        )
        .sign(keys[f"box-{number}"])
        .to_bytes()
        for number in range(cameras)
    )
    return Scene(custodians, keys, announcements, hpke.PrivateKey.generate())


def _start(
    folder: Path, name: str, key: SigningKey, authority: SigningKey, directory: bytes
) -> Custodian:
    folder.mkdir()
    write_secret(folder / "identity.secret", key.seed, PASSPHRASE, "identity", cost=CHEAP)
    (folder / "directory.cbor").write_bytes(directory)
    (folder / "policy.toml").write_bytes(POLICY)
    (folder / "policy.toml.sig").write_bytes(sign_policy(POLICY, authority))
    raw = json.dumps(authority.verify_key.raw.hex())
    (folder / "custodian.toml").write_text(
        f'site = "{SITE}"\nname = "{name}"\nauthority = {raw}\n'
        '[tls]\nca = "none"\ncertificate = "none"\n'
    )
    config = load(folder / "custodian.toml", CustodianConfig)
    machine = MachineClocks(wall_ms=lambda: NOW_MS)
    return Custodian(config, PASSPHRASE, machine=machine, cost=CHEAP)


def run(quick: bool = False) -> list[Figure]:
    """Measure; ``quick`` takes fewer cameras."""
    quiet_logs()
    count = QUICK_COUNT if quick else CAMERA_COUNT
    with tempfile.TemporaryDirectory() as name:
        scene = make_scene(Path(name), count)
        try:
            return [
                *_measure(scene, count),
                *_taken_in(scene, count),
                *_measure_rows(scene),
            ]
        finally:
            scene.close()


def _measure(scene: Scene, count: int) -> list[Figure]:
    announcements = _parsed(scene.announcements)
    day_key = scene.custodian.ring.private(EPOCH)

    def open_shares() -> None:
        for announcement in announcements:
            announcement.open_share("c1", day_key)

    opening = count / _best(open_shares)
    figures = [Figure(BASELINE, opening, "camera-days/CPU s")]
    what = f"a custodian, {count} camera-days a request"
    for title, first, last in (
        (f"{what}: an hour of each", 41, 44),
        (f"{what}: the whole day", 0, 94),
        (f"{what}: the worst window (1 to 94)", 1, 94),
    ):
        request = scene.request(first, last)

        def grant(request: bytes = request) -> None:
            scene.custodian.granter.grant(request)

        rate = count / _best(grant)
        figures.append(Figure(title, rate, "camera-days/CPU s", BASELINE, rate / opening))
    query, _, _ = scene.asked(0, 94)
    figures += [
        Figure(f"a request of {count} camera-days", len(scene.request(0, 94)) / 1e3, "kB"),
        Figure(f"of which the query of {NAMED:,} names", len(query) / 1e3, "kB"),
    ]
    one = replace(scene, announcements=scene.announcements[:1])
    request = one.request(41, 44)
    took_s = _best(lambda: scene.custodian.granter.grant(request))
    title = "one camera-day, an hour of it: request to signed grant"
    return [*figures, Figure(title, took_s * 1000, "CPU ms")]


def _taken_in(scene: Scene, count: int) -> list[Figure]:
    """What headquarters does with two custodians' grants: check, open, put together, derive."""
    request = scene.request(0, 94)
    answers = {one.config.name: one.granter.grant(request) for one in scene.custodians}
    announced = {one.address: one for one in _parsed(scene.announcements)}
    keys: list[EpochKeys] = []

    def take_in() -> None:
        released: dict[CameraAddress, dict[str, GrantedKeys]] = {}
        for name, data in answers.items():
            signed = Signed.parse(data, kind=GRANT_KIND)
            grant = Grant.parse(signed.verify(lambda who: scene.keys[who].verify_key))
            for granted in grant.open(scene.matcher):
                address = granted.scope.address
                check_released(announced[address], name, granted)
                released.setdefault(address, {})[name] = granted
        keys[:] = [reconcile(announced[address], of) for address, of in released.items()]

    def derive() -> None:
        for one in keys:
            for slot in one.slots():
                one.key(slot, FACE)

    together = count / _best(take_in)
    derived = count / _best(derive)
    packed = len(pickle.dumps(keys, protocol=pickle.HIGHEST_PROTOCOL)) / count
    what = "headquarters, two custodians' grants of whole days"
    return [
        Figure(f"{what}: checked and combined", together, "camera-days/CPU s"),
        Figure(f"{what}: then a face key for every slot", derived, "camera-days/CPU s",
               f"{what}: checked and combined", derived / together),
        Figure("what a camera-day's keys take on the way to a worker", packed / 1e3, "kB"),
    ]  # fmt: skip


def _measure_rows(scene: Scene) -> list[Figure]:
    """Open rows that were not opened before: each time for another query."""
    figures = []
    for count in (1, 50):
        took = []
        for _ in range(5):
            request = scene.row_request(count)
            start = time.process_time()
            answer = scene.custodian.rows.open(request)
            took.append(time.process_time() - start)
        what = "1 row of metadata" if count == 1 else f"{count} rows of metadata"
        figures += [
            Figure(f"{what}: request to signed release", min(took) * 1000, "CPU ms"),
            Figure(f"{what}: the release", len(answer), "bytes"),
        ]
    return figures


def _parsed(messages: Sequence[bytes]) -> list[Announcement]:
    opened = (Signed.parse(data, kind=EPOCH_KIND) for data in messages)
    return [Announcement.parse(signed.payload, box=signed.signer) for signed in opened]


def _best(work: Callable[[], object], times: int = 3) -> float:
    """Return the least CPU seconds of a few runs."""
    took = []
    for _ in range(times):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return min(took)


if __name__ == "__main__":
    print_figures("Grants", run("--quick" in sys.argv))
