"""What every process of ours does before anything else: no library calls home, no core dumps.

Both must come early: libraries read their switches when they are loaded, and what a process holds
in memory (keys, templates) must not be written to a disk because it crashed a moment too soon.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",
    "OTEL_SDK_DISABLED": "true",
    "FASTAPI_OTEL_AUTO_CONFIGURE": "false",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}
"""What keeps libraries from reporting to somebody: onnxruntime to its maker, FastAPI to whatever
collector the environment names, pydantic to whatever plugin is installed beside it. What was looked
for and found is in docs/dependencies.md."""

MAX_PIXELS = 1 << 26
"""A picture of more pixels is not decoded: 64 million of them take 192 MiB, a small file or not."""

_BOUNDS = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS)}

_PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def begin() -> None:
    """Begin a process: silence libraries, leave no core dump.

    Raises:
        OSError: the kernel refuses, which it never does for what is asked here.
    """
    silence_libraries()
    prevent_core_dumps()


def silence_libraries() -> None:
    """Set the variables by which libraries are told to keep to themselves, for children too.

    And the one by which OpenCV is told how large a picture may be, before it makes room for it.

    Nobody may switch them off from outside: what stands in the environment is overwritten.
    """
    os.environ.update(SWITCHES | _BOUNDS)


def prevent_core_dumps() -> None:
    """Have the kernel write nothing of this process's memory to a disk when it crashes.

    The limit holds for children, and for core files. Where the kernel hands cores to a program
    (``core_pattern`` begins with ``|``) limits do not count, and only a process that is not
    "dumpable" is left alone; that also keeps other processes of the same user from reading its
    memory. It ends with each ``exec``, so worker processes call this themselves (prctl(2)).

    Raises:
        OSError: the kernel refuses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(
        _PR_SET_DUMPABLE, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)
    ):
        number = ctypes.get_errno()
        raise OSError(number, f"cannot forbid core dumps: {os.strerror(number)}")
