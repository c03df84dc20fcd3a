"""Averaged weights of networks that are trained here. Only training scripts import this.

Needs PyTorch, which the agent itself does not.
"""

from __future__ import annotations

from typing import Any

import torch


def average_into(average: Any, net: Any, decay: float) -> None:
    """Move the weights of ``average`` towards those of ``net``, by 1 - ``decay``, in place."""
    with torch.no_grad():
        for slow, fast in zip(
            average.state_dict().values(), net.state_dict().values(), strict=True
        ):
            if slow.dtype.is_floating_point:
                slow.mul_(decay).add_(fast, alpha=1 - decay)
            else:
                slow.copy_(fast)
