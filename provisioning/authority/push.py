"""Tell the custodians and the aggregator of a new directory, as an officer, over mutual TLS."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from protocol.admissions import Admissions, open_admissions
from protocol.directory import AGGREGATOR, CUSTODIAN, REGISTRAR, Directory, Principal
from protocol.errors import ProtocolError
from provisioning.authority.directory_files import kept_register, read_directory
from provisioning.formats import layout
from provisioning.formats.opened import Site, SiteError
from runtime import http
from runtime.config import TlsConfig
from runtime.officer import OFFICER_ENVIRONMENT, load_officer
from runtime.peers import News, Told, tell, tell_all, with_address
from runtime.problems import raise_for_problem

_TIMEOUT_S = 10.0
_MAX_BOXES_BYTES = 64 << 20


def push_directory(site: Site, tls: TlsConfig) -> list[Told]:
    """Hand the site's newest directory to custodians, aggregator and registrar in force.

    A registrar that does not answer and whose folder is here has it there, and is not missed: a
    site may have one that nobody runs. Where only a copy of the folder is here, the one that runs
    elsewhere answers.

    Args:
        tls: certificates of any officer in force; the directory speaks for itself.

    Returns:
        one entry each, in the order of their names.

    Raises:
        FileProblem: the directory cannot be read.
    """
    files = read_directory(site.paths)
    second, first = files[layout.DIRECTORY_FILE], files.get(layout.FIRST_DIRECTORY_FILE)
    news = News.of_directory(first, second)
    told = tell_all(services(site), news, tls)
    if not site.paths.registrar.exists():
        return told
    registrars = {principal.name for principal in site.directory.with_duty(REGISTRAR)}
    note = "it does not answer; the file is in its folder here"
    return [
        replace(one, problem="", note=note) if one.problem and one.name in registrars else one
        for one in told
    ]


def push_places(site: Site, tls: TlsConfig) -> Told | None:
    """Hand the aggregator the register of places that the directory names, for officers to fetch.

    Returns:
        None where there is nothing to hand, or nobody to hand it to.
    """
    register = kept_register(site.paths, site.directory)
    found = with_address(site.directory, AGGREGATOR)
    if register is None or not found:
        return None
    return tell(found[0], News("PUT", "/v1/places", (register,)), tls)


def services(site: Site) -> list[Principal]:
    """Return the custodians, the aggregator and the registrar in force that have an address."""
    return with_address(site.directory, CUSTODIAN, AGGREGATOR, REGISTRAR)


def aggregator_boxes(
    directory: Directory, tls: TlsConfig, url: str | None = None
) -> list[dict[str, Any]]:
    """Ask the aggregator how the boxes are; one map each, as ``GET /v1/boxes`` gives it.

    Raises:
        OperationError: it cannot be reached, or refuses.
    """
    with _aggregator(directory, tls, url) as client:
        answer = http.json_of(client.get("/v1/boxes"))
    rows = answer.get("boxes", []) if isinstance(answer, dict) else answer
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def aggregator_admissions(
    directory: Directory, tls: TlsConfig, url: str | None = None
) -> Admissions | None:
    """Ask the aggregator for the registrar's list; None when it has none.

    Raises:
        OperationError: it cannot be reached, refuses, or answers what no registrar in force signed.
    """
    with _aggregator(directory, tls, url) as client:
        answer = client.get("/v1/admissions")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        signed = raise_for_problem(answer).content
    try:
        return open_admissions(signed, directory)
    except ProtocolError as error:
        raise SiteError(f"the registrar's list, as the aggregator has it: {error}") from error


def _aggregator(directory: Directory, tls: TlsConfig, url: str | None) -> httpx.Client:
    found = with_address(directory, AGGREGATOR)
    url = url or (found[0].url if found else None)
    if not url:
        raise SiteError("the site has no aggregator in force")
    return http.client(url, tls, _TIMEOUT_S, max_answer_bytes=_MAX_BOXES_BYTES)


def officer_tls(site: Site, officer: Path | None) -> TlsConfig:
    """Return the certificates to speak with: of ``officer``, else of one whose folder is here.

    Args:
        officer: an ``officer.toml``; the environment's SEALTRACE_OFFICER when None.

    Raises:
        SiteError: none is given and none is here.
        ConfigError: the file cannot be used.
    """
    if officer is not None or os.environ.get(OFFICER_ENVIRONMENT):
        return _tls_of(officer)
    for path in _officers_here(site):
        return _tls_of(path)
    raise SiteError(
        "calling custodians and the aggregator takes an officer's certificate, and no officer's"
        f" folder is here; give --officer FILE or set {OFFICER_ENVIRONMENT}"
    )


def _officers_here(site: Site) -> Iterable[Path]:
    for name, principal in sorted(site.directory.principals.items()):
        path = site.paths.officer(name)
        if principal.revoked_at_ms is None and path.exists():
            yield path


def _tls_of(officer: Path | None) -> TlsConfig:
    config = load_officer(officer)
    if config.tls is None:
        raise SiteError(f"the officer.toml of '{config.name}' has no [tls] section; give another")
    return config.tls
