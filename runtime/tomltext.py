"""Write values as TOML, for the role files that are made from templates and read by people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from enum import Enum
from pathlib import PurePath
from typing import Any


def value(item: Any) -> str:  # noqa: PLR0911 - one line a TOML type
    """Return ``item`` as an inline TOML value.

    Raises:
        TypeError: TOML has no such type.
    """
    if isinstance(item, Enum):
        return value(item.value)
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int | float):
        return repr(item)
    if isinstance(item, str | PurePath):
        # JSON's escapes are TOML's, save for DEL, which TOML wants escaped, and lone surrogates.
        return json.dumps(str(item), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(item, datetime | date | time):
        return item.isoformat()
    if isinstance(item, Mapping):
        pairs = (f"{key(str(name))} = {value(part)}" for name, part in item.items())
        return "{ " + ", ".join(pairs) + " }" if item else "{}"
    if isinstance(item, Iterable):
        return "[" + ", ".join(value(part) for part in item) + "]"
    raise TypeError(f"TOML has no value for {type(item).__name__}")


def key(name: str) -> str:
    """Return ``name`` as a key, quoted if it must be."""
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else value(name)


def table(
    content: Mapping[str, Any],
    *,
    header: str = "",
    repeated: bool = False,
    about: Mapping[str, str] | None = None,
) -> str:
    """Return ``content`` as a table: plain keys first, inner tables after, under their own headers.

    ``about`` gives the comment over a key or an inner table's header, by its dotted name; None
    values are left out.
    """
    about = about or {}
    lines: list[str] = []
    if header:
        lines.append(f"[[{header}]]" if repeated else f"[{header}]")
    for name, item in content.items():
        if item is None or _is_table(item) or _is_tables(item):
            continue
        lines += _comment(about, header, name)
        lines.append(f"{key(name)} = {value(item)}")
    blocks = ["\n".join(lines)] if lines else []
    for name, item in content.items():
        path = f"{header}.{key(name)}" if header else key(name)
        comment = "".join(f"{line}\n" for line in _comment(about, header, name))
        if _is_table(item):
            blocks.append(comment + table(item, header=path, about=about).rstrip())
        elif _is_tables(item):
            inner = [table(part, header=path, repeated=True, about=about).rstrip() for part in item]
            blocks.append(comment + "\n\n".join(inner))
    return "\n\n".join(blocks) + "\n"


def _comment(about: Mapping[str, str], header: str, name: str) -> list[str]:
    text = about.get(f"{header}.{name}" if header else name, "")
    return [f"# {line}".rstrip() for line in text.splitlines()]


def _is_table(item: Any) -> bool:
    return isinstance(item, Mapping)


def _is_tables(item: Any) -> bool:
    return isinstance(item, list | tuple) and bool(item) and all(map(_is_table, item))
