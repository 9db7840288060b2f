"""What is trained, and how: presets of architecture and optimisation, stored with every checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ddpmcodec.diffusion.schedule import NoiseSchedule, named
from ddpmcodec.errors import TrainingError
from ddpmcodec.models.unet_config import UNetConfig

OBJECTIVES = ("vlb", "simple")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training trajectory besides the data and the network's architecture."""

    objective: str = "vlb"  # vlb: log-SNR uniform and stratified, plain ε-MSE; simple: the paper's L_simple, t uniform
    schedule: str = "linear"  # simple only: the discrete chain whose timesteps are drawn
    timesteps: int = 1000  # simple only
    batch: int = 128  # of one process
    lr: float = 1e-3
    warmup: int = 200  # steps of linearly rising learning rate
    decay: bool = True  # cosine from lr to lr / 100 at the end of training; False: constant
    beta2: float = 0.99
    weight_decay: float = 0.01
    clip: float = 1.0  # gradient norm
    ema: float = 0.999  # half-life of ln 2 / (1 - ema) steps; shorter at the start of training
    seed: int = 0
    bf16: bool = False  # autocast; weights, averages and losses stay in float32

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise TrainingError(f"objective {self.objective!r}: expected one of {', '.join(OBJECTIVES)}")
        if self.batch < 1 or self.warmup < 0 or not 0 <= self.seed < 1 << 63:
            raise TrainingError("batch must be at least 1, warmup at least 0, seed from 0 to 2^63 - 1")
        if not 0 < self.lr <= 1 or not 0 <= self.ema < 1 or self.clip <= 0 or self.weight_decay < 0 or not 0 <= self.beta2 < 1:
            raise TrainingError("lr must lie in (0, 1], ema and beta2 in [0, 1), clip above 0, weight decay from 0")
        self.noise_schedule()  # raises for a bad name or length

    def noise_schedule(self) -> NoiseSchedule:
        """The discrete chain of the simple objective."""
        return named(self.schedule, self.timesteps)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Goal:
    """Where a run ends; the learning rate falls towards it. Exactly one is given."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.steps, self.minutes) if v is not None]
        if len(given) != 1 or not given[0] > 0:
            raise TrainingError("expected a positive number of steps or of minutes, one of the two")

    def progress(self, step: int, seconds: float) -> float:
        """Part of the run that is done, 1 at its end."""
        return step / self.steps if self.steps is not None else seconds / 60 / (self.minutes or 1.0)


@dataclass(frozen=True)
class Preset:
    """A network and the recipe that suits it."""

    network: UNetConfig
    recipe: Recipe


def _paper() -> Preset:
    """Ho et al. 2020, appendix B: 35.7 M parameters, T = 1000, linear beta, L_simple, Adam 2e-4, batch 128, EMA 0.9999."""
    recipe = Recipe(objective="simple", lr=2e-4, warmup=5000, decay=False, beta2=0.999, weight_decay=0.0, ema=0.9999)
    levels = recipe.noise_schedule().log_snrs
    network = UNetConfig(
        channels=(128, 256, 256, 256),
        blocks=2,
        attention_levels=(1,),
        heads=1,
        groups=32,
        embedding=512,
        frequencies=64,
        min_log_snr=float(levels[-1]),
        max_log_snr=float(levels[0]),
        dropout=0.1,
        scale=False,
    )
    return Preset(network, recipe)


def presets() -> dict[str, Preset]:
    """By name: `cifar10-small` (what the package embeds), `cifar10-base` (for a GPU), `ddpm-paper` (the paper's setting)."""
    base = UNetConfig(channels=(96, 160, 224), blocks=2, attention_levels=(1, 2), groups=32, embedding=384, knots=36)
    return {
        "cifar10-small": Preset(UNetConfig(middle_blocks=4, knots=36), Recipe(batch=64)),
        "cifar10-base": Preset(base, Recipe(batch=512, lr=8e-4, warmup=500, ema=0.9995, bf16=True)),
        "ddpm-paper": _paper(),
    }


def preset(name: str, network: dict[str, Any] | None = None, recipe: dict[str, Any] | None = None) -> Preset:
    """A preset by name, with some fields replaced. Raises TrainingError for an unknown name or a bad value."""
    known = presets()
    if name not in known:
        raise TrainingError(f"preset {name!r}: expected one of {', '.join(known)}")
    found = known[name]
    chosen = replace(found.recipe, **(recipe or {}))
    changed = replace(found.network, **(network or {}))
    if chosen.objective == "simple":
        levels = chosen.noise_schedule().log_snrs  # the network is asked at the chain's own levels only
        changed = replace(changed, min_log_snr=float(levels[-1]), max_log_snr=float(levels[0]))
    return Preset(changed, chosen)
