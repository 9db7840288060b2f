"""Report of `ddpmcodec encode` on a single picture."""

from __future__ import annotations

from typing import Any


class EncodeReport:
    """Collects what `encode` reports, step by step."""

    def __init__(self, picture: Any, lossless: bool):
        self.picture, self.lossless = picture, lossless
        self.ideal = 0.0
        self.last: Any = None

    def add(self, sent: Any) -> None:
        self.ideal += float(sent.ideal_bits[0])
        self.last = sent

    def line(self, sent: Any) -> str:
        packet = sent.packets[0]
        return (
            f"step {sent.n:3d}  log-SNR {sent.log_snr_s:7.3f}  v/b {sent.variance_ratio[0]:.4f}  "
            f"ideal {sent.ideal_bits[0]:10.1f} bits  sent {packet.bits:7d} bits{'  coloured' * packet.coloured}"
        )

    def values(self, data: bytes, codec: Any) -> dict[str, Any]:
        """Return the report. Distortion is that of the picture a receiver decodes from all steps (x0_hat of the last
        state, in whole levels).
        """
        import numpy as np

        from ddpmcodec.io.images import squared_error, to_bytes

        height, width, _ = self.picture.shape
        decoded = to_bytes(self.last.reconstruct()[0], height, width)
        mse = 0.0 if self.lossless else squared_error(decoded, self.picture) / self.picture.size
        dims = self.picture.size
        return {
            "bytes": len(data),
            "real_bits_per_dim": round(8 * len(data) / dims, 6),
            "ideal_bits_per_dim": round(self.ideal / dims, 6),
            "psnr": round(10 * float(np.log10(255**2 / mse)), 3) if mse else None,
            "rmse": round(mse**0.5, 4),
            "width": width,
            "height": height,
            "steps": self.last.n,
            "model": codec.name,
        }
