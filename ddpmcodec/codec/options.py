"""Options of `encode` and its kin, in one place: what they are called, what they default to, which of them go
together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ddpmcodec.bitstream.condition import condition_fields
from ddpmcodec.codec.sender import Sender, SentStep
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.images import as_picture
from ddpmcodec.models.choice import is_small
from ddpmcodec.models.condition import Condition, condition_from
from ddpmcodec.numerics.arguments import flag, number_or_none, text, whole_or_none

if TYPE_CHECKING:
    from ddpmcodec.models.cache import ModelLike

OnStep = Callable[[SentStep], None]

# Quality is a noise level: its PSNR follows the picture, as that of a JPEG quality does. 75 is about 41 dB for
# photographs, and looks like the original; 50 about 34, 25 about 28.
DEFAULT_QUALITY = 75
LOG_SNR_AT_0, LOG_SNR_A_POINT = -1.0, 0.1


class EncodeOptions(TypedDict, total=False):
    """Options that `encode`, `encode_stream`, `encode_batch` and `encode_archive` take by name; `Options` has the
    defaults.

    plan_steps: length of the trajectory (the default balances bits and time), or "fast". channel: "trellis",
    "trellis:L" (2^L states) or "orc" (ordered random coding). seed: of the randomness that both sides share.

    At most one of these ends the stream before the plan does. steps: the number of whole steps. target_bytes: the file
    is never larger, header and check included, and at most 2% or 2 bytes smaller; target_bpp: the same in bits a pixel.
    target_psnr (dB) or target_rmse (levels of 255): the decoded 8-bit picture is at least as good. The last step of a
    target's stream may be a short one. quality: 1 to 100, how little noise is left, about 3 dB for each 10; full: all
    of the plan's steps. Without any of these, small pictures (up to 64×64 pixels) are coded in full and others to
    quality 75. lossless: the exact picture follows the last step, which comes earlier then unless `steps` says which it
    is. fields: optional fields of the header, by the identifiers of `ddpmcodec.bitstream.fields`. class_label, prompt,
    guidance: what the network is told, where it takes that; the header says it.
    """

    plan_steps: int | Literal["fast"] | None
    channel: str
    seed: int
    steps: int | None
    lossless: bool
    target_bytes: int | None
    target_bpp: float | None
    target_psnr: float | None
    target_rmse: float | None
    quality: float | None
    full: bool
    fields: Mapping[int, bytes]
    class_label: int | None
    prompt: str
    guidance: float | None


@dataclass(frozen=True)
class Options:
    """`EncodeOptions` with their defaults. Raises DdpmCodecError for options that contradict one another."""

    plan_steps: int | Literal["fast"] | None = None
    channel: str = "trellis"
    seed: int = 0
    steps: int | None = None
    lossless: bool = False
    target_bytes: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    target_rmse: float | None = None
    quality: float | None = None
    full: bool = False
    fields: Mapping[int, bytes] = field(default_factory=dict)
    class_label: int | None = None
    prompt: str = ""
    guidance: float | None = None

    def __post_init__(self) -> None:
        if self.plan_steps != "fast":
            object.__setattr__(self, "plan_steps", whole_or_none(self.plan_steps, "plan_steps"))
        for name in ("seed", "steps", "target_bytes", "class_label"):
            object.__setattr__(self, name, whole_or_none(getattr(self, name), name))
        for name in ("target_bpp", "target_psnr", "target_rmse", "quality", "guidance"):
            object.__setattr__(self, name, number_or_none(getattr(self, name), name))
        for name in ("lossless", "full"):
            object.__setattr__(self, name, flag(getattr(self, name), name))
        for name in ("channel", "prompt"):
            text(getattr(self, name), name)
        if not isinstance(self.fields, Mapping):
            raise DdpmCodecError(f"fields {self.fields!r}: expected bytes by their identifiers")
        ends = [limit is not None for limit in (self.steps, self.quality, *self.targets)]
        if sum(ends) + self.full > 1:
            raise DdpmCodecError(
                "a stream ends where one thing says so: give one of steps, target_bytes, target_bpp, target_psnr, "
                "target_rmse, "
                "quality, full"
            )
        if self.lossless and (self.has_target or self.quality is not None):
            raise DdpmCodecError(
                "a lossless stream is as long as the exact picture needs: leave out either lossless or the target"
            )
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise DdpmCodecError(f"a quality of {self.quality}: expected 1 to 100")

    @property
    def targets(self) -> tuple[float | None, ...]:
        return self.target_bytes, self.target_bpp, self.target_psnr, self.target_rmse

    @property
    def condition(self) -> Condition:
        """Return what the network is told."""
        return condition_from(self.class_label, self.prompt, self.guidance)

    @property
    def has_target(self) -> bool:
        """Return whether the stream goes on to a size or a distortion rather than through whole steps."""
        return any(target is not None for target in self.targets)

    def end_log_snr(self, pixels: int) -> float | None:
        """Return the log-SNR at which the stream of a picture ends; None where something else says when."""
        quality = self.quality
        if quality is None:
            if is_small(pixels) or self.full or self.lossless or self.has_target or self.steps is not None:
                return None
            quality = DEFAULT_QUALITY
        return LOG_SNR_AT_0 + LOG_SNR_A_POINT * quality

    def sender(self, *pictures: Any, model: ModelLike, joint: bool = False) -> Sender:
        """Return the sender of these options; with a target, rate control ends its stream. joint: of a block."""
        names = ("plan_steps", "channel", "seed", "steps", "lossless")
        kept: dict[str, Any] = {name: getattr(self, name) for name in names}
        kept["fields"] = dict(self.fields) | condition_fields(self.condition)
        shown = [as_picture(picture, keep=self.lossless) for picture in pictures]
        end = self.end_log_snr(max((p.rgb.shape[0] * p.rgb.shape[1] for p in shown), default=0))
        return Sender(*shown, model=model, short_step=self.has_target, end_log_snr=end, joint=joint, **kept)
