"""Canvas: the plane that the chain runs on, with the picture at its top left."""

from __future__ import annotations

from ddpmcodec.errors import FormatError
from ddpmcodec.io.limits import MAX_PIXELS


def canvas_size(height: int, width: int, window: int, factor: int = 1) -> tuple[int, int]:
    """Return the plane the chain runs on: the picture, at 1/factor of its size for latents, extended to a window where
    it is smaller. FormatError beyond limits.
    """
    canvas = max(-(-height // factor), window), max(-(-width // factor), window)
    if canvas[0] * canvas[1] * factor**2 > MAX_PIXELS:
        raise FormatError(
            f"picture of {width}x{height}: it is coded as {canvas[1] * factor}x{canvas[0] * factor}, more than "
            f"{MAX_PIXELS >> 20} megapixels"
        )
    return canvas
