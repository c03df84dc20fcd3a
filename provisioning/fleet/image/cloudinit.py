"""Writes cloud-init's NoCloud documents: user-data, network-config and meta-data.

The text comes from a YAML library, so that no value can break out of its place. Source: the
documentation of cloud-init's NoCloud data source and of its network configuration version 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import yaml

from provisioning.fleet.image.errors import ImageError
from provisioning.fleet.image.firstboot_files import (
    CARD_SCRIPT_PATH,
    CARD_UNIT,
    SERVICE_USER,
    SystemFile,
)
from provisioning.fleet.image.settings import SystemSettings

HEADER = "#cloud-config\n"
_LOGIN_SHELL = "/bin/bash"
_MAX_BYTES = 1 << 20
_MAX_DEPTH, _MAX_PARTS = 12, 20_000
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that a person can read them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def user_data(settings: SystemSettings, files: Sequence[SystemFile], *, raspberry: bool) -> str:
    """Return the user-data: users, files, and what is started at the first boot.

    Passwords are off for everybody; who is given no SSH key cannot log in at all.

    Args:
        raspberry: the image has Raspberry Pi OS's question for a user, which is turned off.
    """
    users: list[dict[str, Any]] = [
        {
            "name": SERVICE_USER,
            "gecos": "Sealtrace agent",
            "system": True,
            "no_create_home": True,
            "homedir": "/var/lib/sealtrace",
            "shell": "/usr/sbin/nologin",
            "groups": ["video"],
            "lock_passwd": True,
        }
    ]
    if settings.ssh_keys:
        users.append(
            {
                "name": settings.login,
                "gecos": "Installer",
                "shell": _LOGIN_SHELL,
                "groups": ["adm", "sudo", "video"],
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": list(settings.ssh_keys),
            }
        )
    commands: list[list[str]] = []
    if raspberry:
        commands.append(_try("systemctl disable --now userconfig.service"))
    if settings.ssh_keys:
        commands.append(_try("systemctl enable --now ssh.service"))
    if settings.ntp:
        commands.append(_try("systemctl try-restart systemd-timesyncd.service"))
    commands += [
        _try(f"{CARD_SCRIPT_PATH} mount"),
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", CARD_UNIT],
        ["systemctl", "enable", "sealtrace-first-boot.service"],
        ["systemctl", "start", "--no-block", "sealtrace-first-boot.service"],
    ]
    values: dict[str, Any] = {
        "hostname": settings.hostname,
        "manage_etc_hosts": True,
        "timezone": settings.timezone,
        "locale": "false",  # stays as it is: images without `locales` end in an error else
        "ssh_pwauth": False,
        "disable_root": True,
        "users": users,
        "write_files": [
            {
                "path": file.path,
                "owner": "root:root",
                "permissions": f"{file.mode:04o}",
                "content": file.text,
            }
            for file in files
        ],
        "runcmd": commands,
    }
    if not settings.wheels:
        values |= {"package_update": True, "packages": ["openssl", "python3-venv"]}
    return HEADER + _dump(values)


def network_config(settings: SystemSettings, *, raspberry: bool) -> str:
    """Return the network configuration: every cable by DHCP, and the wireless network if any.

    Raises:
        ImageError: a wireless network was asked for where its device has no known name.
    """
    # Only a cable beside a wireless network is optional: where all are, systemd-networkd waits for
    # two minutes and gives up, at every boot of whatever waits for the network.
    wired: dict[str, Any] = {"dhcp4": True, "dhcp6": True}
    if settings.wifi is not None:
        wired["optional"] = True
    if raspberry:
        network: dict[str, Any] = {"version": 2, "ethernets": {"eth0": wired}}
    else:
        wired = {"match": {"name": "e*"}, **wired}
        network = {"version": 2, "ethernets": {"cable": wired}}
    if settings.wifi is not None:
        if not raspberry:
            raise ImageError(
                "--wifi works with Raspberry Pi OS only, where the device is always wlan0; connect "
                "this box by cable"
            )
        access = {"password": settings.wifi.key} if settings.wifi.key else {}
        network["wifis"] = {
            "wlan0": {
                "dhcp4": True,
                "dhcp6": True,
                "regulatory-domain": settings.wifi.country,
                "access-points": {settings.wifi.ssid: access},
            }
        }
    return _dump({"network": network})


def meta_data(instance: str, settings: SystemSettings) -> str:
    """Return the meta-data.

    Args:
        instance: cloud-init does its first-boot work once for each value of it.
    """
    return _dump({"dsmode": "local", "instance-id": instance, "local-hostname": settings.hostname})


def instance_id(box: str, documents: Sequence[str]) -> str:
    """Return an instance id that changes when any of ``documents`` does, and tells none of them."""
    digest = hashlib.sha256("\0".join(documents).encode()).hexdigest()
    return f"sealtrace-{box}-{digest[:16]}"


def read_instance_id(document: str) -> str:
    """Return the instance id in a meta-data that `meta_data` wrote."""
    return str(_texts_in(document.encode())["instance-id"])


def written_files(document: bytes) -> dict[str, str]:
    """Return path and text of the files that a user-data writes.

    Raises:
        ImageError: it is not the user-data of a Sealtrace image.
    """
    try:
        values: Any = _texts_in(document)
        listed = [(file["path"], file["content"]) for file in values["write_files"]]
        if not all(isinstance(part, str) for file in listed for part in file):
            raise TypeError("a file is not a text")  # noqa: TRY301 - told as the others below
        return dict(listed)
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError):
        raise ImageError(
            "the user-data on the boot partition is not that of a Sealtrace image; build the image "
            "with `sealtrace image build`"
        ) from None


def _texts_in(document: bytes) -> Any:
    """Return maps, lists and texts of a document of ours, for what its size costs.

    Every scalar is a text, so that none is taken for a number, whose spelling to the base of sixty
    costs the square of its length. Nothing is built before the whole has been looked through: no
    anchors, few parts, not deep. libyaml reads a hundred times faster than Python, where it is.

    Raises:
        ValueError: it is too large, too deep, or has too many parts or an anchor.
        yaml.YAMLError: it is not YAML.
    """
    if len(document) > _MAX_BYTES:
        raise ValueError("it is too large")
    depth = 0
    for count, event in enumerate(yaml.parse(document, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH or count > _MAX_PARTS or getattr(event, "anchor", None) is not None:
            raise ValueError("it has too many parts, or they refer to one another")
    return yaml.load(document, Loader=_Loader)  # noqa: S506 - builds maps, lists and texts alone


def _dump(values: dict[str, Any]) -> str:
    text: str = yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return text


def _try(command: str) -> list[str]:
    """Return a command whose failure (a service that this system has not) stops nothing."""
    return ["sh", "-c", f"{command} || true"]
