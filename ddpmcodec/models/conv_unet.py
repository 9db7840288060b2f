"""U-Net for pictures of any size: an ε-model of convolutions only, the same function of a neighbourhood everywhere.

It has no normalisation and no attention over space, whose statistics would change with the picture's size.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.models.unet import Pointwise, Precondition


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x))·(1 + scale(λ)) + shift(λ))), the second convolution starting at zero."""

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(x))
        if torch.is_grad_enabled():
            return x + self.conv2(F.silu(h * (1 + scale) + shift))  # type: ignore[no-any-return]
        # In place: for a large picture, memory that the system has to give anew takes longer than the arithmetic.
        h = self.conv2(F.silu(h.mul_(1 + scale).add_(shift), inplace=True))
        return h.add_(x)  # type: ignore[no-any-return]


class Blocks(nn.ModuleList):
    """Residual blocks of one level, one after another."""

    def __init__(self, channels: int, count: int, embedding: int):
        super().__init__(ResidualBlock(channels, embedding) for _ in range(count))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self:
            x = block(x, embedding)
        return x


class ConvUNet(nn.Module):
    """ε̂ = ε_θ(x_λ, λ) for pictures whose sides are multiples of `ConvUNetConfig.downsampling`.

    Space goes into depth before the finest level and between levels (Shi et al. 2016), so no convolution runs at full
    resolution; features of the way down are added on the way up.
    """

    def __init__(self, config: ConvUNetConfig):
        super().__init__()
        self.config = config
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.linspace(math.log(0.1), math.log(100.0), config.frequencies).exp())
        self.embed = nn.Sequential(
            nn.Linear(2 * config.frequencies, config.embedding),
            nn.SiLU(),
            nn.Linear(config.embedding, config.embedding),
            nn.SiLU(),
        )
        channels = config.channels
        self.stem = nn.Conv2d(config.folded, channels[0], 3, padding=1)
        self.down = nn.ModuleList(
            Blocks(c, n, config.embedding) for c, n in zip(channels, config.down_blocks, strict=True)
        )
        self.up = nn.ModuleList(Blocks(c, n, config.embedding) for c, n in zip(channels, config.up_blocks, strict=True))
        pairs = list(zip(channels, channels[1:], strict=False))
        self.shrink = nn.ModuleList(Pointwise(4 * fine, coarse) for fine, coarse in pairs)
        self.grow = nn.ModuleList(Pointwise(coarse, 4 * fine) for fine, coarse in pairs)
        self.head = nn.Conv2d(channels[0], config.folded, 3, padding=1)
        self.precondition = Precondition(config.min_log_snr, config.max_log_snr, config.knots)

    def zero_branches(self) -> None:
        """Make every residual branch and the output 0: training starts best there (Ho et al. 2020, appendix B)."""
        for layer in [*(m.conv2 for m in self.modules() if isinstance(m, ResidualBlock)), self.head]:
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """Return ε̂ like x: (n, c, h, w) in the scale of x_t, sides multiples of `downsampling`; log_snr: (n,)."""
        config = self.config
        angle = (log_snr.float() / 4)[:, None] * self.frequencies
        embedding = self.embed(torch.cat([angle.sin(), angle.cos()], dim=1).to(x.dtype))
        waves = _waves(x, log_snr, config.periods) if config.periods else None
        h = self.stem(F.pixel_unshuffle(x if waves is None else torch.cat([x, waves], dim=1), config.fold))
        kept = []
        for level, blocks in enumerate(self.down):
            if level:
                h = self.shrink[level - 1](F.pixel_unshuffle(h, 2))
            h = blocks(h, embedding)
            kept.append(h)
        for level in reversed(range(len(self.up))):
            if level < len(self.up) - 1:
                h = kept[level] + F.pixel_shuffle(self.grow[level](h), 2)
            h = self.up[level](h, embedding)
        f = F.pixel_shuffle(self.head(F.silu(h)), config.fold)
        if waves is not None:
            f, coefficients = f[:, : config.image_channels], f[:, config.image_channels :]
            for product in torch.split(coefficients * waves, config.image_channels, dim=1):
                f = f + product
        return self.precondition(f, x, log_snr.float())  # type: ignore[no-any-return]


def _waves(x: Tensor, log_snr: Tensor, periods: tuple[int, ...]) -> Tensor:
    """Return sine and cosine of each value of x_t in levels of 255, (n, 2·periods·c, h, w): where whole levels lie.

    x_0 = 2·level/255 − 1 with whole levels, so once noise is about a level wide, x_t itself says little but its phase
    does.
    """
    level = (x.float() * (1 + (-log_snr.float()).exp()).sqrt()[:, None, None, None] + 1) * 127.5
    angles = [level * (2 * math.pi / period) for period in periods]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).to(x.dtype)
