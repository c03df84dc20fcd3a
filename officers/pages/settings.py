"""What an officer has set of the desk: language, theme, sound, keys; a file of the desk's own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from officers.desk.phrases import phrase
from officers.desk.report.words import ENGLISH, LANGUAGES
from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, private_folder, read_file

THEMES = ("system", "light", "dark")
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Choices:
    """The settings by value."""

    language: str = ENGLISH
    theme: str = "system"
    sound: bool = True
    shortcuts: bool = True


class SettingInvalid(OperationError):
    """There is no such setting."""


class Settings:
    """The settings, and where they are kept; a file that cannot be read means the defaults."""

    def __init__(self, folder: Path, choices: Choices) -> None:
        self._folder = folder
        self._choices = choices

    @classmethod
    def load(cls, state_dir: Path) -> Settings:
        """Read the settings from the officer's state folder."""
        folder = state_dir / "desk"
        try:
            said = parse_json(read_file(folder / "settings.json", _MAX_BYTES))
            return cls(folder, _checked(said))
        except (FileProblem, SettingInvalid, ValueError, RecursionError):
            return cls(folder, Choices())

    @property
    def language(self) -> str:
        """One of `LANGUAGES`."""
        return self._choices.language

    @property
    def theme(self) -> str:
        """One of `THEMES`."""
        return self._choices.theme

    @property
    def sound(self) -> bool:
        """Whether what arrives is heard."""
        return self._choices.sound

    @property
    def shortcuts(self) -> bool:
        """Whether single keys do things."""
        return self._choices.shortcuts

    def change(self, **changes: Any) -> None:
        """Change settings and keep them.

        Raises:
            SettingInvalid: there is no such setting, or no such value of it.
            FileProblem: they cannot be kept; they hold until the desk ends.
        """
        self._choices = _checked(asdict(replace(self._choices, **changes)))
        data = json.dumps(asdict(self._choices), indent=1).encode()
        atomic_write(private_folder(self._folder) / "settings.json", data, 0o600)


def _checked(said: Any) -> Choices:
    if not isinstance(said, dict):
        raise SettingInvalid(phrase("settings are a table"))
    known = asdict(Choices())
    values = {name: said.get(name, usual) for name, usual in known.items()}
    if values["language"] not in LANGUAGES:
        raise SettingInvalid(
            phrase("there is no such language; there are {known}", known=", ".join(LANGUAGES))
        )
    if values["theme"] not in THEMES:
        raise SettingInvalid(
            phrase("there is no such theme; there are {known}", known=", ".join(THEMES))
        )
    if not isinstance(values["sound"], bool) or not isinstance(values["shortcuts"], bool):
        raise SettingInvalid(phrase("sound and keys are on or off"))
    return Choices(**values)
