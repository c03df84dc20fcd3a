"""Logs over HTTP: what is served proves itself, and a witness never cosigns a second history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cbor2
import httpx
import protocol_samples as s
import pytest
from examples import examples
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.auditlog import (
    Checkpoint,
    check_consistency,
    check_inclusion,
    cosign,
    origin_of,
    parse_checkpoint,
    root_of,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from protocol.encoding import encode
from protocol.errors import LogInconsistent, MalformedMessage, UnknownSigner
from protocol.merkle import MerkleTree, leaf_hash
from protocol.merkle_proofs import consistency_form
from runtime.auditlog import AuditLog
from runtime.database import open_database
from runtime.http import CBOR, Problem
from runtime.log_api import (
    MAX_ENTRIES,
    decode_witness_request,
    encode_witness_request,
    keeper_key,
    log_router,
)
from runtime.problems import install_problem_handlers
from runtime.witness import _SCHEMA as witness_schema
from runtime.witness import Witness

C1, C2 = origin_of(s.SITE, "c1"), origin_of(s.SITE, "c2")
TIME_S = 1_800_000_000
AUDITORS = {"eve": s.sealing_key("eve").public}


class Served:
    """The log and the witness of custodian c1 behind the router."""

    def __init__(self, folder: Path) -> None:
        self.log = AuditLog(folder / "log.db", C1, s.signing_key("c1"), AUDITORS)
        self.witness = Witness(folder / "witness.db", C1, s.signing_key("c1"))
        self.directory = s.directory()
        self.allowed = True
        app = FastAPI()
        install_problem_handlers(app)

        def allow(_request: Request) -> None:
            if not self.allowed:
                raise Problem(403, "not-you", "Not you")

        app.include_router(
            log_router(
                self.log,
                self.witness,
                directory=lambda: self.directory,
                allow=allow,
                time_s=lambda: TIME_S,
            )
        )
        self.http = TestClient(app)

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            self.log.append("started", s.NOW_MS, "c1", None, {"version": "1"})

    def ask_witness(self, text: str, proof: dict[str, object] | None = None) -> httpx.Response:
        body = encode_witness_request(text, proof)
        answer: httpx.Response = self.http.post(
            "/v1/witness", content=body, headers={"content-type": CBOR}
        )
        return answer

    def close(self) -> None:
        self.log.close()
        self.witness.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.close()


class Other:
    """The log of c2, in memory, of which a second history can be made."""

    def __init__(self, entries: list[bytes] | None = None) -> None:
        self.entries = entries or []

    def text(self, size: int | None = None, *, signer: str = "c2", origin: str = C2) -> str:
        held = self.entries[:size]
        checkpoint = Checkpoint(origin, len(held), root_of(held))
        return sign_checkpoint(checkpoint, s.signing_key(signer))

    def proof(self, earlier: int, later: int) -> dict[str, object]:
        tree = MerkleTree(map(leaf_hash, self.entries))
        return consistency_form(earlier, later, tree.subtree)


def test_a_checkpoint_is_signed_and_everything_is_provable(served: Served) -> None:
    served.add(5)
    earlier = served.http.get("/v1/log/checkpoint").text
    served.add(4)
    later = served.http.get("/v1/log/checkpoint").text
    key = s.signing_key("c1").verify_key
    first = verify_checkpoint(earlier, origin=C1, key=key)
    last = verify_checkpoint(later, origin=C1, key=key)
    assert (first.size, last.size) == (5, 9)
    proof = served.http.get("/v1/log/consistency", params={"from": 5, "to": 9}).json()
    check_consistency(first, last, proof)
    entries = cbor2.loads(served.http.get("/v1/log/entries").content)
    assert root_of(entries) == last.root
    inclusion = served.http.get("/v1/log/inclusion", params={"index": 3, "size": 9}).json()
    check_inclusion(entries[3], 3, last, inclusion)
    assert served.http.get("/v1/log/checkpoint", params={"size": 5}).text == earlier
    texts = served.http.get("/v1/log/checkpoints").json()
    assert texts == [earlier, later]
    assert served.http.get("/v1/log/checkpoints", params={"since": 6}).json() == [later]


def test_checkpoints_come_in_pages(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.log_api.MAX_CHECKPOINTS", 2)
    for _ in range(5):
        served.add()
        served.log.checkpoint()
    sizes, since = [], 0
    while page := served.http.get("/v1/log/checkpoints", params={"since": since}).json():
        assert len(page) <= 2
        sizes += [parse_checkpoint(text)[0].size for text in page]
        since = sizes[-1] + 1
    assert sizes == [1, 2, 3, 4, 5]


def test_nothing_to_prove_is_null(served: Served) -> None:
    served.add(3)
    for earlier in (0, 3):
        answer = served.http.get("/v1/log/consistency", params={"from": earlier, "to": 3})
        assert answer.json() is None


def test_entries_come_in_pages(served: Served) -> None:
    served.add(12)
    page = cbor2.loads(served.http.get("/v1/log/entries", params={"start": 4, "stop": 6}).content)
    assert page == served.log.entries(4, 6)
    assert cbor2.loads(served.http.get("/v1/log/entries", params={"start": 12}).content) == []
    huge = served.http.get("/v1/log/entries", params={"start": 0, "stop": 2**60}).content
    assert len(cbor2.loads(huge)) == 12 <= MAX_ENTRIES


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("checkpoint", {"size": 99}, 409),
        ("consistency", {"from": 3, "to": 99}, 409),
        ("consistency", {"from": 99}, 409),
        ("consistency", {}, 422),
        ("inclusion", {"index": 99}, 409),
        ("inclusion", {"index": -1}, 422),
        ("inclusion", {"index": 2**80}, 422),
        ("entries", {"start": "x"}, 422),
    ],
)
def test_wrong_questions_get_problems(
    served: Served, path: str, params: dict[str, object], status: int
) -> None:
    served.add(2)
    answer = served.http.get(f"/v1/log/{path}", params=params)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_cosignature_is_kept_once_it_verifies(served: Served) -> None:
    served.add(3)
    text = served.http.get("/v1/log/checkpoint").text
    checkpoint = parse_checkpoint(text)[0]
    line = cosign(checkpoint, witness=C2, key=s.signing_key("c2"), time_s=TIME_S)
    answer = served.http.post("/v1/log/cosignatures", params={"size": 3}, content=line.encode())
    assert answer.status_code == 204
    carried = served.http.get("/v1/log/checkpoint").text
    assert verify_cosignature(carried, witness=C2, key=s.signing_key("c2").verify_key) == TIME_S


@pytest.mark.slow
@pytest.mark.parametrize("case", ["key", "size", "itself", "officer", "garbage", "long", "two"])
def test_a_cosignature_that_is_not_one_is_not_kept(served: Served, case: str) -> None:
    served.add(3)
    checkpoint = parse_checkpoint(served.http.get("/v1/log/checkpoint").text)[0]
    c2, c3 = s.signing_key("c2"), s.signing_key("c3")
    good = cosign(checkpoint, witness=C2, key=c2, time_s=TIME_S)
    line, size = {
        "key": (cosign(checkpoint, witness=C2, key=c3, time_s=TIME_S), 3),
        "size": (good, 2),
        "itself": (cosign(checkpoint, witness=C1, key=s.signing_key("c1"), time_s=1), 3),
        "officer": (
            cosign(
                checkpoint, witness=origin_of(s.SITE, "ana"), key=s.signing_key("ana"), time_s=1
            ),
            3,
        ),
        "garbage": ("\x00— \n", 3),
        "long": (good + "A" * 5000, 3),
        "two": (good + good, 3),
    }[case]
    answer = served.http.post("/v1/log/cosignatures", params={"size": size}, content=line.encode())
    assert answer.status_code in {403, 409}
    assert len(parse_checkpoint(served.http.get("/v1/log/checkpoint").text)[1]) == 1


def test_a_witness_follows_a_log_as_it_grows(served: Served) -> None:
    other = Other([b"a", b"b", b"c"])
    assert served.http.get("/v1/witness", params={"origin": C2}).json() == {"size": 0}
    first = served.ask_witness(other.text(2))
    assert first.status_code == 200
    assert served.http.get("/v1/witness", params={"origin": C2}).json() == {"size": 2}
    last = served.ask_witness(other.text(3), other.proof(2, 3))
    text = other.text(3) + last.text
    assert verify_cosignature(text, witness=C1, key=s.signing_key("c1").verify_key) == TIME_S
    assert served.ask_witness(other.text(3)).status_code == 200


def test_a_witness_shows_what_it_cosigned_last_under_both_signatures(served: Served) -> None:
    other = Other([b"a", b"b", b"c"])
    assert served.http.get("/v1/witnessed").json() == []
    checkpoint = parse_checkpoint(other.text(2))[0]
    more = cosign(
        checkpoint, witness=origin_of(s.SITE, "c3"), key=s.signing_key("c3"), time_s=TIME_S
    )
    line = served.ask_witness(other.text(2) + more).text
    (told,) = served.http.get("/v1/witnessed").json()
    assert told == other.text(2) + line
    assert verify_checkpoint(told, origin=C2, key=s.signing_key("c2").verify_key).size == 2
    served.ask_witness(other.text(3), other.proof(2, 3))
    (told,) = served.http.get("/v1/witnessed").json()
    assert verify_cosignature(told, witness=C1, key=s.signing_key("c1").verify_key) == TIME_S
    assert parse_checkpoint(told)[0].size == 3


def test_a_checkpoint_shown_again_later_keeps_the_time_of_the_first(tmp_path: Path) -> None:
    """Else whoever shows an old head anew makes honest entries look written after their time."""
    witness = Witness(tmp_path / "witness.db", C1, s.signing_key("c1"))
    text = Other([b"a", b"b"]).text()
    lines = {
        witness.cosign(
            text, origin=C2, key=s.signing_key("c2").verify_key, proof=None, time_s=time_s
        )
        for time_s in (TIME_S, TIME_S + 100_000)
    }
    witness.close()
    assert len(lines) == 1
    assert (
        verify_cosignature(text + lines.pop(), witness=C1, key=s.signing_key("c1").verify_key)
        == TIME_S
    )


def test_a_witness_of_the_former_version_goes_on_and_tells_once_it_cosigns_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "witness.db"
    other = Other([b"a", b"b"])
    first = witness_schema[:1]
    with open_database(path, first, synchronous="FULL") as database:
        database.conn.execute(
            "INSERT INTO seen (origin, size, root) VALUES (?, ?, ?)",
            [C2, 1, root_of(other.entries[:1])],
        )
    witness = Witness(path, C1, s.signing_key("c1"))
    assert (witness.last_seen(C2), witness.statements()) == (1, ())
    key = s.signing_key("c2").verify_key
    witness.cosign(other.text(1), origin=C2, key=key, proof=None, time_s=TIME_S)
    assert len(witness.statements()) == 1
    with pytest.raises(LogInconsistent):
        witness.cosign(Other([b"x"]).text(), origin=C2, key=key, proof=None, time_s=TIME_S)
    witness.close()


@pytest.mark.parametrize("case", ["fork", "shrunk", "no proof", "rewritten", "another's proof"])
def test_a_witness_refuses_a_second_history(served: Served, case: str) -> None:
    other, rewritten = Other([b"a", b"b", b"c", b"d"]), Other([b"a", b"x", b"c", b"d", b"e"])
    assert served.ask_witness(other.text(3)).status_code == 200
    text, proof = {
        "fork": (rewritten.text(3), None),
        "shrunk": (other.text(2), None),
        "no proof": (other.text(4), None),
        "rewritten": (rewritten.text(5), rewritten.proof(3, 5)),
        "another's proof": (other.text(4), rewritten.proof(3, 5)),
    }[case]
    answer = served.ask_witness(text, proof)
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("log-forked" if case == "fork" else "log-inconsistent")
    assert served.http.get("/v1/witness", params={"origin": C2}).json() == {"size": 3}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (Other([b"a"]).text(signer="c3"), 409),
        (Other([b"a"]).text(signer="ana", origin=origin_of(s.SITE, "ana")), 403),
        (Other([b"a"]).text(origin="sealtrace/elsewhere/c2"), 403),
        ("no checkpoint", 409),
    ],
)
def test_a_witness_refuses_what_no_role_of_the_site_signed(
    served: Served, text: str, status: int
) -> None:
    assert served.ask_witness(text).status_code == status


def test_a_revoked_role_is_not_witnessed_any_more(served: Served) -> None:
    served.directory = s.directory().revoke("c2", at_ms=s.NOW_MS)
    assert served.ask_witness(Other([b"a"]).text()).status_code == 403


def test_callers_who_may_not_get_nothing(served: Served) -> None:
    served.allowed = False
    for path in ("log/checkpoint", "log/entries", "witness?origin=x", "witnessed"):
        assert served.http.get(f"/v1/{path}").status_code == 403
    assert served.ask_witness(Other([b"a"]).text()).status_code == 403
    assert served.http.post("/v1/log/cosignatures?size=0").status_code == 403


def is_refused(served: Served, proof: dict[str, object]) -> None:
    other = Other([b"a", b"b", b"c"])
    served.ask_witness(other.text(2))
    answer = served.ask_witness(other.text(3), proof)
    assert answer.status_code == 409


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["metadata", "rule", "subset", "path", "algorithm", "size", "x"]),
        json_values,
    )
)
@settings(
    max_examples=examples(80),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_proof_of_any_shape_is_refused_in_plain_words(
    served: Served, proof: dict[str, object]
) -> None:
    is_refused(served, proof)


@given(
    st.fixed_dictionaries(
        {"metadata": st.dictionaries(st.sampled_from(["algorithm", "size"]), json_values)},
        optional={
            "rule": st.lists(st.integers(-2, 2), max_size=4) | json_values,
            "subset": st.lists(st.integers(-2, 2), max_size=4) | json_values,
            "path": st.lists(st.text("0123456789abcdefx", max_size=64), max_size=4) | json_values,
        },
    )
)
@settings(
    max_examples=examples(80),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_proof_of_nearly_the_right_shape_is_refused_too(
    served: Served, proof: dict[str, object]
) -> None:
    is_refused(served, proof)


@given(st.binary(max_size=200))
@settings(max_examples=examples(60), deadline=None)
def test_garbage_is_no_witness_request(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_witness_request(data)


@pytest.mark.parametrize("proof", ["{", "[]", "7", '"x"', "[" * 60_000])
def test_a_proof_that_is_no_json_object(proof: str) -> None:
    with pytest.raises(MalformedMessage):
        decode_witness_request(encode({"checkpoint": "x", "proof": proof}))


def test_witness_requests_come_back_as_they_went() -> None:
    for proof in (None, {"path": ["00"], "size": 3}):
        assert decode_witness_request(encode_witness_request("text", proof)) == ("text", proof)


def test_the_key_of_a_log_is_its_keepers() -> None:
    directory = s.directory()
    for name in ("c1", "aggregator"):
        assert keeper_key(directory, origin_of(s.SITE, name)) == s.signing_key(name).verify_key
    for origin in (origin_of(s.SITE, "eve"), origin_of("elsewhere", "c1"), "c1", ""):
        with pytest.raises(UnknownSigner):
            keeper_key(directory, origin)
