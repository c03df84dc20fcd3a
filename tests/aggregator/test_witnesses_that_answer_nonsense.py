"""A custodian that answers nonsense is not cosigned with, and stops nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import protocol_samples as s
import pytest
from structlog.testing import capture_logs

from aggregator.witnessing import Witnessing, _Remote
from protocol.auditlog import Checkpoint, origin_of, root_of, sign_checkpoint
from runtime.auditlog import AuditLog
from runtime.trust import Trust
from runtime.witness import Witness

OURS, C1 = origin_of(s.SITE, "aggregator"), origin_of(s.SITE, "c1")
HONEST = {"/v1/witness GET": '{"size": 0}', "/v1/log/consistency GET": "null"}


@pytest.fixture
def witnessing(tmp_path: Path) -> Iterator[Witnessing]:
    installed = tmp_path / "directory.cbor"
    installed.write_bytes(s.directory().sign(s.signing_key("authority")).to_bytes())
    trust = Trust(
        site=s.SITE,
        authority=s.signing_key("authority").verify_key,
        installed=installed,
        state_dir=None,
    )
    key = s.signing_key("aggregator")
    log = AuditLog(tmp_path / "audit.db", OURS, key, {"eve": s.sealing_key("eve").public})
    log.append("started", s.NOW_MS, "aggregator", None, {"version": "1"})
    witness = Witness(tmp_path / "witness.db", OURS, key)
    yield Witnessing(log, witness, trust, None)
    witness.close()
    log.close()


def custodian(**answers: str) -> _Remote:
    """A custodian that answers ``answers``, by path and method."""

    def answer(request: httpx.Request) -> httpx.Response:
        text = (HONEST | answers).get(f"{request.url.path} {request.method}", "")
        return httpx.Response(200, text=text)

    transport = httpx.MockTransport(answer)
    return _Remote(C1, httpx.Client(base_url="https://c1.test", transport=transport))


@pytest.mark.parametrize(
    "answers",
    [
        {"/v1/witness GET": "no JSON"},
        {"/v1/witness GET": "[" * 100_000},
        {"/v1/witness GET": '{"size": "many"}'},
        {"/v1/witness GET": '{"size": -1}'},
        {"/v1/witness GET": "[1]"},
        {"/v1/witness POST": ""},
        {"/v1/witness POST": "one-word"},
        {"/v1/witness POST": "— sealtrace/demo/c1 AAAA\n— sealtrace/demo/c2 AAAA\n"},
        {"/v1/witness POST": "— somebody-else AAAA\n"},
    ],
)
def test_our_log_is_not_cosigned_by_nonsense(
    witnessing: Witnessing, answers: dict[str, str]
) -> None:
    ours = witnessing._local
    text = ours.checkpoint()
    with capture_logs() as logged:
        assert not witnessing._cosign(ours, custodian(**answers), text, 1)
    assert [entry["event"] for entry in logged] == ["not_cosigned"]
    assert ours.checkpoint() == text


@pytest.mark.parametrize("proof", ["no JSON", "[1, 2]", '"text"'])
def test_a_log_whose_keeper_proves_nothing_is_not_cosigned(
    witnessing: Witnessing, proof: str
) -> None:
    entries = [b"one", b"two"]
    first, second = (
        sign_checkpoint(Checkpoint(C1, n, root_of(entries[:n])), s.signing_key("c1"))
        for n in (1, 2)
    )
    assert witnessing._local.cosign(first, None)
    with capture_logs() as logged:
        keeper = custodian(**{"/v1/log/consistency GET": proof})
        assert not witnessing._cosign(keeper, witnessing._local, second, 2)
    assert [entry["event"] for entry in logged] == ["not_cosigned"]
