"""Coding with the trained weights: the plan, ideal and real rates of small test pictures, and pictures a second."""

from __future__ import annotations

import time
from typing import Any

from ddpmcodec.diffusion.plan import DEFAULT_STEPS
from ddpmcodec.eval.gpu.checks import peak_memory
from ddpmcodec.eval.gpu.clock import Setting
from ddpmcodec.eval.gpu.pictures import sources, unseen_pictures
from ddpmcodec.eval.gpu.weights import join_parts
from ddpmcodec.eval.rd.curves import rate_at
from ddpmcodec.eval.rd.measurement import Measurement
from ddpmcodec.eval.rd.results import Options
from ddpmcodec.models import CodecModel, load_model, measure_curve, save_model
from ddpmcodec.models.source import open_network
from ddpmcodec.training import TrainingImages

NAME = "cifar10-small"
RMSES = (12.0, 0.951)


def measure_rates(setting: Setting) -> None:
    """Measure what training sent home, else the embedded model: files of a few pictures, then ideal rates of many, then
    files of those.
    """
    model, origin = codec(setting)
    found: dict[str, Any] = {"model": origin, "plan_steps": model.plan(4 if setting.small else None).steps}
    setting.report(found)
    # The first ones are what is left should the time not do for the last.
    few, many = (2, 2) if setting.small else (128, 1000)
    parts: list[tuple[tuple[str, ...], int]] = [(("trellis",), few), ((), many), (("trellis",), many)]
    for channels, count in parts:
        pictures = unseen_pictures(setting.data, count)
        options = Options(4 if setting.small else None, channels)
        directory = setting.scratch / f"rd-{count}"  # where the ideal rates are found again
        start = time.perf_counter()
        with peak_memory(setting.device) as memory:
            measurement = Measurement(model, pictures, options, directory)
            measurement.measure()
        seconds = time.perf_counter() - start
        result = measurement.result()
        speed = {"pictures": len(pictures), "seconds": seconds, "pictures_a_second": len(pictures) / seconds}
        found[f"{'real' if channels else 'ideal'}-{len(pictures)}"] = speed | memory | {"bits_per_dim": _rates(result)}
        setting.report(found)


def codec(setting: Setting) -> tuple[CodecModel, str]:
    """Return the newest weights with their plan, measured on training pictures, and where they come from."""
    trained = [p for p in join_parts(setting.output) if p.stem == NAME]
    if not trained:
        return load_model(NAME, setting.device), "embedded"
    source = open_network(str(trained[0]))
    config = source.config
    images = TrainingImages(sources(setting.data, config.window, photos=False).training, config.window, seed=0)
    count = 2 if setting.small else min(200, len(images))
    curve = measure_curve(
        source.network.to(setting.device),
        images.batch(0, count),
        min_log_snr=config.min_log_snr,
        max_log_snr=config.max_log_snr,
        spacing=1.0 if setting.small else 0.25,
        device=setting.device,
        plans=(DEFAULT_STEPS,),  # the one that is used: placing all of them takes minutes
    )
    path = setting.scratch / "codec.safetensors"
    save_model(path, source.network, curve, NAME, source.note, config)
    return load_model(path, setting.device), "trained today"


def _rates(result: dict[str, Any]) -> dict[str, Any]:
    """Return each curve's bits/dim at the RMSEs that the project states."""
    return {
        name: {kind: [rate_at(curve, kind, rmse) for rmse in RMSES] for kind in curve if kind.endswith("bits_per_dim")}
        for name, curve in result["curves"].items()
    }
