"""The systemd units that keep a box enrolled: unseal its keys at start, renew its certificate."""

from __future__ import annotations

SEALTRACE = "/opt/sealtrace/bin/sealtrace"
BOX_FOLDER = "/var/lib/sealtrace/box"
EDGE_UNIT = "sealtrace-edge.service"
UNSEAL_UNIT = "sealtrace-keys.service"
RENEW_UNIT, RENEW_TIMER = "sealtrace-renew.service", "sealtrace-renew.timer"


def units(command: str = SEALTRACE, folder: str = BOX_FOLDER) -> dict[str, str]:
    """Return unit file names and texts.

    They run as root, for the TPM and for restarting the agent, and hand what they write to the
    user whose folder it is.
    """
    return {
        UNSEAL_UNIT: f"""\
[Unit]
Description=Sealtrace: put this box's keys into memory
ConditionPathExists={folder}/box.toml
Before={EDGE_UNIT} {RENEW_UNIT}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command} box unseal --folder {folder}
RuntimeDirectory=sealtrace
RuntimeDirectoryPreserve=yes
UMask=0077

[Install]
WantedBy=multi-user.target
RequiredBy={EDGE_UNIT}
""",
        RENEW_UNIT: f"""\
[Unit]
Description=Sealtrace: renew this box's certificate when it is due, fetch its configuration
Wants=network-online.target
After=network-online.target time-sync.target
ConditionPathExists={folder}/box.toml

[Service]
Type=oneshot
ExecStart={command} box renew --if-due --folder {folder} --restart {EDGE_UNIT}
UMask=0077
""",
        RENEW_TIMER: """\
[Unit]
Description=Sealtrace: renew this box's certificate in time

[Timer]
OnBootSec=10min
OnUnitActiveSec=6h
RandomizedDelaySec=30min

[Install]
WantedBy=timers.target
""",
    }
