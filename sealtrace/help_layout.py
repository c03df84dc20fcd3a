"""What `--help` prints, laid out for the reader's terminal rather than the source's lines.

Texts are written at the source's width, with square brackets that belong to them (`[[cameras]]`)
and examples side by side. The library would keep those line breaks, read the brackets as markup
and run the examples together.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

_BLANK_LINES = re.compile(r"\n\s*\n")
_BETWEEN_EXAMPLES = re.compile(r"\s{2,}\|\s{2,}")
_EXAMPLES = re.compile(r"(Examples?[^:]*):\s+(.*)", re.DOTALL)
# Shell completion cannot know a program whose name is two words.
_LEFT_OUT = {"install_completion", "show_completion"}
_MARKUP = re.compile(r"\[(?=[a-z#/@\[])")


def laid_out(command: Any) -> Any:
    """Return `command` (a click command or group) with its help, and its commands', laid out."""
    command.help = _literal(_paragraphs(command.help or ""))
    command.epilog = _literal(_examples(command.epilog or ""))
    command.params = [p for p in command.params if p.name not in _LEFT_OUT]
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = _literal(parameter.help)
    for child in getattr(command, "commands", {}).values():
        laid_out(child)
    return command


def _paragraphs(text: str) -> str:
    """Join the lines of each paragraph; a paragraph that is indented stays as it stands."""
    blocks = _BLANK_LINES.split(inspect.cleandoc(text))
    return "\n\n".join(b if b.startswith(" ") else " ".join(b.split()) for b in blocks)


def _examples(epilog: str) -> str:
    """Put one example on a line."""
    found = _EXAMPLES.fullmatch(inspect.cleandoc(epilog))
    if found is None:
        return epilog
    examples = (" ".join(part.split()) for part in _BETWEEN_EXAMPLES.split(found[2]))
    return "\n".join([f"{found[1]}:", *(f"  {example}" for example in examples)])


def _literal(text: str) -> str:
    """Keep square brackets from being read as markup."""
    return _MARKUP.sub(r"\\[", text)
