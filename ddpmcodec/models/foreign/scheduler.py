"""Configuration of a diffusers scheduler, read for what the network was trained on: which sampler it is makes no
difference.
"""

from __future__ import annotations

from typing import Any

from ddpmcodec.errors import ModelError
from ddpmcodec.models.foreign.folder import error_line
from ddpmcodec.models.times import DiscreteTimes, EdmTimes, FlowTimes, Times


def read_scheduler(diffusers: Any, values: dict[str, Any]) -> tuple[str, Times]:
    """Return what the network predicts, as `prediction` names it, and its times. Raises ModelError.

    values: a scheduler_config.json. Betas are computed by the scheduler that it names, so all of diffusers' own
    schedules are known: linear, scaled_linear, squaredcos_cap_v2, sigmoid, trained_betas, zero terminal SNR.
    """
    kind = str(values.get("_class_name"))
    # Before prediction_type there was predict_epsilon.
    predicts = values.get("prediction_type", "sample" if values.get("predict_epsilon") is False else "epsilon")
    if kind.startswith("FlowMatch"):
        if values.get("invert_sigmas"):
            raise ModelError(f"scheduler {kind} with invert_sigmas: expected a flow whose time 1 is noise")
        shift = 1.0 if values.get("use_dynamic_shifting") else values.get("shift", 1.0)
        return "flow_prediction", _flow(values, shift)
    if predicts == "flow_prediction":
        return predicts, _flow(values, values.get("flow_shift", 1.0))
    if kind.startswith("EDM"):
        names = {"epsilon": "edm", "v_prediction": "edm_v"}
        given = {k: float(values[k]) for k in ("sigma_min", "sigma_max", "sigma_data") if k in values}
        if predicts in names:
            return names[predicts], EdmTimes(**given)
    if predicts not in ("epsilon", "v_prediction", "sample"):
        raise ModelError(
            f"a network that predicts {predicts!r} (prediction_type): expected epsilon, v_prediction, sample or "
            "flow_prediction"
        )
    if values.get("timestep_type") == "continuous":
        raise ModelError(f"scheduler {kind} with continuous timesteps: expected numbered ones, a flow or EDM's")
    return predicts, DiscreteTimes(_betas(diffusers, kind, values))


def _flow(values: dict[str, Any], shift: Any) -> FlowTimes:
    return FlowTimes(values.get("num_train_timesteps", 1000), float(shift))


def _betas(diffusers: Any, kind: str, values: dict[str, Any]) -> tuple[float, ...]:
    try:
        betas = tuple(getattr(diffusers, kind).from_config(values).betas.double().tolist())
    except Exception as error:  # of any kind: no such scheduler, a package it needs is missing, values it can't use
        raise ModelError(
            f"scheduler {kind}: expected one with betas, as DDPMScheduler has; {error_line(error)}"
        ) from error
    return betas[:-1] if betas[-1:] == (1.0,) else betas  # zero terminal SNR: that timestep is pure noise, no level
