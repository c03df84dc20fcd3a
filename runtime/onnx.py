"""The one door to onnxruntime: silenced before it is loaded, and once more when it is.

Builds since 1.29 report to their maker unless ``ORT_DISABLE_TELEMETRY`` is set while they load:
then they make no look-up and keep no identifier of the machine. Their function alone comes too
late.
"""

from __future__ import annotations

from runtime.process import silence_libraries

__all__ = ["LOAD_ERRORS", "InferenceSession", "cpu_session"]

silence_libraries()

import onnxruntime  # noqa: E402, TID251 - only once it has been told to keep to itself
from onnxruntime import InferenceSession  # noqa: E402, TID251 - the same
from onnxruntime.capi import onnxruntime_pybind11_state as _state  # noqa: E402, TID251 - the same

LOAD_ERRORS: tuple[type[Exception], ...] = (
    _state.Fail,
    _state.InvalidArgument,
    _state.InvalidProtobuf,
)
"""What loading a file that is no model raises."""

onnxruntime.disable_telemetry_events()


def cpu_session(
    model: bytes | str, num_threads: int = 1, *, quiet: bool = True
) -> InferenceSession:
    """Load a model (its file's content, or its path) to be run on the CPU.

    The threads do not spin when idle; ``quiet`` leaves the library's own log lines out.

    Raises:
        Exception: it cannot be loaded; onnxruntime's errors share no other public base.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if quiet:
        options.log_severity_level = 4
    return InferenceSession(model, options, providers=["CPUExecutionProvider"])
