"""The aggregator gives officers the register that the directory names, and takes no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
from officer_site import OfficerSite

from officers import desk
from officers.desk.camera_places import keep_register, kept_register, places_for
from officers.desk.notices import Notice
from protocol.directory import AGGREGATOR
from protocol.directory_forms import SECOND
from protocol.errors import SignatureInvalid
from protocol.places import parse_places
from runtime.config import TlsConfig
from runtime.http import client
from runtime.officer import load_officer
from runtime.peers import News, tell

REGISTER = v2.PLACES.to_bytes()
OTHER = b"camera,place\ncam-1,Elsewhere\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    named = replace(
        made.directory, version=7, form=SECOND, places=parse_places(REGISTER).digest
    ).sign(s.authority(), SECOND)
    made.aggregator.trust.accept(named.to_bytes())
    yield made
    made.close()


@pytest.fixture
def tls(site: OfficerSite) -> TlsConfig:
    tls = load_officer(site.officer("bo")).tls
    assert tls is not None
    return tls


def brought(site: OfficerSite, register: bytes, tls: TlsConfig) -> str:
    """Bring the aggregator a register, as the office does; return what was wrong."""
    (aggregator,) = site.directory.with_duty(AGGREGATOR)
    return tell(aggregator, News("PUT", "/v1/places", (register,)), tls).problem


def test_officers_are_given_what_the_directory_names_once_it_was_brought(
    site: OfficerSite, tls: TlsConfig
) -> None:
    said: list[Notice] = []
    ana = desk.Officer.load(site.officer("ana"))
    with desk.connect(ana, said.append):
        assert ana.directory.places == parse_places(REGISTER).digest
        assert places_for(ana, tell=said.append) is None
    assert "the aggregator does not have it" in said[-1].text

    assert "names another as the register of places" in brought(site, OTHER, tls)
    assert brought(site, REGISTER, tls) == ""
    assert brought(site, REGISTER, tls) == "", "twice is no harm"

    said.clear()
    with desk.connect(ana, said.append):
        read = places_for(ana, tell=said.append)
    assert read is not None
    assert read.cameras["cam-1"].names["ko"] == "로비"
    assert said == []
    cached = ana.config.state_dir / "places.register"
    assert cached.read_bytes() == REGISTER


def test_a_copy_that_was_spoilt_is_fetched_anew(site: OfficerSite, tls: TlsConfig) -> None:
    assert brought(site, REGISTER, tls) == ""
    ana = desk.Officer.load(site.officer("ana"))
    with desk.connect(ana):
        pass
    (ana.config.state_dir / "places.register").write_bytes(OTHER)
    ana = desk.Officer.load(site.officer("ana"))
    assert kept_register(ana) is None
    with desk.connect(ana):
        assert kept_register(ana) is not None


@pytest.mark.slow
def test_what_an_aggregator_gives_besides_is_not_kept(site: OfficerSite, tls: TlsConfig) -> None:
    assert brought(site, REGISTER, tls) == ""
    ana = desk.Officer.load(site.officer("ana"))
    with desk.connect(ana):
        cached = ana.config.state_dir / "places.register"
        with pytest.raises(SignatureInvalid, match="names another"):
            keep_register(ana, OTHER)
        assert cached.read_bytes() == REGISTER


@pytest.mark.slow
def test_strangers_neither_read_nor_bring_a_register(site: OfficerSite) -> None:
    stranger = site.ca.issue("zoe")
    with client(f"https://localhost:{site.ports['aggregator']}", stranger) as http:
        assert http.get("/v1/places").status_code == 403
        assert http.put("/v1/places", content=REGISTER).status_code == 403
