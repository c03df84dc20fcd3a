"""Bring an existing site's broker to the configuration that this version writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tomlkit

from protocol.textformats import parse_toml
from provisioning.authority.spread import spread
from provisioning.formats.opened import Site, SiteError
from provisioning.registrar import mosquitto
from runtime.fsio import atomic_write, read_file

_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BrokerChange:
    """What differs from the files that are there; None where nothing does.

    Args:
        config: the new ``mosquitto.conf``.
        aggregator: the new ``aggregator.toml``, with the port for headquarters.
    """

    config: str | None
    aggregator: str | None

    @property
    def any(self) -> bool:
        """Whether anything differs."""
        return self.config is not None or self.aggregator is not None


def before_of(path: Path) -> Path:
    """Return where what ``path`` held before is kept."""
    return path.with_name(f"{path.name}.before")


def broker_change(site: Site) -> BrokerChange:
    """Return what must change for the broker to have the rights and limits of this version.

    Raises:
        SiteError: the site has no Mosquitto, its folder is not here, or a file is damaged.
    """
    plan, paths = site.plan.broker, site.paths
    if plan.kind != "mosquitto":
        raise SiteError("the site has the embedded broker, which has no configuration of its own")
    if not paths.broker_config.exists():
        raise SiteError(f"{paths.broker} holds no broker; run this where the site's folder is")
    text = mosquitto.mosquitto_config(
        plan.listen_address,
        plan.port,
        plan.headquarters,
        site=site.plan.site,
        limits=mosquitto.BrokerLimits(max_message_bytes=plan.max_message_bytes),
    )
    same = read_file(paths.broker_config, _MAX_BYTES) == text.encode()
    return BrokerChange(None if same else text, _moved(site, plan.port, plan.headquarters))


def change_broker(site: Site, change: BrokerChange) -> list[Path]:
    """Write ``change``, keeping what was there before beside it; return the changed files.

    The access and revocation lists come first: a broker that restarts in between finds them.

    Raises:
        FileProblem: a file cannot be written.
    """
    changed = spread(site.paths, site.plan)
    for path, text in (
        (site.paths.broker_config, change.config),
        (site.paths.aggregator, change.aggregator),
    ):
        if text is not None:
            mode = path.stat().st_mode & 0o777
            atomic_write(before_of(path), read_file(path, _MAX_BYTES), mode)
            atomic_write(path, text.encode(), mode)
            changed.append(path)
    mosquitto.give_to_mosquitto(site.paths.broker)
    return changed


def _moved(site: Site, old: int, new: int) -> str | None:
    """Return ``aggregator.toml`` with the broker's other port, comments and all."""
    path = site.paths.aggregator
    if not path.exists():
        return None
    try:
        text = read_file(path, _MAX_BYTES).decode()
        port = parse_toml(text)["mqtt"]["port"]
    except (ValueError, LookupError, TypeError) as error:
        raise SiteError(f"{path} cannot be read: {error}; correct it") from error
    if port != old:
        return None
    document = tomlkit.parse(text)
    document["mqtt"]["port"] = new
    return tomlkit.dumps(document)
