"""What the keys of a camera's day cost: putting grants together, carrying them, deriving them.

Run: `python -m benchmarks keys [--quick]`. Needs nothing but the packages. By CPU time of this
process, each figure in turn with its peer, since the machine may be shared.
"""

from __future__ import annotations

import hmac
import pickle
import sys
import time
from collections.abc import Callable, Iterable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from benchmarks.sealed_site import CUSTODIANS, Camera, make_site
from protocol.encoding import encode
from protocol.epoch import roots_of
from protocol.epoch_keys import EpochKeys
from protocol.grant import GrantedKeys, Scope, release
from protocol.keytree import COVER, DEPTH, FACE, LIVE, Node, expand
from protocol.names import SLOTS_PER_EPOCH
from protocol.reconcile import reconcile

LABELS = (FACE, COVER, LIVE)
DAY = range(SLOTS_PER_EPOCH)


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` repeats less."""
    quiet_logs()
    camera = make_site(1, version=2).cameras[0]
    granted = _granted(camera)
    keys = reconcile(camera.announcement, granted)
    if keys.keys(DAY, FACE)[0] != _keys_by_hmac_and_hkdf(camera, granted):
        raise AssertionError("the two ways to derive keys differ")
    rounds = 10 if quick else 60
    combined, expanded = _in_turn(
        rounds,
        lambda: reconcile(camera.announcement, granted),
        lambda: _expanded(granted),
    )
    packed = pickle.dumps(keys)
    ours, peers = _in_turn(
        rounds,
        lambda: _loaded(packed).keys(DAY, FACE),
        lambda: _keys_by_hmac_and_hkdf(camera, granted),
    )
    peer = "the same by hmac.digest and HKDF"
    return [
        Figure("a camera's day of grants, put together", combined * 1e6, "µs",
               f"expanding {len(LABELS)} labels", combined / expanded),
        Figure("such a day's keys, pickled", len(packed), "bytes"),
        Figure(f"deriving a day's keys of '{FACE}', {len(DAY)} slots", 1 / ours,
               "camera-days/CPU s"),
        Figure("the same, a slot", ours / len(DAY) * 1e6, "µs", peer, ours / peers),
    ]  # fmt: skip


def _granted(camera: Camera) -> dict[str, GrantedKeys]:
    """Return what two custodians release of the whole day."""
    announced = camera.announcement
    scope = Scope(camera.address, announced.epoch, announced.generation, DAY[0], DAY[-1])
    return {
        name: release(
            {root: camera.roots[root] for root in roots_of(name, announced.subsets())},
            scope,
            LABELS,
            announced.version,
        )
        for name in CUSTODIANS[: announced.threshold]
    }


def _expanded(granted: dict[str, GrantedKeys]) -> list[dict[int, bytes]]:
    """Derive every leaf of every label and root."""
    return [
        expand(nodes)
        for label in LABELS
        for nodes in {**granted["c1"].nodes[label], **granted["c2"].nodes[label]}.values()
    ]


def _keys_by_hmac_and_hkdf(camera: Camera, granted: dict[str, GrantedKeys]) -> list[bytes]:
    """Derive a day's keys of one label as their definition says, by libraries' calls alone."""
    announced, address = camera.announcement, camera.address
    by_root = {root: nodes for keys in granted.values() for root, nodes in keys.nodes[FACE].items()}
    trees = [_leaves_by_hmac(by_root[root]) for root in sorted(by_root)]
    before = [f"sealtrace/v{announced.version}", "slot-key", address.site, address.box,
              address.camera, announced.epoch, announced.generation]  # fmt: skip
    return [
        HKDF(hashes.SHA256(), 64, None, encode([*before, slot, FACE])).derive(
            b"".join([tree[slot] for tree in trees])
        )[:32]
        for slot in DAY
    ]


def _leaves_by_hmac(nodes: Iterable[Node]) -> dict[int, bytes]:
    pending = [(node.level, node.index, node.key) for node in nodes]
    leaves: dict[int, bytes] = {}
    while pending:
        level, index, key = pending.pop()
        if level == DEPTH:
            leaves[index] = key
            continue
        pending.append((level + 1, index * 2, hmac.digest(key, b"\x00", "sha256")))
        pending.append((level + 1, index * 2 + 1, hmac.digest(key, b"\x01", "sha256")))
    return leaves


def _loaded(packed: bytes) -> EpochKeys:
    keys: EpochKeys = pickle.loads(packed)  # noqa: S301 - our own
    return keys


def _in_turn(
    rounds: int, one: Callable[[], object], other: Callable[[], object]
) -> tuple[float, float]:
    """Return the least CPU seconds of each, run in turn."""
    least = [float("inf"), float("inf")]
    for _ in range(rounds):
        for number, call in enumerate((one, other)):
            begins_s = time.process_time()
            call()
            least[number] = min(least[number], time.process_time() - begins_s)
    return least[0], least[1]


if __name__ == "__main__":
    print_figures("Keys", run(quick="--quick" in sys.argv))
