"""Who may come in at the HTTP interfaces: certificates of the site alone, each for its own duty."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
from puppet_box import person, slots_ago
from query_desk import QueryDesk, template_of
from running_site import RunningSite
from throwaway_ca import ThrowawayCa

from protocol.names import SLOT_MS
from protocol.sightings import quantise_template
from runtime.config import TlsConfig
from runtime.http import PeerUnreachable, client

ROLES = ["aggregator", "c1"]


@pytest.mark.parametrize("role", ROLES)
def test_without_a_certificate_nobody_comes_in(
    quiet_site: RunningSite, role: str, tmp_path: Path
) -> None:
    ours = quiet_site.tls("ana")
    theirs = ThrowawayCa(tmp_path / "ca").issue("ana")
    other = TlsConfig(ca=ours.ca, certificate=theirs.certificate, private_key=theirs.private_key)
    with client(quiet_site.url(role), other) as http, pytest.raises(PeerUnreachable):
        http.get("/v1/status")
    bare = ssl.create_default_context(cafile=str(ours.ca))
    with (
        httpx.Client(base_url=quiet_site.url(role), verify=bare, trust_env=False) as http,
        pytest.raises(httpx.TransportError),
    ):
        http.get("/v1/status")


@pytest.mark.parametrize("role", ROLES)
def test_a_server_of_another_ca_is_not_believed(
    quiet_site: RunningSite, role: str, tmp_path: Path
) -> None:
    theirs = ThrowawayCa(tmp_path / "ca").issue("ana")
    with (
        client(quiet_site.url(role), theirs) as http,
        pytest.raises(PeerUnreachable, match="certificate"),
    ):
        http.get("/v1/status")


@pytest.mark.parametrize("caller", ["ana", "bo", "eve", "c2"])
def test_only_the_aggregator_may_ask_a_custodian_for_keys(
    quiet_site: RunningSite, caller: str
) -> None:
    assert quiet_site.problem(caller, "c1", "/v1/grants", b"\x00") == "duty-required"


def test_nobody_files_or_approves_for_others(quiet_site: RunningSite, desk: QueryDesk) -> None:
    templates = [template_of(*quantise_template(person(1)))]
    window = (slots_ago(3), slots_ago(3) + SLOT_MS)
    by_approver = desk.draft(templates, ["cam-1"], *window, requester="bo")
    said = quiet_site.problem("bo", "aggregator", "/v1/queries", by_approver.signed.to_bytes())
    assert said == "unknown-signer"
    case = desk.draft(templates, ["cam-1"], *window)
    desk.file(case)
    path = f"/v1/queries/{case.id}/approvals"
    for name in ("ana", "eve", "aggregator"):
        approval = desk.approval(case, name).to_bytes()
        assert quiet_site.problem(name, "aggregator", path, approval) == "approval-invalid"
    assert desk.show(case)["approvals"] == []


def test_what_is_no_message_is_refused(quiet_site: RunningSite) -> None:
    for data in (b"", b"\xff\xff", b"{}", bytes(70_000)):
        said = quiet_site.problem("ana", "aggregator", "/v1/queries", data)
        assert said == "malformed-message"
        assert quiet_site.problem("aggregator", "c1", "/v1/grants", data) == "malformed-message"
