"""Classical codecs to compare with: files by Pillow, imagecodecs and pillow-heif, measured picture by picture.

Settings run from an RMSE near 30, or the worst that the codec can do, to about 1, or the best. Encoders are at the slow
end of what is in everyday use (`effort` 7 of JPEG XL, `speed` 6 of AVIF, `method` 6 of WebP, libheif's default of
x265), on one thread, so that bytes don't depend on the machine. A package that isn't installed, or was built without a
format, leaves its codecs out and hinders nothing: ask `available` first. Extra: ddpmcodec[eval].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd import codecs, payload

Image = NDArray[np.uint8]  # (h, w, 3)

EXACT = (0.0,)  # the one setting of a lossless codec: the error allowed


@dataclass(frozen=True)
class Baseline:
    """Codec with its settings, from the coarsest to the finest; `scale` says what the numbers are.

    encode(image, setting) gives the complete file, decode(file) the image, payload(file) the bytes in it that aren't
    container or fixed header. needs: the package to install or update where the codec isn't available.
    """

    name: str
    label: str
    scale: str
    settings: tuple[float, ...]
    encode: Callable[[Image, float], bytes]
    decode: Callable[[bytes], Image]
    payload: Callable[[bytes], int]
    needs: str
    lossless: bool = False

    @property
    def left_out(self) -> str:
        """Say in a line what of a file isn't payload."""
        return " ".join((self.payload.__doc__ or "").partition("\n\n")[0].split()).removeprefix("Left out: ")


@dataclass(frozen=True)
class Measurement:
    """Measurement of one codec over a set of images; arrays are (settings, images) unless said otherwise."""

    settings: NDArray[np.float64]  # (settings,)
    dims: NDArray[np.int64]  # (images,): numbers in each, 3 a pixel
    file_bytes: NDArray[np.int64]
    payload_bytes: NDArray[np.int64]
    mse: NDArray[np.float64]  # squared levels of [0, 255]
    similarity: NDArray[np.float64]  # NaN where none was asked for


def available(baseline: Baseline) -> str | None:
    """Return None when the codec works here, on a small grey picture, else why not and what to install."""
    try:
        baseline.decode(baseline.encode(np.full((32, 32, 3), 128, np.uint8), baseline.settings[0]))
    except ModuleNotFoundError:
        return f"{baseline.label} needs {baseline.needs}, which isn't installed: pip install 'ddpmcodec[eval]'"
    except Exception as error:
        # Many kinds: each library has its own way to say that a format was left out of its build
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return (
            f"{baseline.label} doesn't work in the installed {baseline.needs} ({reason}): "
            f"pip install -U '{baseline.needs}'"
        )
    return None


def parse_baselines(text: str) -> list[Baseline]:
    """Return baselines by names with commas between, 'all' of them, or none ('none' or ''). Raises DdpmCodecError."""
    known = {b.name: b for b in BASELINES}
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if names == ["all"]:
        return list(BASELINES)
    if names == ["none"]:
        return []
    for name in names:
        if name not in known:
            raise DdpmCodecError(f"no baseline {name!r}: expected 'all', 'none', or of {', '.join(known)}")
    return [known[name] for name in names]


def measure(
    baseline: Baseline,
    images: Sequence[Image],
    on_image: Callable[[], None] = lambda: None,
    similarity: Callable[[Image, Image], float] | None = None,
) -> Measurement:
    """Measure rate and distortion of every image, (h, w, 3) uint8 each, at every setting.

    on_image is called after each image at each setting; similarity(image, decoded) is any further score, such as SSIM.
    Raises DdpmCodecError where the codec fails, changes an image's size, or calls itself lossless and isn't.
    """
    shape = len(baseline.settings), len(images)
    result = Measurement(
        np.array(baseline.settings, np.float64),
        np.array([image.size for image in images], np.int64),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.zeros(shape),
        np.full(shape, math.nan),
    )
    for row, setting in enumerate(baseline.settings):
        for column, image in enumerate(images):
            data, decoded = _through(baseline, setting, image, column)
            at = row, column
            result.file_bytes[at], result.payload_bytes[at] = len(data), baseline.payload(data)
            result.mse[at] = np.mean((decoded.astype(np.float64) - image) ** 2)
            if similarity is not None:
                result.similarity[at] = similarity(image, decoded)
            on_image()
    return result


def _through(baseline: Baseline, setting: float, image: Image, index: int) -> tuple[bytes, Image]:
    """Return the file and its decoded image, checked."""
    what = f"{baseline.label} at {baseline.scale} {setting:g}, image {index} of {image.shape[1]}x{image.shape[0]}"
    try:
        data = baseline.encode(image, setting)
        decoded = baseline.decode(data)
    except Exception as error:  # many kinds, such as a picture too large for the format
        raise DdpmCodecError(f"{what}: the codec failed ({error}); leave out {baseline.name!r} or the image") from error
    if decoded.shape != image.shape or decoded.dtype != np.uint8:
        raise DdpmCodecError(
            f"{what}: decoded to {decoded.dtype} of shape {decoded.shape}, expected uint8 {image.shape}"
        )
    if baseline.lossless and not np.array_equal(decoded, image):
        raise DdpmCodecError(
            f"{what}: expected a lossless codec, but the decoded image differs; leave out {baseline.name!r}"
        )
    return data, decoded


_JPEG = (1, 4, 7, 10, 15, 20, 30, 40, 50, 60, 75, 85, 90, 95, 97, 99, 100)
_WEBP = (0, 2, 5, 8, 12, 18, 25, 35, 45, 55, 65, 75, 80, 85, 90, 96, 100)
_J2K = (19, 20, 21, 22, 23, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 45, 48)
_JXL = (25, 16, 10, 8, 6.5, 5, 4, 3, 2.3, 1.7, 1.2, 0.6, 0.4, 0.25, 0.15, 0.08)
_AVIF = (0, 7, 18, 25, 32, 40, 48, 56, 64, 72, 80, 88, 94, 98)
_HEIC = (0, 5, 10, 16, 22, 29, 36, 43, 50, 58, 66, 75, 85)

_jpeg_420, _jpeg_444 = partial(codecs.jpeg, subsampling="4:2:0"), partial(codecs.jpeg, subsampling="4:4:4")
_avif_420, _avif_444 = partial(codecs.avif, subsampling="4:2:0"), partial(codecs.avif, subsampling="4:4:4")
_avif_psnr = partial(codecs.avif, subsampling="4:4:4", speed=2, advanced={"tune": "psnr"})
_heic_420, _heic_444 = partial(codecs.heic, chroma=420), partial(codecs.heic, chroma=444)
_jxl_decode = partial(codecs.imagecodecs_decode, function="jpegxl_decode")
_jpegls_decode = partial(codecs.imagecodecs_decode, function="jpegls_decode")
_avif_decode = partial(codecs.imagecodecs_decode, function="avif_decode")

BASELINES = (
    Baseline("jpeg", "JPEG 4:2:0", "quality", _JPEG, _jpeg_420, codecs.pillow_decode, payload.jpeg, "Pillow"),
    Baseline("jpeg444", "JPEG 4:4:4", "quality", _JPEG, _jpeg_444, codecs.pillow_decode, payload.jpeg, "Pillow"),
    Baseline("webp", "WebP", "quality", _WEBP, codecs.webp, codecs.pillow_decode, payload.webp, "Pillow"),
    Baseline("j2k", "JPEG 2000", "PSNR in dB", _J2K, codecs.j2k, codecs.pillow_decode, payload.j2k, "Pillow"),
    Baseline("jxl", "JPEG XL", "distance", _JXL, codecs.jxl, _jxl_decode, payload.jxl, "imagecodecs"),
    Baseline("avif", "AVIF 4:4:4", "quality", _AVIF, _avif_444, codecs.pillow_decode, payload.avif, "Pillow>=11.3"),
    Baseline(
        "avif-psnr",
        "AVIF 4:4:4, slow, tuned for PSNR",
        "quality",
        _AVIF,
        _avif_psnr,
        codecs.pillow_decode,
        payload.avif,
        "Pillow>=11.3",
    ),
    Baseline("avif420", "AVIF 4:2:0", "quality", _AVIF, _avif_420, codecs.pillow_decode, payload.avif, "Pillow>=11.3"),
    Baseline("heic", "HEIC 4:4:4", "quality", _HEIC, _heic_444, codecs.heic_decode, payload.heic, "pillow-heif"),
    Baseline("heic420", "HEIC 4:2:0", "quality", _HEIC, _heic_420, codecs.heic_decode, payload.heic, "pillow-heif"),
    Baseline("png", "PNG", "error", EXACT, codecs.png, codecs.pillow_decode, payload.png, "Pillow", True),
    Baseline(
        "webp-lossless",
        "WebP lossless",
        "error",
        EXACT,
        codecs.webp_lossless,
        codecs.pillow_decode,
        payload.webp,
        "Pillow",
        True,
    ),
    Baseline(
        "j2k-lossless",
        "JPEG 2000 lossless",
        "error",
        EXACT,
        codecs.j2k_lossless,
        codecs.pillow_decode,
        payload.j2k,
        "Pillow",
        True,
    ),
    Baseline("jpegls", "JPEG-LS", "error", EXACT, codecs.jpegls, _jpegls_decode, payload.jpegls, "imagecodecs", True),
    Baseline(
        "jxl-lossless",
        "JPEG XL lossless",
        "error",
        EXACT,
        codecs.jxl_lossless,
        _jxl_decode,
        payload.jxl,
        "imagecodecs",
        True,
    ),
    Baseline(
        "avif-lossless",
        "AVIF lossless",
        "error",
        EXACT,
        codecs.avif_lossless,
        _avif_decode,
        payload.avif,
        "imagecodecs",
        True,
    ),
    Baseline(
        "heic-lossless",
        "HEIC lossless",
        "error",
        EXACT,
        codecs.heic_lossless,
        codecs.heic_decode,
        payload.heic,
        "pillow-heif",
        True,
    ),
)
# For comparisons of lossless codecs alone: the slowest setting.
_jxl_slowest = partial(codecs.jxl_lossless, effort=9)
JXL_SLOWEST = Baseline(
    "jxl-lossless-9",
    "JPEG XL lossless, effort 9",
    "error",
    EXACT,
    _jxl_slowest,
    _jxl_decode,
    payload.jxl,
    "imagecodecs",
    True,
)
