"""Read a role's one TOML file, say plainly what is wrong in it, and print the effective one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticUndefined

from protocol.errors import MalformedMessage
from protocol.names import NAME_PATTERN, require_name
from protocol.signing import VerifyKey
from protocol.textformats import parse_toml
from runtime import tomltext
from runtime.errors import OperationError
from runtime.fsio import FileProblem, read_file
from runtime.meanings import meanings

MAX_CONFIG_BYTES = 1 << 20
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - nothing is bound here


class ConfigError(OperationError):
    """The configuration file is missing, is not TOML, or does not fit its role."""


class SecretGiven(ValueError):
    """A value holds a secret that has no place in it: what is said of it does not repeat it."""


class Section(BaseModel):
    """A part of a configuration: unknown keys are refused, docstrings under fields are its help."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _name(value: str) -> str:
    try:
        return require_name(value, what="it")
    except MalformedMessage as error:
        raise ValueError(str(error)) from None


def _key(value: str) -> str:
    try:
        VerifyKey(bytes.fromhex(value))
    except MalformedMessage as error:
        raise ValueError(str(error)) from None
    except ValueError:
        raise ValueError("an Ed25519 public key is 64 hexadecimal digits") from None
    return value.lower()


Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})
]
"""A name as in the site's directory: `protocol.names.require_name`."""
HexKey = Annotated[str, AfterValidator(_key)]
"""An Ed25519 public key, in hexadecimal."""


class LogConfig(Section):
    """What is logged, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    format: Literal["auto", "json", "console"] = "auto"
    """``json`` lines, a coloured ``console``, or ``auto``: console on a terminal, else json."""


class TlsConfig(Section):
    """Who we are and whom we believe, on one mutually authenticated TLS 1.3 connection."""

    ca: Path
    """PEM file of the certificate authority that the other side's certificate must come from."""
    certificate: Path
    """PEM file of our own certificate (followed by its chain, if any)."""
    private_key: Path | None = None
    """PEM file of our private key; leave out when it stands in the certificate's file."""


class HttpConfig(Section):
    """Where an HTTP interface listens, and how much of it others may hold at once."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """TCP port; 0 takes a free one, which the log line ``ready`` names."""
    max_connections: Annotated[int, Field(ge=8, le=768)] = 512
    """Connections open at once, from everywhere; never more than half of the descriptors that the
    system gives the process. When all are taken, whoever waits longest without a certificate makes
    way, then whoever idles longest."""
    max_strangers_per_address: Annotated[int, Field(ge=1, le=768)] = 128
    """Of these, connections from one address (IPv6: one /64) that have shown no certificate. Those
    that have are not counted by address, so that many may come through one."""
    max_connections_per_peer: Annotated[int, Field(ge=1, le=768)] = 64
    """Connections with one certificate's name."""
    handshake_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Seconds within which TLS must be agreed."""
    request_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Seconds within which the head of a request must be here, and which a body or the taking of
    an answer may stand still."""
    min_bytes_per_s: Annotated[int, Field(ge=1, le=1 << 20)] = 1024
    """Bodies must come, and answers be taken, at this rate at least, on average."""
    max_requests: Annotated[int, Field(ge=2, le=1024)] = 64
    """Requests worked at at once; of one caller, half as many. More are told to ask again."""
    max_bodies_mb: Annotated[int, Field(ge=1, le=4096)] = 64
    """Room for the bodies of all of them together (at least two of the largest size)."""

    @property
    def address_here(self) -> str:
        """The URL of the interface on this machine, where it listens everywhere or on one address.

        Raises:
            ConfigError: the port is not known beforehand.
        """
        if self.port == 0:
            raise ConfigError("[http] port is 0 in the configuration: give the port that is used")
        host = "localhost" if self.host in _EVERYWHERE else self.host
        return f"https://{f'[{host}]' if ':' in host else host}:{self.port}"


class BrokerAddress(Section):
    """Where a further MQTT broker of the site is."""

    host: str
    """Host name or address; with TLS, the name its certificate must carry."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8883
    """TCP port."""


class MqttConfig(Section):
    """Where the MQTT broker is and how a session with it is kept."""

    host: str = "127.0.0.1"
    """Host name or address of the broker; with TLS, the name its certificate must carry."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8883
    """TCP port of the broker."""
    tls: TlsConfig | None = None
    """Certificates; without them the connection is plain (a broker on loopback only)."""
    client_id: Annotated[str, Field(max_length=64)] = ""
    """MQTT client id, unique at the broker; empty: the role chooses one from its own name."""
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    """Seconds of silence after which either side calls the connection lost (at 1.5 times)."""
    session_expiry_s: Annotated[int, Field(ge=0, le=0xFFFFFFFE)] = 7 * 24 * 3600
    """Seconds the broker keeps what we have not yet received after we vanish."""
    max_payload_bytes: Annotated[int, Field(ge=1024, le=256 << 20)] = 8 << 20
    """Messages larger than this are refused in both directions."""
    further: Annotated[tuple[BrokerAddress, ...], Field(max_length=7)] = ()
    """Other brokers of the site, for which all else holds as well. A box publishes to the first
    that it reaches, and goes on to the next when that is gone; headquarters listens at all."""

    @model_validator(mode="after")
    def _each_broker_once(self) -> MqttConfig:
        places = [(self.host, self.port), *((one.host, one.port) for one in self.further)]
        if len(set(places)) != len(places):
            raise ValueError("a broker is named twice; name each in host and port, or in further")
        return self

    def kept_for(self, seconds: int) -> MqttConfig:
        """This configuration, of whose sessions the broker keeps nothing for longer than that."""
        return self.model_copy(update={"session_expiry_s": min(self.session_expiry_s, seconds)})

    @property
    def each(self) -> tuple[MqttConfig, ...]:
        """This configuration once for each broker, in order, with no further one in it."""
        first = self.model_copy(update={"further": ()})
        return (
            first,
            *(
                first.model_copy(update={"host": one.host, "port": one.port})
                for one in self.further
            ),
        )


class RoleConfig(Section):
    """The configuration of one role's process; each role adds its own keys and sections."""

    log: LogConfig = LogConfig()
    """Logging."""

    @model_validator(mode="before")
    @classmethod
    def _keep_defaults_of_sections(cls, data: object) -> object:
        """Have a section that is given in part keep what this role else has in it (its port)."""
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        for name, field in cls.model_fields.items():
            given, otherwise = filled.get(name), field.default
            if isinstance(given, dict) and isinstance(otherwise, Section):
                filled[name] = {**otherwise.model_dump(exclude_unset=True), **given}
        return filled


class PrincipalConfig(RoleConfig):
    """Configuration of somebody whom the directory lists: who they are, whom they believe."""

    site: Name
    """Name of the site."""
    name: Name
    """Our name in the site's directory."""
    authority: HexKey
    """The site authority's Ed25519 public key, hex: directory and policy must be signed by it."""
    identity: Path = Path("identity.secret")
    """Our own signing key, protected by a passphrase."""
    directory: Path = Path("directory.cbor")
    """The site's signed directory as installed; a newer one is kept in ``state_dir``."""
    state_dir: Path = Path("state")
    """Folder of what is kept: databases, logs, keys (sealed), a newer directory; made when missing.
    """

    @property
    def authority_key(self) -> VerifyKey:
        """The site authority's public key."""
        return VerifyKey(bytes.fromhex(self.authority))


class PolicyReaderConfig(PrincipalConfig):
    """Configuration of a principal that goes by the site's policy, from files of its own."""

    policy: Path = Path("policy.toml")
    """The site's policy, a copy of our own."""
    policy_signature: Path = Path("policy.toml.sig")
    """The authority's signature over the policy."""


SomeConfig = TypeVar("SomeConfig", bound=BaseModel)


def load(
    path: Path,
    model: type[SomeConfig],
    *,
    hint: str = "--print-config shows every key with its meaning",
) -> SomeConfig:
    """Read the TOML file at ``path`` as a ``model``; relative paths count from the file's folder.

    Args:
        hint: where it is said what may stand in such a file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or a key is unknown, missing or wrong.
            The message names the file, every such key, what is wrong and what to do.
    """
    try:
        text = read_file(path, MAX_CONFIG_BYTES).decode("utf-8")
        data = parse_toml(text)
    except FileProblem as error:
        raise ConfigError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text at byte {error.start}; save it as UTF-8"
        ) from (error)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}; strings need quotes, sections look like [mqtt]"
        ) from error
    return parse(data, model, source=str(path), folder=path.parent, hint=hint)


def parse(
    data: Mapping[str, Any],
    model: type[SomeConfig],
    *,
    source: str,
    folder: Path,
    hint: str = "--print-config shows every key with its meaning",
) -> SomeConfig:
    """Validate already parsed TOML; ``source`` names it in messages, ``folder`` anchors its paths.

    Raises:
        ConfigError: see `load`.
    """
    try:
        config = model.model_validate(data)
    except ValidationError as error:
        lines = [
            _explain(cast("Mapping[str, Any]", item), model)
            for item in error.errors(include_url=False)
        ]
        raise ConfigError(
            f"{source} cannot be used:\n"
            + "\n".join(f"  {line}" for line in lines)
            + f"\ncorrect the file; {hint}"
        ) from error
    return cast("SomeConfig", _anchored(config, folder.absolute()))


def render(model: BaseModel) -> str:
    """Return ``model`` as TOML that `load` reads back, each key under its meaning and default."""
    lines: list[str] = []
    if model.__doc__:
        lines += [*_comment(model.__doc__.strip().splitlines()[0]), ""]
    _render_section(model, (), lines)
    return "\n".join(lines).rstrip() + "\n"


def _anchored(value: Any, folder: Path) -> Any:
    """Return ``value`` with each relative path in it, however deep, put under ``folder``."""
    if isinstance(value, Path):
        expanded = value.expanduser()
        return expanded if expanded.is_absolute() else folder / expanded
    if isinstance(value, BaseModel):
        changed = {
            name: _anchored(getattr(value, name), folder) for name in type(value).model_fields
        }
        return value.model_copy(update=changed)
    if isinstance(value, tuple | list | set | frozenset):
        return type(value)(_anchored(item, folder) for item in value)
    if isinstance(value, dict):
        return {key: _anchored(item, folder) for key, item in value.items()}
    return value


def _explain(item: Mapping[str, Any], model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "(whole file)"
    if item["type"] == "missing":
        return f"{where}: is required and missing"
    if item["type"] == "extra_forbidden":
        known = _keys_beside(item["loc"], model)
        near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
        return f"{where}: no such key; {hint}"
    message = str(item["msg"]).removeprefix("Value error, ")
    given = repr(item.get("input"))
    # What stands before an @ may be a user and a password, whatever is wrong with the value.
    secret = isinstance(item.get("ctx", {}).get("error"), SecretGiven) or "@" in given
    if secret or len(given) > 60 or isinstance(item.get("input"), dict | BaseModel):
        return f"{where}: {message}"
    return f"{where}: {message} (it is {given})"


def _keys_beside(location: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    """Return the keys that would have been right where an unknown one stands."""
    fields = model.model_fields
    for part in location[:-1]:
        if isinstance(part, int) or part not in fields:
            continue
        inner = _inner_model(fields[part].annotation)
        if inner is None:
            return []
        fields = inner.model_fields
    return list(fields)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None


def _comment(text: str) -> list[str]:
    return [f"# {line.strip()}".rstrip() for line in text.strip().splitlines()]


def _is_table(value: Any) -> bool:
    if isinstance(value, BaseModel | dict):
        return True
    return isinstance(value, list | tuple) and any(isinstance(i, BaseModel | dict) for i in value)


def _render_section(
    model: BaseModel, prefix: tuple[str, ...], lines: list[str], usual: object = None
) -> None:
    """Render ``model``; ``usual`` is the same section as it is when nobody sets anything."""
    tables: list[tuple[str, Any, str, object]] = []
    about_fields = meanings(type(model))
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        about = about_fields.get(name, "").replace("``", "'")
        default = getattr(usual, name, field.get_default(call_default_factory=False))
        if _is_table(value):
            tables.append((name, value, about, default))
            continue
        lines += _comment(about) if about else []
        if field.is_required() or default is PydanticUndefined or default is Ellipsis:
            lines.append("# Required.")
        elif default is not None and default != value and not _is_table(default):
            lines.append(f"# Default: {tomltext.value(default)}")
        lines.append(
            f"# {name} = ..."
            if value is None
            else f"{tomltext.key(name)} = {tomltext.value(value)}"
        )
        lines.append("")
    for name, value, about, default in tables:
        _render_table(value, (*prefix, name), about, lines, default)


def _render_table(
    value: Any, path: tuple[str, ...], about: str, lines: list[str], usual: object = None
) -> None:
    header = ".".join(tomltext.key(part) for part in path)
    if isinstance(value, list | tuple):
        for item in value:
            lines += [*_comment(about), f"[[{header}]]"]
            _render_content(item, path, lines)
        return
    lines += [*_comment(about), f"[{header}]"]
    _render_content(value, path, lines, usual)


def _render_content(
    value: Any, path: tuple[str, ...], lines: list[str], usual: object = None
) -> None:
    if isinstance(value, BaseModel):
        _render_section(value, path, lines, usual if isinstance(usual, type(value)) else None)
        return
    for name, item in value.items():
        if item is not None and not _is_table(item):
            lines.append(f"{tomltext.key(str(name))} = {tomltext.value(item)}")
    lines.append("")
    for name, item in value.items():
        if _is_table(item):
            _render_table(item, (*path, str(name)), "", lines)
