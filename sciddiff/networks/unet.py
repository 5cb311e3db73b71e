"""A local U-Net in two parts: a condition encoder that runs once, and a lighter denoiser that runs at each step.

Everything is local: 3 x 3 convolutions, channel-wise RMS norm (Zhang and Sennrich 2019), strided down, pixel-shuffle
up. No layer looks further than its kernel, so a tile with a halo of `radius` pixels gives the result of the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# ---------- pieces ----------


class RMSNorm(nn.Module):
    """x / rms(x) over the channels of each pixel, with a learned gain."""

    def __init__(self, channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        rms = x.square().mean(1, keepdim=True).add(1e-6).rsqrt()
        return x * rms * self.gain.view(-1, 1, 1)


def _conv(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Module:
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2 if stride == 1 else 0)


def _zeroed(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class Block(nn.Module):
    """Residual block; the embedding scales and shifts what enters its second convolution."""

    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.norm_in, self.norm_out = RMSNorm(width), RMSNorm(width)
        self.conv_in = _conv(width, width)
        self.conv_out = _zeroed(_conv(width, width))
        self.modulate = _zeroed(nn.Linear(embedding, 2 * width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        gain, offset = self.modulate(embedding).view(len(embedding), -1, 1, 1).chunk(2, 1)
        y = self.conv_in(F.silu(self.norm_in(x)))
        y = self.norm_out(y) * (1 + gain) + offset
        return x + self.conv_out(F.silu(y))


class Down(nn.Module):
    """Half the resolution by a strided 2 x 2 convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = _conv(inputs, outputs, size=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Up(nn.Module):
    """Twice the resolution by a 1 x 1 convolution and pixel shuffle."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = _conv(inputs, outputs * 4, size=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)


class Hourglass(nn.Module):
    """Down through `blocks` at each width and up again with skips; one more block at each scale on the way up.

    `guide` features, one a scale, are added on the way down.
    """

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], *, embedding: int):
        super().__init__()
        self.down_blocks = nn.ModuleList(
            nn.ModuleList(Block(width, embedding) for _ in range(count))
            for width, count in zip(widths, blocks, strict=True)
        )
        pairs = list(pairwise(widths))
        self.downs = nn.ModuleList(Down(fine, coarse) for fine, coarse in pairs)
        self.ups = nn.ModuleList(Up(coarse, fine) for fine, coarse in pairs)
        self.up_blocks = nn.ModuleList(Block(width, embedding) for width in widths[:-1])

    def forward(self, x: Tensor, embedding: Tensor, guide: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Features after the way up, finest first."""
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down_blocks):
            if level:
                x = self.downs[level - 1](x)
            if guide is not None:
                x = x + guide[level]
            for block in cast(nn.ModuleList, blocks):
                x = block(x, embedding)
            skips.append(x)
        pyramid = [x]
        for level in reversed(range(len(self.ups))):
            x = self.up_blocks[level](self.ups[level](x) + skips[level], embedding)
            pyramid.insert(0, x)
        return pyramid


class Slab(nn.Module):
    """Features of the middle one of 2 reach + 1 planes: a block for each plane, then planes join, until one is left.

    They join by 3 x 3 x 3 convolutions, which take a plane off on either side. These are written as 3 x 3 ones over the
    channels of three planes: the same sums, several times faster on CPUs.
    """

    def __init__(self, inputs: int, width: int, reach: int, *, embedding: int):
        super().__init__()
        self.enter = _conv(inputs, width)
        self.blocks = nn.ModuleList(Block(width, embedding) for _ in range(reach))
        self.joins = nn.ModuleList(_conv(3 * width, width) for _ in range(reach))
        _zeroed(self.joins[-1])

    def forward(self, planes: Sequence[Tensor], embedding: Tensor) -> Tensor:
        planes = [self.enter(each) for each in planes]
        for block, join in zip(self.blocks, self.joins, strict=True):
            planes = [block(each, embedding) for each in planes]
            planes = [join(torch.cat(three, 1)) for three in zip(planes, planes[1:], planes[2:], strict=False)]
        return planes[0]


# ---------- the network ----------


@dataclass(frozen=True)
class Encoded:
    """What the condition encoder found: features finest first, and the embedding of the global numbers."""

    pyramid: list[Tensor]
    embedding: Tensor


class UNet(nn.Module):
    """Velocity F(x, t, condition) of the centred process; see `diffusion.precondition`.

    Parameters
    ----------
    channels
        Of the image that is restored.
    maps
        Channels of the condition, the volume's among them.
    numbers
        Length of the vector of global numbers.
    widths
        Channels at each scale, finest first; the finest works on blocks of `stem` pixels.
    encoder_blocks, denoiser_blocks
        Residual blocks at each scale on the way down.
    stem
        Pixels a side that become channels at the input and pixels again at the output.
    embedding
        Width of the embedding of noise level and global numbers.
    reach
        Planes on each side of the restored one in the volume that ends the condition: the values of all 2 reach + 1,
        then where they are known. 0: there is none.
    """

    def __init__(
        self,
        channels: int,
        maps: int,
        numbers: int,
        *,
        widths: Sequence[int],
        encoder_blocks: Sequence[int],
        denoiser_blocks: Sequence[int],
        stem: int,
        embedding: int,
        reach: int = 0,
    ):
        super().__init__()
        self.stem = stem
        self.stride = stem * 2 ** (len(widths) - 1)
        self.radius = sum(
            stem * 2**level * (2 * (encoder + denoiser + 2 * (level < len(widths) - 1)))
            for level, (encoder, denoiser) in enumerate(zip(encoder_blocks, denoiser_blocks, strict=True))
        ) + (3 * (1 + reach) * stem + 4 * self.stride)
        cells = stem**2
        self.embed_numbers = nn.Linear(numbers, embedding)
        self.embed_angle = nn.Sequential(nn.Linear(2 * len(_FREQUENCIES), embedding), nn.SiLU())
        self.embed = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU())
        self.own = maps - 2 * (2 * reach + 1) if reach else maps
        self.enter_condition = _conv(self.own * cells, widths[0])
        self.slab = Slab(2 * cells, widths[0], reach, embedding=embedding) if reach else None
        self.encoder = Hourglass(widths, encoder_blocks, embedding=embedding)
        self.enter_state = _conv(channels * cells, widths[0])
        self.denoiser = Hourglass(widths, denoiser_blocks, embedding=embedding)
        self.leave = nn.Sequential(RMSNorm(widths[0]), nn.SiLU(), _zeroed(_conv(widths[0], channels * cells)))

    def encode(self, maps: Tensor, numbers: Tensor) -> Encoded:
        """Run the condition encoder: once a window, whatever the number of steps and samples.

        Parameters
        ----------
        maps
            (b, maps, h, w), sides multiples of `stride`.
        numbers
            (b, numbers).
        """
        embedding = self.embed_numbers(numbers)
        scaling = F.silu(embedding)
        x = self.enter_condition(F.pixel_unshuffle(maps[:, : self.own], self.stem))
        if self.slab is not None:
            planes = maps[:, self.own :].unflatten(1, (2, -1)).unbind(2)  # of each its values and where it is known
            x = x + self.slab([F.pixel_unshuffle(each, self.stem) for each in planes], scaling)
        return Encoded(self.encoder(x, scaling), embedding)

    def forward(self, state: Tensor, t: Tensor, encoded: Encoded) -> Tensor:
        """Velocity at the state x = cos(t) r + sin(t) n.

        Parameters
        ----------
        state
            (b, channels, h, w).
        t
            Angles (b,) in (0, pi / 2].
        encoded
            From `encode`.
        """
        angle = t[:, None] * torch.tensor(_FREQUENCIES, device=t.device, dtype=t.dtype)
        waves = torch.cat([angle.cos(), angle.sin()], 1)
        embedding = self.embed(self.embed_angle(waves) + encoded.embedding)
        x = self.enter_state(F.pixel_unshuffle(state, self.stem))
        return F.pixel_shuffle(self.leave(self.denoiser(x, embedding, encoded.pyramid)[0]), self.stem)


_FREQUENCIES = (1.0, 2.0, 4.0, 8.0, 16.0)
