"""How many camera-days a second one custodian grants, and how fast it opens rows of metadata.

Request in, signed answer out, log synced.

A custodian as it runs: every announcement's signature and share checked, the key tree descended for
the window, the audit entry durable before the grant is sealed. Run: `python -m
benchmarks.bench_grants [--quick]`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from protocol.grant import GrantRequest
from protocol.names import CameraAddress, SightingName, epoch_of, slot_start_ms
from protocol.policy import parse_policy, sign_policy
from protocol.query import Query, Subject, TemplateReference
from protocol.signing import Signed, SigningKey
from protocol.v2.release import RowRequest
from runtime.clock import MachineClocks
from runtime.config import load
from runtime.keyfiles import Cost, write_secret

SITE, CAMERA_COUNT, QUICK_COUNT = "bench", 1000, 100
CUSTODIANS = ("c1", "c2", "c3")
MODEL = "bench-192@00000000"
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
    """One running custodian and the announcements of a day of many cameras."""

    custodian: Custodian
    keys: dict[str, SigningKey]
    announcements: tuple[bytes, ...]
    matcher: hpke.PrivateKey

    def asked(self, first_slot: int, last_slot: int) -> tuple[bytes, bytes, bytes]:
        """Return an approved query for slots of all cameras, its approval, the matcher's key."""
        reference = TemplateReference("face", MODEL, bytes(32))
        query = Query(
            query_id=os.urandom(16),
            site=SITE,
            subjects=(Subject("P-1", "form 1", (reference,)),),
            purpose="benchmark",
            legal_basis="consent",
            cameras=tuple(f"cam-{number}" for number in range(len(self.announcements))),
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


def make_scene(folder: Path, cameras: int, *, version: int = 1) -> Scene:
    """Make a site on disk with one box a camera, and start custodian c1.

    Args:
        version: of the protocol, of what boxes announce.
    """
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
    write_secret(folder / "identity.secret", keys["c1"].seed, PASSPHRASE, "identity", cost=CHEAP)
    (folder / "directory.cbor").write_bytes(directory.sign(keys[AUTHORITY]).to_bytes())
    (folder / "policy.toml").write_bytes(POLICY)
    (folder / "policy.toml.sig").write_bytes(sign_policy(POLICY, keys[AUTHORITY]))
    authority = keys[AUTHORITY].verify_key.raw.hex()
    (folder / "custodian.toml").write_text(
        f'site = "{SITE}"\nname = "c1"\nauthority = {json.dumps(authority)}\n'
        '[tls]\nca = "none"\ncertificate = "none"\n'
    )
    config = load(folder / "custodian.toml", CustodianConfig)
    custodian = Custodian(
        config, PASSPHRASE, machine=MachineClocks(wall_ms=lambda: NOW_MS), cost=CHEAP
    )
    day_keys = {name: hpke.PrivateKey.generate().public for name in CUSTODIANS}
    day_keys["c1"] = custodian.ring.public_keys()[EPOCH]
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
            version=version,
        )
        .sign(keys[f"box-{number}"])
        .to_bytes()
        for number in range(cameras)
    )
    return Scene(custodian, keys, announcements, hpke.PrivateKey.generate())


def run(quick: bool = False) -> list[Figure]:
    """Measure; ``quick`` takes fewer cameras."""
    quiet_logs()
    count = QUICK_COUNT if quick else CAMERA_COUNT
    with tempfile.TemporaryDirectory() as name:
        scene = make_scene(Path(name), count)
        try:
            figures = _measure(scene, count)
        finally:
            scene.custodian.close()
    with tempfile.TemporaryDirectory() as name:
        scene = make_scene(Path(name), 1, version=2)
        try:
            return [*figures, *_measure_rows(scene)]
        finally:
            scene.custodian.close()


def _measure(scene: Scene, count: int) -> list[Figure]:
    announcements = _parsed(scene.announcements)
    day_key = scene.custodian.ring.private(EPOCH)

    def open_shares() -> None:
        for announcement in announcements:
            announcement.open_share("c1", day_key)

    opening = count / _best(open_shares)
    figures = [Figure(BASELINE, opening, "camera-days/s")]
    for title, first, last in (
        ("granted by a custodian, one hour of each camera's day", 41, 44),
        ("granted by a custodian, the whole day", 0, 94),
        ("granted by a custodian, the worst window (1 to 94)", 1, 94),
    ):
        request = scene.request(first, last)

        def grant(request: bytes = request) -> None:
            scene.custodian.granter.grant(request)

        rate = count / _best(grant)
        figures.append(Figure(title, rate, "camera-days/s", BASELINE, rate / opening))
    one = Scene(scene.custodian, scene.keys, scene.announcements[:1], scene.matcher)
    request = one.request(41, 44)
    figures.append(
        Figure(
            "one camera, one hour: request to signed grant",
            _best(lambda: scene.custodian.granter.grant(request)) * 1000,
            "ms",
        )
    )
    return figures


def _measure_rows(scene: Scene) -> list[Figure]:
    """Open rows that were not opened before: each time for another query."""
    figures = []
    for count in (1, 50):
        took = []
        for _ in range(5):
            request = scene.row_request(count)
            start = time.perf_counter()
            answer = scene.custodian.rows.open(request)
            took.append(time.perf_counter() - start)
        what = "1 row of metadata" if count == 1 else f"{count} rows of metadata"
        figures += [
            Figure(f"{what}: request to signed release", min(took) * 1000, "ms"),
            Figure(f"{what}: the release", len(answer), "bytes"),
        ]
    return figures


def _parsed(messages: Sequence[bytes]) -> list[Announcement]:
    opened = (Signed.parse(data, kind=EPOCH_KIND) for data in messages)
    return [Announcement.parse(signed.payload, box=signed.signer) for signed in opened]


def _best(work: Callable[[], object], times: int = 3) -> float:
    """Return the shortest of a few runs, in seconds."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took)


if __name__ == "__main__":
    print_figures("Grants", run("--quick" in sys.argv))
