"""Devices by name, refused before anything is moved to them."""

from __future__ import annotations

import torch

from ddpmcodec.errors import ModelError


def usable_device(device: str | torch.device) -> torch.device:
    """Return a device that is there. Raises ModelError."""
    try:
        where = torch.device(device)
        torch.zeros(1, device=where).item()  # not on "meta", which computes nothing
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise ModelError(f"device {str(device)!r} can't be used here: {str(error).splitlines()[0]}") from error
    return where
