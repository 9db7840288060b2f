"""Architecture of the fully convolutional U-Net as numbers: checked before anything is built, as `UNetConfig` is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ddpmcodec.errors import ModelError
from ddpmcodec.models.config_checks import MAX_BLOCKS, MAX_WIDTH, MAX_WINDOW, from_stored, require_levels, require_types

if TYPE_CHECKING:
    from ddpmcodec.models.conv_unet import ConvUNet

_MAX_LEVELS = 8
_MAX_PERIODS = 8


@dataclass(frozen=True)
class ConvUNetConfig:
    """Architecture of a `ConvUNet`, stored in the weight file. Raises ModelError when impossible."""

    architecture: ClassVar[str] = "conv-unet"

    channels: tuple[int, ...] = (64, 128, 192, 224)  # one entry a level; resolution halves between levels
    down_blocks: tuple[int, ...] = (1, 1, 1, 2)  # residual blocks of each level on the way down
    up_blocks: tuple[int, ...] = (1, 2, 2, 0)  # and on the way up; the same order, finest level first
    fold: int = 2  # the finest level sees blocks of fold x fold pixels as channels (space to depth)
    embedding: int = 128
    frequencies: int = 32
    periods: tuple[int, ...] = ()  # in levels: sin and cos of x_t with these periods are inputs and multiply outputs
    image_channels: int = 3
    window: int = 64  # side of the crops that training takes by default; pictures of any size will do
    min_log_snr: float = -8.0  # the training range: a noisier or cleaner level is asked at its end
    max_log_snr: float = 9.5
    knots: int = 36  # of the output's preconditioning over the log-SNR range, see `Precondition`

    def __post_init__(self) -> None:
        require_types(self, "U-Net")
        levels = len(self.channels)
        if not 1 <= levels <= _MAX_LEVELS or {len(self.down_blocks), len(self.up_blocks)} != {levels}:
            raise ModelError(
                f"{levels} levels of channels, {len(self.down_blocks)} of down_blocks and {len(self.up_blocks)} of "
                "up_blocks: "
                f"expected as many of each, from 1 to {_MAX_LEVELS}"
            )
        if min(*self.channels, self.fold, self.embedding, self.frequencies, self.image_channels) < 1:
            raise ModelError("channels, fold, embedding, frequencies and image_channels must be at least 1")
        if min(*self.down_blocks, *self.up_blocks) < 0 or max(*self.down_blocks, *self.up_blocks) > MAX_BLOCKS:
            raise ModelError(
                f"down_blocks {self.down_blocks}, up_blocks {self.up_blocks}: expected 0 to {MAX_BLOCKS} a level"
            )
        if len(self.periods) > _MAX_PERIODS or any(not 1 <= p <= 256 for p in self.periods):
            raise ModelError(f"periods {self.periods}: expected at most {_MAX_PERIODS}, of 1 to 256 levels")
        if self.knots < 2:
            raise ModelError(f"knots={self.knots}: expected at least 2")
        if (
            max(*self.channels, self.embedding, self.frequencies, self.image_channels, self.knots, self.folded)
            > MAX_WIDTH
        ):
            raise ModelError(f"a U-Net with layers more than {MAX_WIDTH} wide")
        if not 1 <= self.window <= MAX_WINDOW or self.window % self.downsampling:
            raise ModelError(
                f"window {self.window} with {levels} levels and fold {self.fold}: expected a multiple of "
                f"{self.downsampling}, "
                f"at most {MAX_WINDOW}"
            )
        require_levels(self.min_log_snr, self.max_log_snr)

    @property
    def downsampling(self) -> int:
        """Return the factor between the image's side and the coarsest level's; sides must be multiples of it."""
        return self.fold << (len(self.channels) - 1)

    @property
    def factor(self) -> int:
        """Pixels along a side for each value of x_0."""
        return 1

    @property
    def any_size(self) -> bool:
        """Return whether pictures of any size will do: yes, of sides that `canvas` divides."""
        return True

    @property
    def canvas(self) -> int:
        """Return the least side of what the chain runs on."""
        return self.downsampling

    @property
    def planes(self) -> int:
        """Return the planes a colour has at the input, and at the output: x_t itself, a sine and a cosine for each
        period.
        """
        return 1 + 2 * len(self.periods)

    @property
    def folded(self) -> int:
        """Return the channels of the input and the output once space is folded into depth."""
        return self.image_channels * self.planes * self.fold**2

    @property
    def elements(self) -> int:
        """Count the numbers in the state of the network that `build` makes: a file can be refused before it is
        built.
        """
        embedding = self.embedding

        def conv(c_in: int, c_out: int, side: int) -> int:
            return c_in * c_out * side * side + c_out

        total = self.frequencies + (2 * self.frequencies + 1) * embedding + (embedding + 1) * embedding
        total += conv(self.folded, self.channels[0], 3) + conv(self.channels[0], self.folded, 3) + 2 * self.knots
        for c, down, up in zip(self.channels, self.down_blocks, self.up_blocks, strict=True):
            total += (down + up) * (2 * conv(c, c, 3) + (embedding + 1) * 2 * c)
        for fine, coarse in zip(self.channels, self.channels[1:], strict=False):
            total += conv(4 * fine, coarse, 1) + conv(coarse, 4 * fine, 1)
        return total

    def multiplications_a_pixel(self) -> float:
        """Return the multiplications of one call, divided by the picture's pixels."""
        total = 2 * 9 * self.folded * self.channels[0] / self.fold**2
        for i, (c, down, up) in enumerate(zip(self.channels, self.down_blocks, self.up_blocks, strict=True)):
            total += (down + up) * 2 * 9 * c * c / (self.fold << i) ** 2
        for i, (fine, coarse) in enumerate(zip(self.channels, self.channels[1:], strict=False)):
            total += 2 * 4 * fine * coarse / (self.fold << (i + 1)) ** 2
        return total

    def build(self) -> ConvUNet:
        """Return the network, with initial weights."""
        from ddpmcodec.models.conv_unet import ConvUNet

        return ConvUNet(self)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConvUNetConfig:
        """Return a configuration from what a file stores. Raises ModelError."""
        return from_stored(cls, values, "U-Net")
