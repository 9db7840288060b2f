"""One batch of pictures through the codec: each prefix of a stream is a point of its picture's rate-distortion curve.

*Real* rates are bytes: of the complete file that `encode --steps n` writes, header and check included, beside the parts
they come from. *Ideal* rates are KL(q || p) of each step's prior, d/2 log2(1 + v/b) where that is white, over exact
Gaussian draws from q(x_s | x_t, x_0): no bits are made. Distortion is of pictures rounded to 8 bits. Everything is kept
picture by picture, for standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.file import finish, read_info, require_complete
from ddpmcodec.bitstream.header import read_header
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.codec.decoding import Decoded, decode_batch_progressive
from ddpmcodec.codec.encoding import encode_batch
from ddpmcodec.codec.reverse_chain import ReverseChain
from ddpmcodec.codec.sender import Sender, SentStep
from ddpmcodec.codec.step_target import step_target
from ddpmcodec.diffusion.denoiser import x0_hat
from ddpmcodec.diffusion.gaussians import q_sample
from ddpmcodec.diffusion.sampling import Noise
from ddpmcodec.diffusion.schedule import NoiseSchedule
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.images import to_bytes, to_plane
from ddpmcodec.models import CodecModel
from ddpmcodec.numerics.philox import SAMPLING, Key, gaussian

Image = NDArray[np.uint8]  # (h, w, 3)
Table = dict[str, NDArray[np.float64]]  # (pictures, points) under each name
LEAST_SSIM_SIDE = 7  # scikit-image's window


def _ignore() -> None:
    pass


def real(
    model: CodecModel,
    images: Sequence[Image],
    plan_steps: int | None,
    channel: str,
    seed: int,
    on_step: Callable[[], None] = _ignore,
    decode: bool = True,
) -> Table:
    """Encode pictures of one size and decodes the files, step by step: columns are prefixes of 1 … K steps.

    file_bytes: size of the complete file of the prefix; header_bytes: of its header and check. Bits of the step itself:
    ideal_bits (along the path the sender took), channel_bits (information of the channel's symbols), count_bits (of the
    bit count); end_bits: END's, were the stream to end there. coloured: 1 where the step's prior was. mse, ssim: the
    decoded picture's. decode=False only parses the files, and takes the pictures from the sender, which knows what its
    receiver has. `on_step` is called once a step, and once more for decoding. Raises DdpmCodecError where a file
    doesn't give what was sent.
    """
    sent: list[tuple[tuple[Packet, ...], NDArray[np.float64]]] = []  # not the steps themselves: they hold large states
    chains: list[ReverseChain] = []
    pictures: list[list[Image]] = []
    height, width, _ = images[0].shape

    def keep(step: SentStep) -> None:
        sent.append((step.packets, step.ideal_bits))
        chains[:] = [step.chain]
        pictures.append([to_bytes(plane, height, width) for plane in step.reconstruct()])
        on_step()

    datas = encode_batch(
        images, model=model, plan_steps=plan_steps, channel=channel, seed=seed, full=True, on_step=keep
    )
    if decode:
        _require_same_pictures(pictures, decode_batch_progressive(datas, model=model), on_step)
    else:
        _require_same_packets([packets for packets, _ in sent], datas, model)
    table = _distortions(images, iter(pictures), len(sent), _ignore)
    table["ideal_bits"] = np.stack([bits for _, bits in sent], axis=1)
    table["coloured"] = np.array([[float(packets[i].coloured) for packets, _ in sent] for i in range(len(images))])
    (chain,) = chains
    for name in ("file_bytes", "header_bytes", "channel_bits", "count_bits", "end_bits"):
        table[name] = np.zeros((len(images), len(sent)))
    for i, data in enumerate(datas):
        header = read_header(data)  # says of each whether it is grey
        writer, prefix = StreamWriter(chain.plan, chain.channel, chain.dims), b""
        for n, (packets, _) in enumerate(sent):
            writer.write(packets[i])
            ended = writer.ended_here()
            prefix = finish(header, ended)
            table["file_bytes"][i, n] = len(prefix)
            table["header_bytes"][i, n] = len(header.to_bytes()) + header.check_bytes
            table["count_bits"][i, n] = writer.count_bits[n]
            table["channel_bits"][i, n] = writer.step_bits[n] - writer.count_bits[n]
            table["end_bits"][i, n] = ended.end_bits
        assert prefix == data, "the last prefix is the file itself"
    return table


def _require_same_pictures(
    pictures: list[list[Image]], decoded: Iterator[list[Decoded]], on_step: Callable[[], None]
) -> None:
    for n, (own, states) in enumerate(zip(pictures, decoded, strict=True), 1):
        if not all(np.array_equal(picture, state.image) for picture, state in zip(own, states, strict=True)):
            raise DdpmCodecError(
                f"after step {n} the decoder's picture is not the encoder's: this machine's floats vary"
            )
        on_step()


def _require_same_packets(sent: list[tuple[Packet, ...]], datas: Sequence[bytes], model: CodecModel) -> None:
    for i, data in enumerate(datas):
        info = read_info(data, model)
        require_complete(info)
        same = (
            p.bits == q[i].bits and np.array_equal(p.code, q[i].code) for p, q in zip(info.packets, sent, strict=True)
        )
        if not all(same):
            raise DdpmCodecError(f"picture {i} of a batch: its file doesn't hold the packets that were sent")


def ideal(
    model: CodecModel,
    images: Sequence[Image],
    plan_steps: int | None,
    seed: int,
    first: int = 0,
    on_step: Callable[[], None] = _ignore,
) -> Table:
    """Run the same chain with exact draws from q in place of a channel: ideal_bits of each step, mse, ssim.

    first: place of the first picture in the whole set; noise goes by it, so that results don't depend on the batches.
    """
    height, width, _ = images[0].shape
    sender = Sender(*images, model=model, plan_steps=plan_steps, seed=seed)
    chain, plan = sender.chain, sender.chain.plan
    bits = np.zeros((len(images), plan.steps))

    def pictures() -> Iterator[list[Image]]:
        while not chain.ended:
            shifts, sigma = sender.shifts(), np.float32(math.sqrt(chain.posterior.variance))
            bits[:, chain.n] = step_target(shifts, chain.basis()).ideal_bits
            keys = [Key(seed, chain.n + 1, SAMPLING, first + i) for i in range(len(images))]
            noise = np.stack([gaussian(key, chain.dims) for key in keys]).reshape(shifts.shape)
            chain.jump(chain.prior_mean() + sigma * (shifts + noise))
            yield [to_bytes(plane, height, width) for plane in chain.pictures()]

    table = _distortions(images, pictures(), plan.steps, on_step)
    return table | {"ideal_bits": bits}


def denoised(
    model: CodecModel,
    images: Sequence[Image],
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    seed: int,
    first: int = 0,
    on_step: Callable[[], None] = _ignore,
) -> Table:
    """Measure x̂_0 of one draw of x_t ~ q(x_t | x_0) at each timestep: exact_mse as it is, mse in whole levels.

    Both in squared levels; columns are timesteps. Pictures are of one size, at least the model's window.
    """
    height, width, _ = images[0].shape
    x_0, noise = np.stack([to_plane(i) for i in images]), Noise(seed, first=first)
    exact = np.zeros((len(images), len(timesteps)))

    def pictures() -> Iterator[list[Image]]:
        for column, t in enumerate(timesteps):
            x_t = q_sample(x_0, schedule.log_snr(t), noise(t, x_0.shape))
            predicted = x0_hat(model, x_t, schedule.log_snr(t))
            exact[:, column] = np.mean(((predicted.astype(np.float64) - x_0) * 127.5) ** 2, axis=(1, 2, 3))
            yield [to_bytes(plane, height, width) for plane in predicted]

    table = _distortions(images, pictures(), len(timesteps), on_step, with_ssim=False)
    return table | {"exact_mse": exact}


def squared_error(image: Image, decoded: Image) -> float:
    """Return the mean squared error, in squared levels of [0, 255]."""
    return float(np.mean((decoded.astype(np.float64) - image) ** 2))


def similarity(image: Image, decoded: Image) -> float:
    """Return SSIM by scikit-image's defaults, colours averaged (Wang et al. 2004); NaN for a picture smaller than its
    window.
    """
    from skimage.metrics import structural_similarity

    if min(image.shape[:2]) < LEAST_SSIM_SIDE:
        return math.nan
    ssim: Any = structural_similarity(image, decoded, channel_axis=2)  # type: ignore[no-untyped-call]
    return float(ssim)


def _distortions(
    images: Sequence[Image],
    pictures: Iterator[list[Image]],
    steps: int,
    on_step: Callable[[], None],
    with_ssim: bool = True,
) -> Table:
    """Return the distortion of each yielded list of pictures, which are the given ones as decoded after one more
    step.
    """
    names = ("mse", "ssim") if with_ssim else ("mse",)
    table = {name: np.zeros((len(images), steps)) for name in names}
    for n, decoded in enumerate(pictures):
        for i, (image, picture) in enumerate(zip(images, decoded, strict=True)):
            table["mse"][i, n] = squared_error(image, picture)
            if with_ssim:
                table["ssim"][i, n] = similarity(image, picture)
        on_step()
    return table
