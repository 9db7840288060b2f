"""What `ddpmcodec info` shows of a stream."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from ddpmcodec.api import read_header, read_info
from ddpmcodec.channel import default_memory
from ddpmcodec.header import TRELLIS
from ddpmcodec.models import read_model_info
from ddpmcodec.windows import canvas_size


def describe(data: bytes, model: str) -> dict[str, Any]:
    """Header fields always; steps too when `model` is the one the stream was made with."""
    header = read_header(data)
    values: dict[str, Any] = {
        "version": header.version,
        "fingerprint": header.fingerprint,
        "width": header.width,
        "height": header.height,
        "seed": header.seed,
        "bytes": len(data),
    }
    known = read_model_info(model)
    if not known.fingerprint.startswith(header.fingerprint):
        values["model"] = f"unknown (not {known.name}, {known.fingerprint[:8]}); give the sender's with --model"
        return values
    info = read_info(data, known)
    if header.channel is None:
        height, width = canvas_size(header.height, header.width, known.config.window)
        kind, parameter = TRELLIS, default_memory(known.config.image_channels * height * width)
    else:
        kind, parameter = header.channel
    values |= {
        "model": known.name,
        "channel": f"{'trellis' if kind == TRELLIS else 'orc'}:{parameter}",
        "complete": info.complete,
        "steps": info.steps,
        "plan_steps": info.plan.steps,
        "header_bytes": info.header_bytes,
        "payload_bytes": info.payload_bytes,
        "check_bytes": info.check_bytes,
        "real_bits_per_dim": round(8 * len(data) / (header.pixels * known.config.image_channels), 6),
        "log_snr": [round(level, 4) for level in info.plan.log_snr[: info.steps]],
        "channel_bits": [p.bits for p in info.packets],
        "step_bits": [round(b, 2) for b in info.step_bits],
        "cumulative_bits": [round(b, 2) for b in accumulate(info.step_bits)],
    }
    return values
