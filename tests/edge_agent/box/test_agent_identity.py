"""A box knows itself from the directory or from an admission, and tells why when it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from edge_site import NOON_MS, Site

from edge_agent.config import BoxConfig
from edge_agent.identity import BoxRevoked, NotOurBox, load_installed
from protocol.admissions import Admissions
from protocol.directory import REGISTRAR, Principal
from protocol.signing import SigningKey

pytestmark = pytest.mark.models

MakeConfig = Callable[..., BoxConfig]


@pytest.fixture
def configured(
    box_config: MakeConfig, model_bundle_path: Path, model_bundle_key: bytes
) -> MakeConfig:
    def make(**changes: object) -> BoxConfig:
        models = {"bundle": model_bundle_path, "bundle_keys": [model_bundle_key.hex()]}
        return box_config(1, **models, **changes)

    return make


def registrar_admits(site: Site, *, revoked: bool = False) -> bytes:
    """Take the box out of the authority's directory and have the registrar admit it."""
    registrar = SigningKey.generate("registrar")
    principals = dict(site.directory.principals)
    box = principals.pop("box-1")
    principals["registrar"] = Principal("registrar", frozenset({REGISTRAR}), registrar.verify_key)
    site.installed.write_bytes(
        site.signed_directory(replace(site.directory, version=2, principals=principals))
    )
    gone = {"box-1": NOON_MS} if revoked else {}
    return Admissions("demo", 1, NOON_MS, {"box-1": box}, gone).sign(registrar).to_bytes()


@pytest.mark.parametrize("keep_state", [True, False])
def test_a_box_that_a_registrar_admitted_starts(
    site: Site, configured: MakeConfig, keep_state: bool
) -> None:
    admissions = registrar_admits(site)
    with pytest.raises(NotOurBox, match="lists no box 'box-1'"):
        load_installed(configured(), keep_state=keep_state)
    site.installed.with_name("admissions.cbor").write_bytes(admissions)
    installed = load_installed(configured(), keep_state=keep_state)
    assert installed.trust.admissions_version == 1


def test_a_box_that_a_registrar_revoked_does_not_start(site: Site, configured: MakeConfig) -> None:
    admissions = registrar_admits(site, revoked=True)
    site.installed.with_name("admissions.cbor").write_bytes(admissions)
    with pytest.raises(BoxRevoked):
        load_installed(configured())


def test_a_newer_directory_that_was_received_outlives_the_installed_one(
    site: Site, configured: MakeConfig
) -> None:
    config = configured()
    installed = load_installed(config)
    newer = site.directory.next_version(site.directory.principals, at_ms=2)
    installed.trust.accept(site.signed_directory(newer))
    assert load_installed(config).trust.directory.version == 2
    assert load_installed(config, keep_state=False).trust.directory.version == 2


def test_looking_creates_no_state(configured: MakeConfig) -> None:
    config = configured()
    load_installed(config, keep_state=False)
    assert not config.state_dir.exists()
