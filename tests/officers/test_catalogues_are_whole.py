"""Every language has every message of the code, with its placeholders, and is compiled."""

from __future__ import annotations

import re
import string

import pytest

from tools.generate.catalogues import (
    Domain,
    catalogues,
    compiled,
    domains,
    lacking,
    said,
    spoken,
    template,
    updated,
    written,
)

_PERCENT = re.compile(r"%\((\w+)\)")
_PARTICLE = re.compile(r"\}(?:을|를|이|가|은|는|와|과|으로|로)(?![가-힣])")
EACH_DOMAIN = pytest.mark.parametrize("domain", domains(), ids=lambda one: one.name)


def names(message: str) -> set[str]:
    if "%(" in message:
        return set(_PERCENT.findall(message))
    return {name for _, name, _, _ in string.Formatter().parse(message) if name}


def has_messages(domain: Domain) -> bool:
    return any(one.id for one in template(domain))


@pytest.mark.slow
@EACH_DOMAIN
def test_nothing_is_lacking_and_placeholders_are_those_of_the_message(domain: Domain) -> None:
    for path in catalogues(domain):
        catalogue = updated(path, domain)
        assert lacking(catalogue) == []
        for one in catalogue:
            if one.id:
                for words in said(one):
                    assert names(words) == names(spoken(one)[-1]), one.id


@pytest.mark.slow
@EACH_DOMAIN
def test_what_is_kept_is_what_the_code_says_and_is_compiled(domain: Domain) -> None:
    if not has_messages(domain):
        return
    for path in catalogues(domain):
        catalogue = updated(path, domain)
        assert path.read_bytes() == written(catalogue)
        assert path.with_suffix(".mo").read_bytes() == compiled(catalogue)


@pytest.mark.slow
@EACH_DOMAIN
def test_no_korean_particle_follows_a_placeholder(domain: Domain) -> None:
    for path in catalogues(domain):
        for one in updated(path, domain):
            for words in said(one):
                assert not _PARTICLE.search(words), words
