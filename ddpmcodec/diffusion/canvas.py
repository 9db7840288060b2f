"""Canvas: the plane that the chain runs on, with the picture at its top left."""

from __future__ import annotations

from ddpmcodec.errors import FormatError
from ddpmcodec.io.limits import MAX_PIXELS


def canvas_size(height: int, width: int, window: int) -> tuple[int, int]:
    """Return the plane the chain runs on: the picture, extended to a window where it is smaller. FormatError beyond
    limits.
    """
    canvas = max(height, window), max(width, window)
    if canvas[0] * canvas[1] > MAX_PIXELS:
        raise FormatError(
            f"picture of {width}x{height}: it is coded as {canvas[1]}x{canvas[0]}, more than {MAX_PIXELS >> 20} "
            "megapixels"
        )
    return canvas
