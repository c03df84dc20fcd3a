"""No number, text or body that a caller makes up is a service's own fault."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_attack import failures, unbounded
from running_site import SERVERS, RunningSite, plan_with_dan

from runtime.config import TlsConfig
from runtime.http import client

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs" / "openapi"
NOBODY = "nobody"
"""A caller without a certificate: new boxes are let in so."""
CALLERS = {
    "aggregator": ("aggregator", "ana"),
    "c1": ("aggregator", "ana"),
    "registrar": ("ana", NOBODY),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    many = 100_000
    made = RunningSite(
        plan_with_dan({"cam-1": {"source": "file:none.mp4"}}, bundle=None),
        tmp_path_factory.mktemp("absurd"),
    )
    for path in made.local.paths.root.glob("custodians/*/custodian.toml"):
        text = path.read_text()
        path.write_text(
            f"{text}\n[limits]\ngrants_per_minute = {many}\nchanges_per_minute = {many}\n"
        )
    try:
        made.start(*SERVERS, "registrar")
        yield made
    finally:
        made.stop()


def tls_of(site: RunningSite, name: str) -> TlsConfig | ssl.SSLContext:
    if name == NOBODY:
        return ssl.create_default_context(cafile=site.tls("ana").ca)
    return site.tls(name)


@pytest.mark.parametrize(
    ("role", "caller"), [(role, caller) for role, names in CALLERS.items() for caller in names]
)
def test_whatever_is_sent_to_any_parameter_is_refused_as_the_callers_fault(
    site: RunningSite, role: str, caller: str
) -> None:
    kind = "custodian" if role == "c1" else role
    document = json.loads((DOCUMENTS / f"{kind}.json").read_text())
    if role == "registrar":
        assert site.plan.registrar is not None
        url = f"https://localhost:{site.plan.registrar.port}"
    else:
        url = site.url(role)
    with client(url, tls_of(site, caller), 30.0) as http:
        assert failures(document, http.request) == []
    assert site.local.services[role].running
    assert not site.local.services[role].events("http_unexpected_error")


@pytest.mark.parametrize("kind", ["aggregator", "custodian", "registrar"])
def test_every_parameter_has_bounds(kind: str) -> None:
    document = json.loads((DOCUMENTS / f"{kind}.json").read_text())
    assert unbounded(document) == []
