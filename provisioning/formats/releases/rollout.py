"""Say which version each group of boxes runs: the signed file ``rollout.json``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from provisioning.formats.releases.layout import NAME_PATTERN, VERSION_PATTERN, Kind

ALL = "all"
"""The group of every box that belongs to no other, and what others fall back on."""
MAX_BYTES = 1 << 20

Group = Annotated[str, Field(pattern=NAME_PATTERN)]
Version = Annotated[str, Field(pattern=VERSION_PATTERN)]


class RolloutInvalid(ValueError):
    """The bytes are not a rollout that this version understands."""


class Rollout(BaseModel):
    """Group to kind to version; what a group does not name, it takes from ``all``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["sealtrace-rollout/1"] = "sealtrace-rollout/1"
    groups: dict[Group, dict[Kind, Version]] = {}

    def version(self, kind: Kind, group: str) -> str | None:
        """Return what a box of ``group`` is to run; None while nothing was released to it."""
        return self.groups.get(group, {}).get(kind) or self.groups.get(ALL, {}).get(kind)

    def changed(self, kind: Kind, version: str, group: str) -> Rollout:
        """Return the rollout with ``version`` for ``group``; ``all`` means every group."""
        groups = {name: dict(kinds) for name, kinds in self.groups.items()}
        if group == ALL:
            for kinds in groups.values():
                kinds.pop(kind, None)
        groups.setdefault(group, {})[kind] = version
        return Rollout(groups={name: kinds for name, kinds in groups.items() if kinds})

    def to_bytes(self) -> bytes:
        """Return the bytes of the file: the same for the same rollout."""
        ordered = {name: dict(sorted(self.groups[name].items())) for name in sorted(self.groups)}
        return Rollout(groups=ordered).model_dump_json(indent=1).encode() + b"\n"


def parse_rollout(data: bytes) -> Rollout:
    """Read ``rollout.json``.

    Raises:
        RolloutInvalid: it does not follow the format.
    """
    try:
        return Rollout.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise RolloutInvalid(f"{where}: {first['msg']}") from error
