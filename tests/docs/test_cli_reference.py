"""The generated references are up to date, and every command, argument and option is explained."""

from __future__ import annotations

import pytest

from sealtrace.command import SUMMARIES
from tools.generate import cli_reference as cli
from tools.generate import openapi

MIN_HELP = 8
PAGES = cli.all_pages()
COMMANDS = [page for pages in PAGES.values() for page in pages]


def test_the_command_reference_is_what_the_commands_say() -> None:
    assert cli.stale() == [], "run: python -m tools.generate.cli_reference"


def test_the_http_reference_is_what_the_services_serve() -> None:
    assert openapi.stale() == [], "run: python -m tools.generate.openapi"


def test_there_is_something_to_document() -> None:
    assert len(PAGES) >= 10
    assert len(COMMANDS) >= 20


@pytest.mark.parametrize("page", COMMANDS, ids=lambda page: " ".join(page.words))
def test_every_command_says_what_it_does(page: cli.CommandPage) -> None:
    assert len(page.help) >= MIN_HELP, f"{page.title} has no help"


@pytest.mark.parametrize("page", COMMANDS, ids=lambda page: " ".join(page.words))
def test_every_command_gives_an_example(page: cli.CommandPage) -> None:
    told = f"{page.help}\n{page.epilog}".replace("\n", " ")
    assert f"{page.title}" in told, f"{page.title} shows no example in its help"


@pytest.mark.parametrize("page", COMMANDS, ids=lambda page: " ".join(page.words))
def test_every_argument_and_option_is_explained(page: cli.CommandPage) -> None:
    bare = [parameter.written for parameter in page.parameters if len(parameter.help) < MIN_HELP]
    assert bare == [], f"{page.title}: without help"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_command_has_a_line_in_the_overview(name: str) -> None:
    assert SUMMARIES.get(name), f"sealtrace/command.py has no summary of '{name}'"
