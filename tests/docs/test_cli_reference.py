"""The generated references are up to date, and every command, argument and option is explained."""

from __future__ import annotations

import pytest

from sealtrace.command import SUMMARIES
from tools.generate import cli_reference as cli
from tools.generate import openapi

MIN_HELP = 8


def commands() -> list[cli.CommandPage]:
    return [page for pages in cli.all_pages().values() for page in pages]


@pytest.mark.slow
def test_the_command_reference_is_what_the_commands_say() -> None:
    assert cli.stale() == [], "run: python -m tools.generate.cli_reference"


def test_the_http_reference_is_what_the_services_serve() -> None:
    assert openapi.stale() == [], "run: python -m tools.generate.openapi"


def test_there_is_something_to_document() -> None:
    assert len(cli.all_pages()) >= 10
    assert len(commands()) >= 20


def test_every_command_says_what_it_does() -> None:
    assert [page.title for page in commands() if len(page.help) < MIN_HELP] == []


def test_every_command_gives_an_example() -> None:
    def told(page: cli.CommandPage) -> str:
        return f"{page.help}\n{page.epilog}".replace("\n", " ")

    assert [page.title for page in commands() if page.title not in told(page)] == []


def test_every_argument_and_option_is_explained() -> None:
    bare = [
        f"{page.title}: {parameter.written}"
        for page in commands()
        for parameter in page.parameters
        if len(parameter.help) < MIN_HELP
    ]
    assert bare == []


def test_every_command_has_a_line_in_the_overview() -> None:
    without = [name for name in cli.all_pages() if not SUMMARIES.get(name)]
    assert without == [], "give them one in sealtrace/command.py"
