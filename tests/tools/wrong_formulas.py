"""Formulas of other people's models, made wrong one at a time: the tests of each must fail.

    python -m tests.tools.wrong_formulas [PART OF A NAME]

Prints which were noticed, and exits with 1 where one wasn't. Some minutes; not part of the suite.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pkgutil
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ddpmcodec import models

_PREDICTION, _TIMES, _SPACE = "models.prediction", "models.times", "models.foreign.autoencoder"
_NETWORK, _UNETS, _TRANSFORMERS = (f"models.foreign.{m}" for m in ("network", "unets", "diffusion_transformers"))
_SCHEDULER, _AUTOENCODER = "models.foreign.scheduler", "models.foreign.autoencoder_config"


@dataclass(frozen=True)
class Wrong:
    """Function of ddpmcodec's `module` in which `right` becomes `wrong`, and the test files that are to notice."""

    module: str
    function: str
    right: str
    wrong: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.module}.{self.function}: {self.right}  ->  {self.wrong}"


def _all(tests: str, module: str, *changes: tuple[str, str, str]) -> list[Wrong]:
    files = tuple(f"tests/models/test_{name}.py" for name in tests.split())
    return [Wrong(module, *change, files) for change in changes]


WRONG = [
    *_all(  # what the network predicts
        "prediction diffusers_adapter",
        _PREDICTION,
        ("eps_from_eps", "return output", "return -output"),
        ("eps_from_v", "output + sigma", "output - sigma"),
        (
            "eps_from_v",
            "alpha, sigma = _alpha(log_snr), _alpha(-log_snr)",
            "sigma, alpha = _alpha(log_snr), _alpha(-log_snr)",
        ),
        ("eps_from_x0", "x_t - alpha", "x_t + alpha"),
        ("eps_from_flow", ") + (1", ") - (1"),
        ("eps_from_flow", "(1 - flow_time(_wide(log_snr)))", "flow_time(_wide(log_snr))"),
        ("flow_time", "-log_snr / 2", "log_snr / 2"),
        ("flow_state", "+ s**2", "- s**2"),
        ("eps_from_edm", "x + noise", "x - noise"),
        ("eps_from_edm", "noise**2 + sigma_data**2", "noise**2 - sigma_data**2"),
        ("eps_from_edm", "x - denoised", "denoised - x"),
        ("eps_from_edm", "-_wide(log_snr) / 2", "_wide(log_snr) / 2"),
        ("eps_from_edm_v", "-output", "output"),
        ("edm_state", "noise**2 + sigma_data**2", "noise**2 - sigma_data**2"),
        ("edm_state", "/ _alpha(log_snr)", "* _alpha(log_snr)"),
    ),
    *_all(  # which time it is told, and which levels it knows
        "prediction diffusers_adapter",
        _TIMES,
        ("DiscreteTimes.of", "nearest(level) - 1", "nearest(level)"),
        ("FlowTimes.of", "flow_time(log_snr)", "flow_time(-log_snr)"),
        ("FlowTimes._log_snr", "self.shift - 1", "self.shift + 1"),
        ("FlowTimes._log_snr", "(1 - shifted) / shifted", "shifted / (1 - shifted)"),
        ("EdmTimes.of", "-log_snr / 8", "log_snr / 8"),
        ("EdmTimes.limits", "-2 * math.log(n)", "2 * math.log(n)"),
    ),
    *_all(
        "diffusers_adapter",
        _SCHEDULER,
        ("read_scheduler", '"epsilon": "edm", "v_prediction": "edm_v"', '"epsilon": "edm_v", "v_prediction": "edm"'),
        ("read_scheduler", 'values.get("flow_shift", 1.0)', "1.0"),
        ("read_scheduler", 'get("predict_epsilon") is False', 'get("predict_epsilon") is True'),
        ("_betas", "betas[:-1] if", "betas if"),
    ),
    *_all(  # learned variances, precision
        "diffusers_adapter prediction",
        _NETWORK,
        ("ToldEps._predicted", ": seen.shape[1]]", "-seen.shape[1] :]"),
    ),
    *_all(  # conditions
        "conditions texts",
        _NETWORK,
        ("ToldEps.__call__", "free + self.guidance", "free - self.guidance"),
        ("ToldEps.__call__", "(output - free)", "(free - output)"),
        ("DiffusersEps.told", "condition.guidance / 100", "condition.guidance"),
    ),
    *_all(
        "conditions",
        _UNETS,
        ("UNet2D.tell", "label_of(condition, self._classes(network))", "label_of(Condition(label=0), 1)"),
    ),
    *_all(
        "texts",
        _UNETS,
        (
            "UNet2DCondition.tell",
            "said if condition.prompt else unsaid, unsaid",
            "unsaid if condition.prompt else said, unsaid",
        ),
        ("UNet2DCondition.tell", "side, side, 0.0, 0.0, side, side", "0.0, 0.0, side, side, side, side"),
        ("UNet2DCondition.tell", "factor * self.window", "self.window"),
        ("UNet2DCondition.tell", "text, nothing, pooled, free =", "nothing, text, pooled, free ="),
        ("UNet2DCondition.tell", "text, nothing, pooled, free =", "text, nothing, free, pooled ="),
    ),
    *_all(
        "conditions",
        _TRANSFORMERS,
        ("DiT.tell", "Condition(label=classes)", "Condition(label=classes - 1)"),
        ("DiT.predict", "timestep=t", "timestep=t + 1"),
    ),
    *_all(
        "texts",
        _TRANSFORMERS,
        ("SD3.tell", "text, nothing, pooled, free =", "nothing, text, pooled, free ="),
        ("SD3.tell", "text, nothing, pooled, free =", "text, nothing, free, pooled ="),
        ("SD3.predict", "timestep=t", "timestep=t / 1000"),
        ("Flux.tell", "said, unsaid = told", "unsaid, said = told"),
        ("Flux.tell", "condition.guidance / 100", "condition.guidance"),
        ("Flux.predict", "t / 1000", "t"),
        ("Flux.predict", "ids[..., 1] = torch.arange(rows)[:, None]", "ids[..., 1] = torch.arange(columns)[None, :]"),
        ("Flux.predict", "permute(0, 2, 4, 1, 3, 5)", "permute(0, 2, 4, 3, 5, 1)"),
        ("Flux.predict", "permute(0, 3, 1, 4, 2, 5)", "permute(0, 3, 1, 5, 2, 4)"),
    ),
    *_all(  # latents
        "latents",
        _SPACE,
        ("Latents._encoded", "z - self._shift", "z + self._shift"),
        ("Latents._encoded", "* self._scale", "/ self._scale"),
        ("Latents._encoded", "latent_dist.mode()", "latent_dist.sample()"),
        ("Latents.of_pictures", 'mode="edge"', 'mode="constant"'),
        ("Latents._decoded", "+ self._shift", "- self._shift"),
        ("Latents._decoded", "/ self._scale", "* self._scale"),
    ),
    *_all(
        "latents",
        _AUTOENCODER,
        ("latent_scale", '!= "AutoencoderTiny"', '== "AutoencoderTiny"'),
        ("latent_scale", '"scaling_factor"', '"latent_magnitude"'),
        ("latent_shift", '"shift_factor"', '"latent_shift"'),
        ("autoencoder_factor", "len(_widths(values)) - 1", "len(_widths(values))"),
    ),
]


@contextlib.contextmanager
def made(wrong: Wrong) -> Iterator[None]:
    """Put a wrong formula in its place, for the while. Raises ValueError where the source has changed."""
    module = importlib.import_module(f"ddpmcodec.{wrong.module}")
    *classes, name = wrong.function.split(".")
    owner = getattr(module, classes[0]) if classes else module
    right = vars(owner)[name]
    source = textwrap.dedent(inspect.getsource(right.fget if isinstance(right, property) else right))
    if wrong.right not in source:
        raise ValueError(f"{wrong.name}: not found")
    found = dict[str, object]()
    exec(f"from __future__ import annotations\n{source.replace(wrong.right, wrong.wrong)}", vars(module), found)
    _exchange(owner, right, found[name])
    try:
        yield
    finally:
        _exchange(owner, found[name], right)


def _exchange(owner: object, old: object, new: object) -> None:
    """Put one function in the place of another: in its owner, and wherever it was imported by name, tests included
    (a test file that was imported before would go on asking the right one, and one imported since the wrong one).
    """
    imported = [m for name, m in list(sys.modules.items()) if name.split(".")[0] in ("ddpmcodec", "tests")]
    for place in [owner, *imported]:
        for name in [name for name, value in vars(place).items() if value is old]:
            setattr(place, name, new)


def noticed(tests: tuple[str, ...]) -> bool:
    """Return whether a test fails: an error while fixtures are made counts, an interrupted run doesn't."""
    for file in tests:
        with contextlib.redirect_stdout(io.StringIO()):
            code = pytest.main([file, "-x", "-q", "-p", "no:cacheprovider"])
        if code == pytest.ExitCode.TESTS_FAILED:
            return True
        if code != pytest.ExitCode.OK:
            raise RuntimeError(f"{file}: pytest ended with {code!r}")
    return False


def main(part: str = "") -> None:
    for found in pkgutil.walk_packages(models.__path__, "ddpmcodec.models."):  # none is imported while one is wrong
        importlib.import_module(found.name)
    chosen = [wrong for wrong in WRONG if part in wrong.name]
    missed = 0
    for wrong in chosen:
        start = time.perf_counter()
        with made(wrong):
            found = noticed(wrong.tests)
        missed += not found
        print(f"{'noticed' if found else 'MISSED '} {time.perf_counter() - start:5.1f} s  {wrong.name}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} noticed")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main(*sys.argv[1:])
