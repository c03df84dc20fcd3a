"""A role's TOML is read strictly, complained about clearly, and printed so that it reads back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from runtime.config import (
    ConfigError,
    LogConfig,
    MqttConfig,
    RoleConfig,
    Section,
    TlsConfig,
    load,
    parse,
    render,
)
from runtime.meanings import meanings


class CameraConfig(Section):
    """One camera."""

    name: str
    """Its name in topics."""
    source: Path | None = None
    """A clip."""


class BoxConfig(RoleConfig):
    """An edge box."""

    box: str
    """Name of the box."""
    state: Path = Path("state")
    """Folder for what the box keeps."""
    rate_hz: Annotated[float, Field(gt=0)] = 10.0
    """Frames a second."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Free text shown in health."""
    peers: tuple[Path, ...] = ()
    """More files."""
    mqtt: MqttConfig = MqttConfig()
    """The broker."""
    cameras: tuple[CameraConfig, ...] = ()
    """The cameras."""


GOOD = """
box = "box-1"
state = "var/state"
peers = ["a", "/b"]

[mqtt]
host = "broker"
tls = { ca = "tls/ca.pem", certificate = "tls/box.pem" }

[labels]
"hall 1" = "north"

[[cameras]]
name = "north"
source = "clips/north.mp4"

[[cameras]]
name = "south"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "box.toml"
    path.write_text(text)
    return path


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD), BoxConfig)
    assert config.state == tmp_path / "var/state"
    assert config.peers == (tmp_path / "a", Path("/b"))
    assert config.mqtt.tls is not None
    assert config.mqtt.tls.ca == tmp_path / "tls/ca.pem"
    assert config.mqtt.tls.private_key is None
    assert config.cameras[0].source == tmp_path / "clips/north.mp4"
    assert config.cameras[1].source is None
    assert config.log.level == "info"


def test_defaults_are_anchored_too(tmp_path: Path) -> None:
    assert load(write(tmp_path, 'box = "b"'), BoxConfig).state == tmp_path / "state"


def test_what_is_printed_reads_back_as_the_same(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD), BoxConfig)
    text = render(config)
    assert load(write(tmp_path, text), BoxConfig) == config
    assert "# Frames a second.\nrate_hz = 10.0" in text
    assert "# Name of the box.\n# Required." in text
    assert '# Default: "127.0.0.1"\nhost = "broker"' in text
    assert "# A clip.\n# source = ..." in text


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("", ["box: is required and missing"]),
        ('box = "b"\nstat = 1', ["stat: no such key; did you mean 'state'?"]),
        ('box = "b"\n[mqtt]\nprot = 1', ["mqtt.prot: no such key; did you mean 'port'?"]),
        ('box = "b"\n[mqtt]\nport = 70000', ["mqtt.port", "65535", "it is 70000"]),
        ('box = "b"\nrate_hz = -1', ["rate_hz: Input should be greater than 0 (it is -1)"]),
        (
            'box = "b"\n[[cameras]]\nnme = "x"',
            ["cameras.0.nme", "'name'", "cameras.0.name: is req"],
        ),
        (
            'box = "b"\n[mqtt]\ntls = {kee = 1}',
            ["mqtt.tls.kee", "known here: ca, c", "mqtt.tls.ca: is"],
        ),
        ("box = b", ["not valid TOML", "line 1"]),
        ('box = "b"\n[log]\nlevel = "loud"', ["log.level", "'info'", "it is 'loud'"]),
    ],
)
def test_errors_name_the_file_the_key_and_the_fault(
    tmp_path: Path, text: str, complaints: list[str]
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, BoxConfig)
    for complaint in [str(path), *complaints]:
        assert complaint in str(caught.value)


def test_missing_and_binary_files_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file"):
        load(tmp_path / "absent.toml", BoxConfig)
    (tmp_path / "binary.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="not UTF-8 text at byte 5"):
        load(tmp_path / "binary.toml", BoxConfig)


text_values = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_what_keys_mean_is_read_from_the_source_where_it_is_shown_and_not_before() -> None:
    assert not [name for name, field in BoxConfig.model_fields.items() if field.description]
    assert meanings(BoxConfig)["box"] == "Name of the box."
    assert set(meanings(BoxConfig)) > set(meanings(RoleConfig)) > set()
    assert "# Name of the box.\n# Required.\nbox = " in render(BoxConfig(box="box-1"))


def test_keys_without_a_source_are_shown_without_their_meaning() -> None:
    made: dict[str, type[Section]] = {}
    exec("class Made(Section):\n    key: int = 1\n    'What it means.'", {"Section": Section}, made)  # noqa: S102
    assert render(made["Made"]()).endswith("key = 1\n")
    assert meanings(made["Made"]) == {}


@given(
    box=text_values,
    rate=st.floats(min_value=1e-300, allow_infinity=True),
    labels=st.dictionaries(text_values, text_values, max_size=3),
    names=st.lists(text_values, max_size=3),
    log=st.builds(LogConfig, level=st.sampled_from(["debug", "error"])),
    tls=st.none() | st.just(TlsConfig(ca=Path("/ca"), certificate=Path("/c"))),
)
def test_any_configuration_survives_printing(
    *,
    box: str,
    rate: float,
    labels: dict[str, str],
    names: list[str],
    log: LogConfig,
    tls: TlsConfig | None,
) -> None:
    config = BoxConfig(
        box=box,
        rate_hz=rate,
        labels=labels,
        state=Path("/s"),
        log=log,
        mqtt=MqttConfig(tls=tls),
        cameras=tuple(CameraConfig(name=name) for name in names),
    )
    data = tomllib.loads(render(config))
    assert parse(data, BoxConfig, source="printed", folder=Path("/")) == config
