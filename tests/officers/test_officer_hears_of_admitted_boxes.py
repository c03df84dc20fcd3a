"""What the registrar admits, officers can ask of; what it revokes, they know of."""

from __future__ import annotations

from collections.abc import Iterator

import protocol_samples as s
import pytest
from officer_site import OfficerSite

from officers.desk.officer import Officer
from officers.desk.session import connect
from protocol.admissions import Admissions
from protocol.directory import BOX, REGISTRAR, Directory, Principal
from protocol.signing import SigningKey


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


def known_to(officer: Officer) -> Directory:
    """What an officer's command goes by, once it has asked the aggregator."""
    with connect(officer):
        pass
    return officer.directory


@pytest.mark.slow
def test_officers_hear_of_admissions_from_the_aggregator_and_keep_them(site: OfficerSite) -> None:
    registrar = SigningKey.generate("registrar")
    listed = Principal("registrar", frozenset({REGISTRAR}), registrar.verify_key)
    newer = site.directory.next_version(
        {**site.directory.principals, "registrar": listed}, at_ms=s.NOW_MS
    )
    site.aggregator.trust.accept(newer.sign(s.authority()).to_bytes())
    officer = Officer.load(site.officer("ana"))
    assert "box-77" not in known_to(officer).principals

    key = SigningKey.generate("box-77").verify_key
    admitted = {"box-77": Principal("box-77", frozenset({BOX}), key, cameras=("gate",))}
    for version, gone in ((1, {}), (2, {"box-77": s.NOW_MS})):
        admissions = Admissions(s.SITE, version, s.NOW_MS, admitted, gone).sign(registrar)
        site.aggregator.trust.accept(admissions.to_bytes())
        box = known_to(officer).principals["box-77"]
        assert box.cameras == ("gate",)
        assert (box.revoked_at_ms is not None) == bool(gone)

    # What is known stays known while the aggregator is silent.
    assert Officer.load(site.officer("ana")).directory == officer.directory
