"""Fingerprint, a model's name for the header: a hash over everything that decides a stream or its pictures."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor


def fingerprint(tensors: dict[str, Tensor], config: dict[str, Any], curve: dict[str, Any]) -> str:
    """Return the SHA-256 of weights, configuration and error curve, in hexadecimal; weights are read in place, one
    after another.
    """
    digest = hashlib.sha256(canonical(config) + b"\n" + canonical(curve) + b"\n")
    for name in sorted(tensors):
        t = tensors[name].detach().contiguous().cpu()
        digest.update(f"{name} {t.dtype} {list(t.shape)}\n".encode())
        digest.update(t.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def canonical(values: dict[str, Any]) -> bytes:
    """Return JSON in the one form that is hashed and stored."""
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
