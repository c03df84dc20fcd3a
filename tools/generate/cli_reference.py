"""Writes docs/cli: one page a sub-command, from what the commands say of themselves.

    python -m tools.generate.cli_reference          writes the pages
    python -m tools.generate.cli_reference --check  fails when one is stale

`test_cli_reference.py` does the same as `--check`, so the pages cannot go stale unnoticed.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from typer.main import get_command

from sealtrace.command import SUMMARIES, commands, load

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "cli"
HEADER = (
    "<!-- Made by tools/generate/cli_reference.py from the commands themselves: do not edit. -->\n"
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument or option: how it is written, what it means, its default."""

    names: tuple[str, ...]
    metavar: str
    help: str
    default: str
    required: bool
    repeatable: bool
    is_flag: bool
    is_argument: bool

    @property
    def written(self) -> str:
        """The parameter as a person types it."""
        if self.is_argument:
            return self.metavar
        value = "" if self.is_flag else f" {self.metavar}"
        return ", ".join(self.names) + value


@dataclass(frozen=True, slots=True)
class CommandPage:
    """One command: its words (`query file`), help, epilog and parameters."""

    words: tuple[str, ...]
    help: str
    epilog: str
    parameters: tuple[Parameter, ...]
    hidden: bool = False

    @property
    def title(self) -> str:
        """The command as it is typed."""
        return " ".join(("sealtrace", *self.words))


def click_commands() -> dict[str, Any]:
    """Every sub-command by name, loaded."""
    return {name: get_command(load(point)) for name, point in sorted(commands().items())}


def pages_of(command: Any, words: tuple[str, ...]) -> Iterator[CommandPage]:
    """The command itself, if it runs by itself, then its sub-commands, in their own order."""
    inner = getattr(command, "commands", None)
    if inner is None or command.invoke_without_command:
        yield CommandPage(
            words=words,
            help=inspect.cleandoc(command.help or ""),
            epilog=inspect.cleandoc(command.epilog or ""),
            parameters=tuple(_parameters(command)),
            hidden=bool(command.hidden),
        )
    for name, child in (inner or {}).items():
        yield from pages_of(child, (*words, name))


@cache
def all_pages() -> dict[str, list[CommandPage]]:
    """Pages by sub-command."""
    return {name: list(pages_of(command, (name,))) for name, command in click_commands().items()}


def _parameters(command: Any) -> Iterator[Parameter]:
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        is_argument = parameter.param_type_name == "argument"
        names = tuple(sorted((*parameter.opts, *parameter.secondary_opts), key=_long_first))
        if is_argument:
            metavar = (parameter.metavar or parameter.name).upper()
        else:
            metavar = parameter.metavar or _type_name(parameter)
        yield Parameter(
            names=names,
            metavar=metavar,
            help=" ".join((parameter.help or "").split()),
            default=_default(parameter),
            required=bool(parameter.required),
            repeatable=bool(parameter.multiple or parameter.nargs == -1),
            is_flag=bool(getattr(parameter, "is_flag", False)),
            is_argument=is_argument,
        )


def _long_first(name: str) -> tuple[int, str]:
    return (0 if name.startswith("--") else 1, name)


def _type_name(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) in {list, tuple}:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return "|".join(str(choice) for choice in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(choice.value) for choice in kind)
    return {Path: "FILE", int: "NUMBER", float: "NUMBER", str: "TEXT"}.get(kind, "VALUE")


def _default(parameter: Any) -> str:
    default = parameter.default
    if callable(default) or default in (None, False, (), [], "") or parameter.required:
        return ""
    if type(default).__name__ in {"UNSET", "Sentinel", "DefaultPlaceholder"}:
        return ""
    if default is True:
        return "yes"
    if isinstance(default, list | tuple):
        return ", ".join(str(getattr(item, "value", item)) for item in default)
    return str(getattr(default, "value", default))


def render(name: str, pages: list[CommandPage]) -> str:
    """One file of docs/cli."""
    parts = [HEADER, f"# `sealtrace {name}`\n", SUMMARIES.get(name, "") + "\n"]
    shown = [page for page in pages if not page.hidden]
    if len(shown) > 1:
        parts += [f"- [`{page.title}`](#{_anchor(page.title)}): {_first(page)}" for page in shown]
        parts.append("")
    for page in shown:
        parts += _render_page(page)
    return "\n".join(parts).rstrip() + "\n"


def _render_page(page: CommandPage) -> list[str]:
    usage = [page.title]
    arguments = [p for p in page.parameters if p.is_argument]
    options = [p for p in page.parameters if not p.is_argument]
    usage += ["[OPTIONS]"] if options else []
    for argument in arguments:
        text = argument.metavar + ("..." if argument.repeatable else "")
        usage.append(text if argument.required else f"[{text}]")
    lines = [f"## `{page.title}`\n", f"```text\n{' '.join(usage)}\n```\n"]
    lines += [_paragraph(block) for block in re.split(r"\n\s*\n", page.help) if block.strip()]
    if page.parameters:
        lines.append("| parameter | meaning |\n| --- | --- |")
        lines[-1] += "".join(f"\n{_row(parameter)}" for parameter in (*arguments, *options)) + "\n"
    examples = _examples(page.epilog)
    if examples:
        lines.append("```console\n" + "\n".join(f"$ {line}" for line in examples) + "\n```\n")
    elif page.epilog:
        lines.append(page.epilog + "\n")
    return lines


def _row(parameter: Parameter) -> str:
    notes = []
    if parameter.required:
        notes.append("required")
    if parameter.repeatable and "repeated" not in parameter.help:
        notes.append("may be repeated")
    if parameter.default and not parameter.help.lower().count("default"):
        notes.append(f"default: `{parameter.default}`")
    meaning = parameter.help + (f" ({'; '.join(notes)})" if notes else "")
    written = parameter.written
    return f"| `{_cell(written)}` | {_cell(meaning)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _paragraph(block: str) -> str:
    lines = [line.strip() for line in block.strip().splitlines()]
    if lines[0].startswith("sealtrace "):
        return "```console\n$ " + _joined(lines) + "\n```\n"
    return " ".join(lines) + "\n"


def _joined(lines: list[str]) -> str:
    return "\n$ ".join(" ".join(lines).split(" sealtrace ")) if len(lines) > 1 else lines[0]


def _examples(epilog: str) -> list[str]:
    if not epilog.lower().startswith("example"):
        return []
    text = epilog.split(":", 1)[1]
    return [" ".join(part.split()) for part in re.split(r"\s{2,}\|\s{2,}|\n\s*\n", text) if part]


def _first(page: CommandPage) -> str:
    block = re.split(r"\n\s*\n", page.help)[0]
    return " ".join(block.split())


def _anchor(title: str) -> str:
    return title.replace(" ", "-")


def index(names: Mapping[str, list[CommandPage]]) -> str:
    """docs/cli/README.md."""
    order = [*(n for n in SUMMARIES if n in names), *sorted(set(names) - set(SUMMARIES))]
    rows = [f"| [`sealtrace {name}`]({name}.md) | {SUMMARIES.get(name, '')} |" for name in order]
    return "\n".join(
        [
            HEADER,
            "# Commands\n",
            "All of them are one program, `sealtrace`. `sealtrace COMMAND --help` prints the same "
            "as these pages.\nExit codes: 0 done, 1 failed (the reason stands on standard error), "
            "2 wrong command line, 130 interrupted.\n",
            "| command | what for |",
            "| --- | --- |",
            *rows,
            "",
        ]
    )


def rendered() -> dict[Path, str]:
    """Every file of docs/cli with its content."""
    pages = all_pages()
    files = {FOLDER / f"{name}.md": render(name, listed) for name, listed in pages.items()}
    files[FOLDER / "README.md"] = index(pages)
    return files


def stale() -> list[str]:
    """What is missing, differs, or should not be there."""
    files = rendered()
    there = set(FOLDER.glob("*.md"))
    wrong = [p for p, text in files.items() if p not in there or p.read_text("utf-8") != text]
    return sorted(path.name for path in (*wrong, *(there - set(files))))


def main() -> int:
    """Write or check."""
    if "--check" in sys.argv[1:]:
        names = stale()
        for name in names:
            sys.stdout.write(f"stale: docs/cli/{name}\n")
        return 1 if names else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = rendered()
    for path in set(FOLDER.glob("*.md")) - set(files):
        path.unlink()
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
