"""Ask a site that is being shaken what it holds, and wait until it holds what it must."""

from __future__ import annotations

import hashlib

from running_site import RunningSite, is_whole, read_rows
from waiting import wait_for


def digests_kept(site: RunningSite) -> dict[int, bytes]:
    """Sequence number to digest of what waits in the box's outbox."""
    path = site.folder("box-1") / "state" / "outbox.sqlite"
    rows = read_rows(path, "SELECT sequence, payload FROM message")
    return {number: hashlib.sha256(payload).digest()[:16] for number, payload in rows}


def digests_stored(site: RunningSite) -> dict[int, bytes]:
    """Sequence number to digest of what the aggregator has stored of camera 1."""
    rows = site.rows(
        "SELECT q.sequence, q.digest FROM sequences q JOIN streams s ON s.id = q.stream"
        " WHERE s.camera = 'cam-1' AND q.outcome = 1"
    )
    assert len(rows) == len({number for number, _ in rows})
    return dict(rows)


def wait_more(site: RunningSite, count: int = 2) -> list[int]:
    """Wait until so many more of the box's messages are stored."""
    return site.wait_stored("cam-1", len(site.stored("cam-1")) + count, explain=lambda: tails(site))


def wait_kept(site: RunningSite, count: int) -> dict[int, bytes]:
    """Wait until so many messages wait in the box's outbox."""
    return wait_for(
        lambda: kept if len(kept := digests_kept(site)) >= count else {},
        f"{count} messages in the outbox",
        explain=lambda: tails(site),
    )


def wait_delivered(site: RunningSite, kept: dict[int, bytes]) -> None:
    """Wait until all of these are stored, unaltered, and receipts have freed the box of them."""
    wait_for(
        lambda: kept.items() <= digests_stored(site).items(),
        "all that was kept to be stored",
        explain=lambda: tails(site),
    )
    wait_for(
        lambda: not kept.keys() & digests_kept(site).keys(),
        "receipts that cover it",
        explain=lambda: tails(site),
    )


def expect_whole(site: RunningSite, camera: str = "cam-1") -> None:
    """Every number from 0 on is stored, once, and nobody misses anything."""
    assert is_whole(site.stored(camera))
    assert site.rows(
        "SELECT count(*), count(DISTINCT e.sequence) FROM envelopes e"
        " JOIN streams s ON s.id = e.stream WHERE s.camera = ? GROUP BY s.id"
        " HAVING count(*) != count(DISTINCT e.sequence)",
        camera,
    ) == []  # fmt: skip
    runs = site.rows("SELECT run FROM streams WHERE camera = ?", camera)
    assert runs == [(0,)]
    state = site.boxes()[camera.replace("cam", "box")]
    assert [gap for gap in state["gaps"] if gap["camera"] == camera] == []


def tails(site: RunningSite) -> str:
    return "\n".join(
        f"--- {name}\n{service.tail()}" for name, service in site.local.services.items()
    )


def generation(site: RunningSite) -> int:
    path = site.folder("box-1") / "state" / "outbox.sqlite"
    return int(read_rows(path, "SELECT generation FROM camera WHERE name = 'cam-1'")[0][0])
