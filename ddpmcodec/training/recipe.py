"""Recipes: what is trained, and how. Presets of architecture and optimisation, stored with every checkpoint."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ddpmcodec.diffusion.schedule import NoiseSchedule, named
from ddpmcodec.errors import TrainingError
from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.models.unet_config import UNetConfig

OBJECTIVES = ("vlb", "simple")

NetworkToTrain = UNetConfig | ConvUNetConfig


@dataclass(frozen=True)
class View:
    """Crops of one kind that every step holds: as the codec will look at pictures at these levels.

    At noisy levels the codec shows the network a picture of 1/factor of the size, so crops are scaled down for it, and
    the levels are those of the full picture: what the network is asked at is 2 ln(factor) cleaner.
    """

    side: int  # the crop's, after scaling down
    factor: int  # pixels that are averaged, each way
    count: int  # crops of this kind in a step of one process
    min_log_snr: float
    max_log_snr: float

    def __post_init__(self) -> None:
        if min(self.side, self.factor, self.count) < 1 or not self.min_log_snr < self.max_log_snr:
            raise TrainingError(f"{self}: expected a side, factor and count of at least 1, and rising log-SNRs")

    @property
    def levels(self) -> tuple[float, float]:
        """Return the log-SNRs that the network is asked at."""
        cleaner = 2 * math.log(self.factor)
        return self.min_log_snr + cleaner, self.max_log_snr + cleaner


@dataclass(frozen=True)
class Recipe:
    """Recipe: everything that decides a training trajectory besides the data and the network's architecture."""

    objective: str = "vlb"  # vlb: log-SNR uniform and stratified, plain ε-MSE; simple: the paper's L_simple, t uniform
    schedule: str = "linear"  # simple only: the discrete chain whose timesteps are drawn
    timesteps: int = 1000  # simple only
    batch: int = 128  # crops in a step of one process; with views, the sum of their counts
    views: tuple[View, ...] = ()  # none: crops of the network's window, at all its levels
    tilt: float = 0.0  # a crop's loss counts exp(-tilt·λ) times: what is above 0 moves effort to noisy levels
    muon: bool = True  # for the convolutions between features; False: AdamW for all
    muon_lr: float = 0.01
    lr: float = 1e-3  # AdamW's
    warmup: int = 200  # steps of linearly rising learning rate
    decay: bool = True  # cosine from lr to lr / 100 at the end of training; False: constant
    beta2: float = 0.99
    weight_decay: float = 0.01
    clip: float = 1.0  # gradient norm
    ema: tuple[float, ...] = (0.999,)  # averages of the weights, each with a half-life of ln 2 / (1 - ema) steps
    seed: int = 0
    bf16: bool = False  # autocast; weights, averages and losses stay in float32

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise TrainingError(f"objective {self.objective!r}: expected one of {', '.join(OBJECTIVES)}")
        if self.batch < 1 or self.warmup < 0 or not 0 <= self.seed < 1 << 63:
            raise TrainingError("batch must be at least 1, warmup at least 0, seed from 0 to 2^63 - 1")
        if not (0 < self.lr <= 1 and 0 < self.muon_lr <= 1) or self.clip <= 0 or self.weight_decay < 0:
            raise TrainingError("lr and muon_lr must lie in (0, 1], clip above 0, weight decay from 0")
        averages = self.ema if isinstance(self.ema, tuple) else ()
        if not averages or len(set(averages)) < len(averages) or not all(0 <= v < 1 for v in (*averages, self.beta2)):
            raise TrainingError("ema must be one or more different numbers in [0, 1), beta2 in [0, 1)")
        if not 0 <= self.tilt <= 1:
            raise TrainingError(f"tilt={self.tilt}: expected 0 to 1")
        if self.views and (self.objective != "vlb" or sum(v.count for v in self.views) != self.batch):
            counts = [v.count for v in self.views]
            raise TrainingError(
                f"views of {counts} crops: expected the vlb objective, and the batch's {self.batch} in all"
            )
        self.noise_schedule()  # raises for a bad name or length

    def noise_schedule(self) -> NoiseSchedule:
        """Return the discrete chain of the simple objective."""
        return named(self.schedule, self.timesteps)

    def with_batch(self, batch: int) -> Recipe:
        """Return the same mixture of views in batches of another size. Raises TrainingError when that would take
        parts of crops.
        """
        if any(v.count * batch % self.batch for v in self.views) or batch < 1:
            whole = self.batch // math.gcd(self.batch, *(v.count for v in self.views))
            raise TrainingError(
                f"batches of {batch} crops: expected a multiple of {whole}, which shares out among the views"
            )
        views = tuple(replace(v, count=v.count * batch // self.batch) for v in self.views)
        return replace(self, batch=batch, views=views)

    def views_of(self, network: NetworkToTrain) -> tuple[View, ...]:
        """Return the crops of a step as views, whether or not the recipe names any."""
        whole = View(network.window, 1, self.batch, network.min_log_snr, network.max_log_snr)
        return self.views or (whole,)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Return a recipe from what a checkpoint stores. Raises TypeError or TrainingError for what is none."""
        given = dict(values)
        given["views"] = tuple(View(**v) for v in given.get("views", ()))
        given["ema"] = tuple(given.get("ema", cls.ema))
        return cls(**{f.name: given.pop(f.name) for f in fields(cls) if f.name in given}, **given)


@dataclass(frozen=True)
class Goal:
    """Goal of a run: where it ends, with the learning rate falling towards it. Exactly one is given."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.steps, self.minutes) if v is not None]
        if len(given) != 1 or not given[0] > 0:
            raise TrainingError("expected a positive number of steps or of minutes, one of the two")

    def progress(self, step: int, seconds: float) -> float:
        """Return the part of the run that is done, 1 at its end."""
        return step / self.steps if self.steps is not None else seconds / 60 / (self.minutes or 1.0)


@dataclass(frozen=True)
class Preset:
    """Network and the recipe that suits it."""

    network: NetworkToTrain
    recipe: Recipe


# Coarse steps of the codec see the picture at 1/2 … 1/8 of its size; large crops, so that edges aren't everywhere.
_PHOTO_VIEWS = (
    View(64, 1, 10, -5.0, 5.0),
    View(128, 1, 1, -5.0, 5.0),
    View(64, 2, 2, -6.0, 1.5),
    View(64, 4, 2, -8.0, -0.5),
    View(32, 8, 3, -10.0, -2.0),
)


def _paper() -> Preset:
    """Return the preset of Ho et al. 2020, appendix B: 35.7 M parameters, T = 1000, linear beta, L_simple, Adam
    2e-4, batch 128, EMA 0.9999.
    """
    recipe = Recipe(
        objective="simple", muon=False, lr=2e-4, warmup=5000, decay=False, beta2=0.999, weight_decay=0.0, ema=(0.9999,)
    )
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
    """Return the presets by name: `cifar10-small`, and `photo-small` for noisy and `photo-fine` for clean levels (what
    the package embeds), `photo-last` for levels where values are whole, `cifar10-base` (for a GPU), `ddpm-paper` (the
    paper's setting).
    """
    # Variants of the two small ones were compared on pictures held out from their training data: CIFAR-10's training
    # images (docs/models.md), and photographs. For `cifar10-base` docs/ has no comparison yet.
    base = UNetConfig(channels=(96, 160, 224), blocks=2, attention_levels=(1, 2), groups=32, embedding=384, knots=36)
    # Where values are whole, the phase of x_t says more than its value does; every pixel is looked at by itself (no
    # fold): with blocks of 2x2 as channels it learned nothing.
    last = ConvUNetConfig(
        channels=(40,), down_blocks=(4,), up_blocks=(0,), fold=1, periods=(1, 2), min_log_snr=7.5, max_log_snr=12.0
    )
    return {
        "cifar10-small": Preset(UNetConfig(middle_blocks=4, knots=36), Recipe(batch=64)),
        "photo-small": Preset(
            ConvUNetConfig(min_log_snr=-6.0), Recipe(batch=18, views=_PHOTO_VIEWS, tilt=0.2, ema=(0.99, 0.997, 0.999))
        ),
        # From λ = 4 on. At equal time it learns twice as fast there as `photo-small`'s network does (docs/models.md).
        "photo-fine": Preset(
            ConvUNetConfig(channels=(96,), down_blocks=(3,), up_blocks=(0,), min_log_snr=4.0),
            Recipe(batch=16, ema=(0.99, 0.997, 0.999)),
        ),
        "photo-last": Preset(last, Recipe(batch=16, ema=(0.99, 0.997, 0.999))),
        "cifar10-base": Preset(base, Recipe(batch=512, lr=8e-4, warmup=500, ema=(0.9995,), bf16=True)),
        "ddpm-paper": _paper(),
    }


def preset(name: str, network: dict[str, Any] | None = None, recipe: dict[str, Any] | None = None) -> Preset:
    """Return a preset by name, with some fields replaced. Raises TrainingError for an unknown name or a bad value."""
    known = presets()
    if name not in known:
        raise TrainingError(f"preset {name!r}: expected one of {', '.join(known)}")
    found, settings = known[name], dict(recipe or {})
    batch = settings.pop("batch", found.recipe.batch)
    chosen = replace(found.recipe.with_batch(batch), **settings)
    try:
        changed = replace(found.network, **(network or {}))
    except TypeError as error:
        raise TrainingError(f"preset {name}: {error}; its network has no such setting") from error
    if chosen.objective == "simple":
        levels = chosen.noise_schedule().log_snrs  # the network is asked at the chain's own levels only
        changed = replace(changed, min_log_snr=float(levels[-1]), max_log_snr=float(levels[0]))
    return Preset(changed, chosen)
