"""U-Net, the project's small ε-model, conditioned on the log signal-to-noise ratio."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpmcodec.models.unet_config import UNetConfig


class ResidualBlock(nn.Module):
    """Two normalised 3×3 convolutions; the noise level scales and shifts between them."""

    def __init__(self, c_in: int, c_out: int, config: UNetConfig):
        super().__init__()
        self.norm1 = nn.GroupNorm(config.groups, c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.scale = config.scale
        self.modulation = nn.Linear(config.embedding, 2 * c_out if config.scale else c_out)
        self.norm2 = nn.GroupNorm(config.groups, c_out)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = Pointwise(c_in, c_out) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        modulation = self.modulation(embedding)[:, :, None, None]
        if self.scale:
            scale, shift = modulation.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + modulation)
        h = self.conv2(self.dropout(F.silu(h)))
        return self.skip(x) + h  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Dot-product attention over all positions of a feature map, with a residual connection."""

    def __init__(self, channels: int, config: UNetConfig):
        super().__init__()
        self.heads = config.heads
        self.norm = nn.GroupNorm(config.groups, channels)
        self.qkv = Pointwise(channels, 3 * channels)
        self.out = Pointwise(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w)
        q, k, v = qkv.transpose(3, 4).unbind(1)  # each (n, heads, positions, c / heads)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(2, 3).reshape(n, c, h, w))  # type: ignore[no-any-return]


class Upsample(nn.Conv2d):
    """Nearest-neighbour ×2, then this 3×3 convolution, in less than half the multiplications.

    Each output sees only 2×2 different inputs, so both together are one 4×4 transposed convolution of stride 2, whose
    kernel is the 3×3 one summed over the pixels that repeat.
    """

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kernel = F.pad(self.weight.transpose(0, 1).flip(2, 3), (1, 1, 1, 1))
        kernel = kernel[:, :, 1:, 1:] + kernel[:, :, 1:, :-1] + kernel[:, :, :-1, 1:] + kernel[:, :, :-1, :-1]
        kernel = kernel.contiguous(memory_format=torch.channels_last)  # else it is copied every call
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class Pointwise(nn.Conv2d):
    """Convolution of 1×1 as the product of matrices that it is in channels_last: less overhead for one window."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.weight.permute(0, 2, 3, 1).flatten(1)  # so that its gradient, too, has channels_last's strides
        return F.linear(x.permute(0, 2, 3, 1), matrix, self.bias).permute(0, 3, 1, 2)


class Precondition(nn.Module):
    """ε̂ = skip(λ)·x_t + gain(λ)·F, both piecewise linear in λ and learned.

    In high noise x_t is all but equal to ε, and what remains is smaller than a network's own precision: without this,
    x̂_0 at λ = -8 is worse than no picture at all. It starts as the parametrisation by v = √ᾱ·ε - √(1-ᾱ)·x_0, for which
    ε = √(1-ᾱ)·x_t + √ᾱ·v (Salimans & Ho 2022; Karras et al. 2022 argue for the like).
    """

    def __init__(self, min_log_snr: float, max_log_snr: float, knots: int):
        super().__init__()
        self.low, self.high, self.last = min_log_snr, max_log_snr, knots - 1
        alpha_bar = torch.linspace(self.low, self.high, knots, dtype=torch.float64).sigmoid()
        self.gain = nn.Parameter(alpha_bar.sqrt().float())
        self.skip = nn.Parameter((1 - alpha_bar).sqrt().float())

    def forward(self, f: Tensor, x: Tensor, log_snr: Tensor) -> Tensor:
        place = ((log_snr - self.low) / (self.high - self.low)).clamp(0, 1) * self.last
        left = place.floor().clamp(max=self.last - 1).long()
        part = (place - left).to(self.gain.dtype)  # tables stay float32 under autocast
        # index_select's gradient is one addition; that of indexing sorts first, a dozen kernels on a GPU.
        gain = self.gain.index_select(0, left).lerp(self.gain.index_select(0, left + 1), part)
        skip = self.skip.index_select(0, left).lerp(self.skip.index_select(0, left + 1), part)
        return gain[:, None, None, None] * f + skip[:, None, None, None] * x


class UNet(nn.Module):
    """ε̂ = ε_θ(x_λ, λ), with λ the log-SNR (Ho et al. 2020, eq. 11 and appendix B, in continuous noise levels)."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        frequencies = torch.linspace(math.log(0.1), math.log(100.0), config.frequencies).exp()
        self.frequencies: Tensor
        self.register_buffer("frequencies", frequencies)
        self.embed = nn.Sequential(
            nn.Linear(2 * config.frequencies, config.embedding),
            nn.SiLU(),
            nn.Linear(config.embedding, config.embedding),
            nn.SiLU(),
        )
        self.stem = nn.Conv2d(config.image_channels, config.channels[0], 3, padding=1)

        def attention(level: int, c: int) -> nn.Module:
            return SelfAttention(c, config) if level in config.attention_levels else nn.Identity()

        levels = len(config.channels)
        self.down_blocks, self.down_attention, self.downsample = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        skips, c = [config.channels[0]], config.channels[0]
        for level, width in enumerate(config.channels):
            for _ in range(config.blocks):
                self.down_blocks.append(ResidualBlock(c, width, config))
                self.down_attention.append(attention(level, width))
                c = width
                skips.append(c)
            if level < levels - 1:
                self.downsample.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                skips.append(c)
        self.middle1 = ResidualBlock(c, c, config)
        self.middle_attention = SelfAttention(c, config)
        self.middle2 = ResidualBlock(c, c, config)
        self.middle_more = nn.ModuleList(ResidualBlock(c, c, config) for _ in range(config.middle_blocks - 2))
        self.up_blocks, self.up_attention, self.upsample = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, width in reversed(list(enumerate(config.channels))):
            for _ in range(config.blocks + 1):
                self.up_blocks.append(ResidualBlock(c + skips.pop(), width, config))
                self.up_attention.append(attention(level, width))
                c = width
            if level > 0:
                self.upsample.append(Upsample(c))
        self.norm_out = nn.GroupNorm(config.groups, c)
        self.conv_out = nn.Conv2d(c, config.image_channels, 3, padding=1)
        trained = config.min_log_snr, config.max_log_snr
        self.precondition = Precondition(*trained, config.knots) if config.knots else None

    def zero_branches(self) -> None:
        """Make every residual branch and the output 0: training starts best there (Ho et al. 2020, appendix B)."""
        last = [m.conv2 for m in self.modules() if isinstance(m, ResidualBlock)]
        for layer in [*last, *(m.out for m in self.modules() if isinstance(m, SelfAttention)), self.conv_out]:
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """Return ε̂ like x: (n, c, h, w) in the scale of x_t, sides multiples of `downsampling`; log_snr: (n,)."""
        config = self.config
        angle = (log_snr.float() / 4)[:, None] * self.frequencies
        embedding = self.embed(torch.cat([angle.sin(), angle.cos()], dim=1).to(x.dtype))
        h = self.stem(x)
        skips = [h]
        down, downsample = zip(self.down_blocks, self.down_attention, strict=True), iter(self.downsample)
        for level in range(len(config.channels)):
            for _ in range(config.blocks):
                block, attend = next(down)
                h = attend(block(h, embedding))
                skips.append(h)
            if level < len(config.channels) - 1:
                h = next(downsample)(h)
                skips.append(h)
        h = self.middle2(self.middle_attention(self.middle1(h, embedding)), embedding)
        for block in self.middle_more:
            h = block(h, embedding)
        up, upsample = zip(self.up_blocks, self.up_attention, strict=True), iter(self.upsample)
        for level in reversed(range(len(config.channels))):
            for _ in range(config.blocks + 1):
                block, attend = next(up)
                h = attend(block(torch.cat([h, skips.pop()], dim=1), embedding))
            if level > 0:
                h = next(upsample)(h)
        f = self.conv_out(F.silu(self.norm_out(h)))
        return f if self.precondition is None else self.precondition(f, x, log_snr.float())
