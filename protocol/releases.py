"""What a release server tells boxes: how packages are called, and which version each group runs.

The metadata around it are TUF's. The rollout is JSON, signed as one of their targets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from protocol.errors import MalformedMessage
from protocol.textformats import parse_json

Kind = Literal["models", "agent"]
KINDS: tuple[Kind, ...] = ("agent", "models")
"""In the order in which a box takes them: new models may need a newer agent."""
ALL = "all"
"""The group of every box that belongs to no other, and what others fall back on."""
ROLLOUT_TARGET = "rollout.json"
ROLLOUT_FORMAT = "sealtrace-rollout/1"
MAX_ROLLOUT_BYTES = 1 << 20
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,31}$"
"""Of release officers and groups of boxes."""
VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+!-]{0,63}$"


class RolloutInvalid(MalformedMessage):
    """The bytes are not a rollout that this version understands."""


def target_path(kind: Kind, version: str) -> str:
    """Return the name under which a package is signed and served."""
    return f"{kind}/{version}.tar"


@dataclass(frozen=True, slots=True)
class Rollout:
    """Group to kind to version; what a group does not name, it takes from ``all``."""

    groups: Mapping[str, Mapping[Kind, str]] = field(default_factory=dict)
    format: str = ROLLOUT_FORMAT

    def version(self, kind: Kind, group: str) -> str | None:
        """Return what a box of ``group`` is to run; None while nothing was released to it."""
        return self.groups.get(group, {}).get(kind) or self.groups.get(ALL, {}).get(kind)

    def changed(self, kind: Kind, version: str, group: str) -> Rollout:
        """Return the rollout with ``version`` for ``group``; ``all`` means every group.

        Raises:
            RolloutInvalid: ``group`` or ``version`` is not the name of one.
        """
        groups = {name: dict(kinds) for name, kinds in self.groups.items()}
        if group == ALL:
            for kinds in groups.values():
                kinds.pop(kind, None)
        groups.setdefault(_matching(group, NAME_PATTERN, "a group"), {})[kind] = _matching(
            version, VERSION_PATTERN, f"{group}.{kind}"
        )
        return Rollout({name: kinds for name, kinds in groups.items() if kinds})

    def to_bytes(self) -> bytes:
        """Return the bytes of the file: the same for the same rollout."""
        ordered = {name: dict(sorted(self.groups[name].items())) for name in sorted(self.groups)}
        text = json.dumps({"format": self.format, "groups": ordered}, indent=1)
        return text.encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Rollout:
        """Read ``rollout.json``.

        Raises:
            RolloutInvalid: it does not follow the format.
        """
        try:
            told = parse_json(data)
        except ValueError as error:
            raise RolloutInvalid(f"the rollout is not JSON: {error}") from error
        table = _table(told, "top level", {"format", "groups"})
        if table.get("format", ROLLOUT_FORMAT) != ROLLOUT_FORMAT:
            raise RolloutInvalid(f"format: must be {ROLLOUT_FORMAT}")
        groups: dict[str, dict[Kind, str]] = {}
        for group, kinds in _table(table.get("groups", {}), "groups").items():
            named = _matching(group, NAME_PATTERN, "a group")
            versions = _table(kinds, named, set(get_args(Kind)))
            groups[named] = {
                kind: _matching(versions[kind], VERSION_PATTERN, f"{named}.{kind}")
                for kind in KINDS
                if kind in versions
            }
        return cls(groups)


def _table(value: object, where: str, known: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RolloutInvalid(f"{where}: is not a table")
    if known is not None and not known >= value.keys():
        raise RolloutInvalid(f"{where}: knows {', '.join(sorted(known))} alone")
    return value


def _matching(value: object, pattern: str, where: str) -> str:
    # Patterns end in `$`, which a line's end would pass.
    if not isinstance(value, str) or re.fullmatch(pattern, value) is None or "\n" in value:
        raise RolloutInvalid(f"{where}: does not match {pattern}")
    return value
