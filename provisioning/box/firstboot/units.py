"""The systemd units that keep a box admitted: unseal its keys at start, renew its certificate."""

from __future__ import annotations

SEALTRACE = "/opt/sealtrace/bin/sealtrace"
BOX_FOLDER = "/var/lib/sealtrace/box"
SEALED_IDENTITY = "identity.tpm"
"""The identity key as the TPM sealed it; it is there when the TPM holds the keys."""
EDGE_UNIT = "sealtrace-edge.service"
UNSEAL_UNIT = "sealtrace-keys.service"
RENEW_UNIT, RENEW_TIMER = "sealtrace-renew.service", "sealtrace-renew.timer"


def hardening(
    memory: str = "1G", *, capabilities: str = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER"
) -> str:
    """Return the lines that every unit of a box shares beside the agent's, which has its own.

    These units run as root: they give files to the agent's user and use the TPM, so its device and
    those capabilities stay, and there is no ``ProtectClock``, which would shut devices out.

    Args:
        memory: the most that they may use, with room (docs/operations.md).
        capabilities: what of root's rights stays.
    """
    return f"""\
NoNewPrivileges=yes
ProtectHome=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
CapabilityBoundingSet={capabilities}
UMask=0022
# Nothing of this process on a disk: no core dumps, no swap.
LimitCORE=0
MemorySwapMax=0
MemoryMax={memory}
LimitNOFILE=1024
TasksMax=256
Environment=ORT_DISABLE_TELEMETRY=1
"""


def units(command: str = SEALTRACE, folder: str = BOX_FOLDER) -> dict[str, str]:
    """Return unit file names and texts.

    They run as root, for the TPM and for restarting the agent, and hand what they write to the
    user whose folder it is.
    """
    return {
        UNSEAL_UNIT: f"""\
[Unit]
Description=Sealtrace: put this box's keys into memory
# Keys in files are where the agent reads them: nothing to start, seconds of each boot.
ConditionPathExists={folder}/{SEALED_IDENTITY}
Before={EDGE_UNIT} {RENEW_UNIT}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command} box unseal --folder {folder}
RuntimeDirectory=sealtrace
RuntimeDirectoryPreserve=yes
ProtectSystem=strict
ReadWritePaths={folder}
{hardening("512M")}\
# It speaks to nobody.
IPAddressDeny=any
UMask=0077

[Install]
WantedBy=multi-user.target
RequiredBy={EDGE_UNIT}
""",
        RENEW_UNIT: f"""\
[Unit]
Description=Sealtrace: renew this box's certificate when it is due, fetch its configuration
After=time-set.target
ConditionPathExists={folder}/box.toml
StartLimitIntervalSec=0

[Service]
Type=oneshot
# Without a network it fails and is tried again; a certificate is due days before it ends.
Restart=on-failure
RestartSec=10min
ExecStart={command} box renew --if-due --folder {folder} --restart {EDGE_UNIT}
ProtectSystem=strict
ReadWritePaths={folder} -/run/sealtrace
{hardening("512M")}\
UMask=0077
""",
        RENEW_TIMER: """\
[Unit]
Description=Sealtrace: renew this box's certificate in time

[Timer]
OnActiveSec=10min
OnUnitActiveSec=6h
RandomizedDelaySec=30min

[Install]
WantedBy=timers.target
""",
    }
