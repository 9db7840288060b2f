"""The options of `encode` and its kin, in one place: what they are called, what they default to, which of them go together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from ddpmcodec.codec.sender import Sender, SentStep
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.numerics.arguments import whole_or_none

if TYPE_CHECKING:
    from ddpmcodec.models.cache import ModelLike

OnStep = Callable[[SentStep], None]


class EncodeOptions(TypedDict, total=False):
    """What `encode`, `encode_stream`, `encode_batch` and `encode_archive` take by name; `Options` has the defaults.

    plan_steps: length of the trajectory (the default balances bits and time; 20 is fast, 100 slow). channel: "trellis",
    "trellis:L" (2^L states) or "orc" (ordered random coding). seed: of the randomness that both sides share.

    At most one of these ends the stream before the plan does. steps: so many whole steps. target_bytes: the file is never
    larger, header and check included, and at most 2% or 2 bytes smaller; target_bpp: the same in bits a pixel. target_psnr
    (dB) or target_rmse (levels of 255): the decoded 8-bit picture is at least as good. The last step of a target's stream may
    be a short one. lossless: the exact picture follows the last step, which comes earlier then unless `steps` says which it is.
    """

    plan_steps: int | None
    channel: str
    seed: int
    steps: int | None
    lossless: bool
    target_bytes: int | None
    target_bpp: float | None
    target_psnr: float | None
    target_rmse: float | None


@dataclass(frozen=True)
class Options:
    """`EncodeOptions` with their defaults. Raises DdpmCodecError for options that contradict one another."""

    plan_steps: int | None = None
    channel: str = "trellis"
    seed: int = 0
    steps: int | None = None
    lossless: bool = False
    target_bytes: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    target_rmse: float | None = None

    def __post_init__(self) -> None:
        for name in ("plan_steps", "seed", "steps", "target_bytes"):
            object.__setattr__(self, name, whole_or_none(getattr(self, name), name))
        if sum(limit is not None for limit in (self.steps, *self.targets)) > 1:
            raise DdpmCodecError(
                "a stream ends where one thing says so: give one of steps, target_bytes, target_bpp, target_psnr, target_rmse"
            )
        if self.lossless and self.has_target:
            raise DdpmCodecError(
                "a lossless stream is as long as the exact picture needs: leave out either lossless or the target"
            )

    @property
    def targets(self) -> tuple[float | None, ...]:
        return self.target_bytes, self.target_bpp, self.target_psnr, self.target_rmse

    @property
    def has_target(self) -> bool:
        """Whether the stream goes on to a size or a distortion rather than through whole steps."""
        return any(target is not None for target in self.targets)

    def sender(self, *pictures: Any, model: ModelLike) -> Sender:
        """Return the sender of these options; with a target, rate control ends its stream."""
        kept = {k: v for k, v in asdict(self).items() if not k.startswith("target_")}
        return Sender(*pictures, model=model, short_step=self.has_target, **kept)
