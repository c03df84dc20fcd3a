"""Health reports tell until when the box's certificate holds, and with which group it updates."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from throwaway_ca import ThrowawayCa

from edge_agent.health import CertificateEnd, figures
from edge_agent.outbox import OutboxStats


def test_the_end_of_the_certificate_is_told_and_read_anew_when_it_was_renewed(
    tmp_path: Path,
) -> None:
    ca = ThrowawayCa(tmp_path / "ca")
    path = tmp_path / "box.pem"
    path.write_bytes(ca.issue("box-1").certificate.read_bytes())
    ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    told = CertificateEnd(path)
    assert told.figures() == {"certificate_ends_s": int(ends.timestamp())}
    assert ends > datetime.now(UTC)
    path.write_bytes(b"half of a certi")
    os.utime(path, ns=(1, 1))
    assert told.figures() == {}, "it says nothing rather than the end of another certificate"
    path.unlink()
    assert told.figures() == {}


def test_a_box_without_certificate_tells_of_none() -> None:
    assert CertificateEnd(None).figures() == {}


def test_the_size_of_the_disk_is_told_beside_what_is_free(tmp_path: Path) -> None:
    nothing = OutboxStats(0, 0, 0, 0, 0, disk_full=False, counters={})
    found = figures(outbox=nothing, cameras={}, models={}, state_dir=tmp_path, others={})
    assert 0 < found["disk_free_bytes"] <= found["disk_total_bytes"]
