"""Hold all SQL of the aggregator in ``aggregator/store``: elsewhere nobody knows of a database.

``python -m tools.sql_in_store`` names every place of ``aggregator/`` outside the store where a
database is imported, a statement run, a connection reached for, or a text looks like a statement.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / "aggregator" / "store"
_LIBRARIES = frozenset({"sqlite3", "sqlite_utils", "psycopg", "sqlalchemy"})
_CALLS = frozenset({"execute", "executemany", "executescript"})
_STATEMENT = re.compile(
    r"\s*(SELECT\b.+\bFROM\b|INSERT\s+(OR\s+\w+\s+)?INTO\b|UPDATE\s+\w+\s+SET\b|DELETE\s+FROM\b"
    r"|(CREATE|DROP|ALTER)\s+(TABLE|INDEX|TRIGGER)\b|PRAGMA\s+\w|BEGIN\s+IMMEDIATE\b)",
    re.DOTALL,
)


def faults(source: str) -> Iterator[tuple[int, str]]:
    """Yield line number and reason of each place of a program's text that touches a database."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                if name.split(".")[0] in _LIBRARIES:
                    yield node.lineno, f"it imports {name}"
                if name.startswith(("aggregator.store.sqlite", "aggregator.store.postgresql")):
                    yield node.lineno, f"it imports one backend, {name}"
        elif isinstance(node, ast.Attribute) and node.attr == "conn":
            yield node.lineno, "it reaches for a connection"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _CALLS:
                yield node.lineno, f"it calls {node.func.attr}()"
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _STATEMENT.match(node.value)
        ):
            yield node.lineno, "a text looks like SQL"


def main() -> int:
    """Print every fault; return 1 if there is one."""
    found = 0
    for path in sorted((ROOT / "aggregator").rglob("*.py")):
        if path.is_relative_to(STORE):
            continue
        for line, reason in faults(path.read_text()):
            print(f"{path.relative_to(ROOT)}:{line}: {reason}: ask aggregator/store instead")  # noqa: T201
            found += 1
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
