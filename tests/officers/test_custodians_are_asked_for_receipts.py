"""Officers' programs ask each custodian itself what it opened, over TLS, and say who is silent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import protocol_samples as s
import pytest
from custodian_site import write_config
from fastapi import FastAPI, Request
from officer_site import DOWN, OfficerSite, Served
from opened_rows import RowsOf, row_name

from custodian.config import CustodianConfig
from officers import desk
from officers.desk.case import Case, open_case
from officers.desk.receipts_asked import Given, ask_custodians
from protocol.encoding import encode
from protocol.signing import Signed
from protocol.v2.release import ROW_RELEASE_KIND, RowRelease
from runtime.config import load
from runtime.http import CborResponse

PAGE = 2
"""How many receipts a custodian of these tests gives at once."""


class ReceiptsOnly(OfficerSite):
    """A site whose custodians do nothing but hand out receipts, honestly or not."""

    def __init__(self, folder: Path) -> None:
        self.kept: dict[str, RowsOf] = {}
        self.asked: list[tuple[str, str]] = []
        self.answers: dict[str, bytes] = {}
        super().__init__(folder)

    def _start_custodian(self, name: str) -> None:  # type: ignore[override]  # none is started
        config = load(
            write_config(
                self.folder / name, name, self.ca, directory=self.directory, policy=self.policy
            ),
            CustodianConfig,
        )
        app = FastAPI()

        @app.get("/v1/rows/{digest}")
        def receipts(digest: str, request: Request, from_entry: int = 0) -> CborResponse:
            self.asked.append((name, digest))
            del request
            if name in self.answers:
                return CborResponse(self.answers[name])
            kept = self.kept[name].signed if name in self.kept else []
            later = [one for one in kept if entry_of(one) >= from_entry]
            return CborResponse(encode(later[:PAGE]))

        assert config.tls is not None
        self._serve(app, name, config.tls)


def entry_of(signed: bytes) -> int:
    return RowRelease.parse(Signed.parse(signed, kind=ROW_RELEASE_KIND).payload).entry_index


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiptsOnly]:
    made = ReceiptsOnly(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def nothing_kept(site: ReceiptsOnly) -> None:
    site.kept.clear()
    site.asked.clear()
    site.answers.clear()


def case() -> Case:
    signed = s.query().sign(s.signing_key("ana"))
    return open_case(signed.to_bytes(), s.query().query_id.hex(), s.directory())


def asked(site: OfficerSite) -> dict[str, Given]:
    ana = desk.Officer.load(site.officer("ana"))
    return {given.custodian: given for given in ask_custodians(ana, case())}


def test_every_custodian_is_asked_for_the_query_and_the_silent_one_is_named(
    site: ReceiptsOnly,
) -> None:
    site.kept["c1"] = RowsOf("c1", case().digest)
    for number in range(5):
        site.kept["c1"].open([row_name(number)])
    given = asked(site)
    assert given["c1"].signed == tuple(site.kept["c1"].signed)
    assert (given["c2"].signed, given["c2"].silence) == ((), "")
    assert given[DOWN].silence
    assert {digest for _, digest in site.asked} == {case().digest.hex()}
    assert {name for name, _ in site.asked} == {"c1", "c2"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"rubbish", "receipts"),
        (encode({"a": 1}), "not a list"),
        (encode([1, 2]), "not a list"),
        (encode([b"rubbish"]), ""),
    ],
)
def test_rubbish_is_an_answer_of_nothing_and_keeps_nobody_else_silent(
    site: ReceiptsOnly, answer: bytes, said: str
) -> None:
    site.answers["c2"] = answer
    given = asked(site)
    assert said in given["c2"].silence
    assert given["c2"].silence
    assert given["c1"].silence == ""


@pytest.mark.slow
def test_a_list_that_does_not_end_is_given_up_and_taken_for_more_than_silence(
    site: ReceiptsOnly,
) -> None:
    kept = RowsOf("c2", case().digest)
    kept.open([row_name(1)])
    site.answers["c2"] = encode(kept.signed)
    given = asked(site)
    assert "does not end" in given["c2"].silence
    assert [name for name, one in given.items() if one.endless] == ["c2"]


@pytest.mark.slow
def test_a_custodian_of_an_earlier_version_is_named_too(tmp_path: Path) -> None:
    class Older(ReceiptsOnly):
        def _start_custodian(self, name: str) -> None:  # type: ignore[override]
            config = load(
                write_config(
                    self.folder / name, name, self.ca, directory=self.directory, policy=self.policy
                ),
                CustodianConfig,
            )
            assert config.tls is not None
            self._exit.callback(Served(FastAPI(), self.ports[name], config.tls).end)

    old = Older(tmp_path)
    try:
        assert all(given.silence for given in asked(old).values())
    finally:
        old.close()
