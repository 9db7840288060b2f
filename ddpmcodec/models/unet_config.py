"""Architecture of the U-Net as numbers: checked before anything is built, for they may come from a stranger's file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ddpmcodec.errors import ModelError
from ddpmcodec.models.config_checks import MAX_BLOCKS, MAX_WIDTH, MAX_WINDOW, from_stored, require_levels, require_types

if TYPE_CHECKING:
    from ddpmcodec.models.unet import UNet


@dataclass(frozen=True)
class UNetConfig:
    """Architecture of a `UNet`. Stored in the weight file, so the file explains itself. Raises ModelError when
    impossible.
    """

    architecture: ClassVar[str] = "unet"

    channels: tuple[int, ...] = (32, 64, 128)  # one entry a level; resolution halves between levels
    blocks: int = 1  # residual blocks a level on the way down; one more on the way up
    attention_levels: tuple[int, ...] = ()  # levels with self-attention after every block, beside the middle
    middle_blocks: int = 2  # residual blocks in the middle, at the coarsest level; attention follows the first
    heads: int = 4
    groups: int = 8
    embedding: int = 128
    frequencies: int = 32
    image_channels: int = 3
    window: int = 32  # side of the square images it was trained on
    min_log_snr: float = -8.0  # the training range: a noisier or cleaner level is asked at its end
    max_log_snr: float = 9.5
    dropout: float = 0.0
    knots: int = 0  # of the output's preconditioning over the log-SNR range, see `Precondition`; 0: there is none
    scale: bool = True  # the noise level scales and shifts features; False: it only shifts them, as in the paper

    def __post_init__(self) -> None:
        require_types(self, "U-Net")
        if min(self.groups, self.heads, self.blocks, self.embedding, self.frequencies, self.image_channels) < 1:
            raise ModelError("groups, heads, blocks, embedding, frequencies and image_channels must be at least 1")
        if self.middle_blocks < 2:
            raise ModelError(
                f"middle_blocks={self.middle_blocks}: expected at least 2, one either side of the attention"
            )
        if not self.channels or any(c < 1 or c % self.groups for c in self.channels):
            raise ModelError(f"channels {self.channels}: expected positive multiples of groups={self.groups}")
        if self.channels[-1] % self.heads:
            raise ModelError(f"heads={self.heads} does not divide the last level's {self.channels[-1]} channels")
        if not 0 <= self.dropout < 1:
            raise ModelError(f"dropout={self.dropout}: expected at least 0 and below 1")
        if any(not 0 <= a < len(self.channels) or self.channels[a] % self.heads for a in self.attention_levels):
            raise ModelError(
                f"attention_levels {self.attention_levels}: expected levels from 0 to {len(self.channels) - 1} whose "
                "channels "
                f"heads={self.heads} divides"
            )
        if self.knots < 0 or self.knots == 1:
            raise ModelError(f"knots={self.knots}: expected 0, or at least 2")
        if not 1 <= self.window <= MAX_WINDOW or len(self.channels) > 11 or self.window % self.downsampling:
            raise ModelError(
                f"window {self.window} with {len(self.channels)} levels: expected a multiple of 2 to the levels less "
                "one, "
                f"at most {MAX_WINDOW}"
            )
        widest = max(*self.channels, self.embedding, self.frequencies, self.image_channels, self.knots)
        if widest > MAX_WIDTH or max(self.blocks, self.middle_blocks) > MAX_BLOCKS:
            raise ModelError(
                f"a U-Net of layers {widest} wide: expected at most {MAX_WIDTH}, and {MAX_BLOCKS} blocks a level"
            )
        require_levels(self.min_log_snr, self.max_log_snr)

    @property
    def downsampling(self) -> int:
        """Return the factor between the image's side and the coarsest level's; sides must be multiples of it."""
        return 1 << (len(self.channels) - 1)

    @property
    def factor(self) -> int:
        """Pixels along a side for each value of x_0."""
        return 1

    @property
    def any_size(self) -> bool:
        """Return whether pictures of any size will do: no, only windows of its own."""
        return False

    @property
    def canvas(self) -> int:
        """Return the least side of what the chain runs on."""
        return self.window

    @property
    def elements(self) -> int:
        """Count the numbers in the state of the network that `build` makes: a file can be refused before it is
        built.
        """
        modulation, embedding = (2 if self.scale else 1), self.embedding

        def conv(c_in: int, c_out: int, side: int = 3) -> int:
            return c_in * c_out * side * side + c_out

        def block(c_in: int, c_out: int) -> int:
            skip = conv(c_in, c_out, 1) if c_in != c_out else 0
            modulated = (embedding + 1) * modulation * c_out
            return 2 * c_in + conv(c_in, c_out) + modulated + 2 * c_out + conv(c_out, c_out) + skip

        def attention(c: int) -> int:
            return 2 * c + conv(c, 3 * c, 1) + conv(c, c, 1)

        first, last = self.channels[0], self.channels[-1]
        total = self.frequencies + (2 * self.frequencies + 1) * embedding + (embedding + 1) * embedding
        total += conv(self.image_channels, first) + 2 * first + conv(first, self.image_channels) + 2 * self.knots
        total += self.middle_blocks * block(last, last) + attention(last)
        skips, c = [first], first
        for level, width in enumerate(self.channels):
            for _ in range(self.blocks):
                total += block(c, width) + (attention(width) if level in self.attention_levels else 0)
                c = width
                skips.append(c)
            if level < len(self.channels) - 1:
                total += conv(c, c)
                skips.append(c)
        for level, width in reversed(list(enumerate(self.channels))):
            for _ in range(self.blocks + 1):
                total += block(c + skips.pop(), width) + (attention(width) if level in self.attention_levels else 0)
                c = width
            if level > 0:
                total += conv(c, c)
        return total

    def build(self) -> UNet:
        """Return the network, with initial weights."""
        from ddpmcodec.models.unet import UNet

        return UNet(self)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UNetConfig:
        """Return a configuration from what a file stores. Raises ModelError."""
        return from_stored(cls, values, "U-Net")
