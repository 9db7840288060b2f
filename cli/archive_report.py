"""Report of `ddpmcodec encode` on an archive."""

from __future__ import annotations

import math
from typing import Any

from ddpmcodec.cli.speech import tell


class ArchiveReport:
    """Collector of what `encode` reports of an archive, batch by batch."""

    def __init__(self, pictures: list[Any], verbose: bool, lossless: bool):
        self.pictures, self.verbose, self.lossless = pictures, verbose, lossless
        self.done, self.ideal, self.squared = 0, 0.0, 0.0
        self.last: Any = None

    def add(self, sent: Any) -> None:
        self.ideal += float(sent.ideal_bits.sum())
        self.last = sent
        if self.verbose:
            tell(
                f"pictures {self.done}-{self.done + len(sent.x_s) - 1}  step {sent.n:3d}  log-SNR "
                f"{sent.log_snr_s:7.3f}  "
                f"ideal {sent.ideal_bits.sum():10.1f} bits  sent {sum(p.bits for p in sent.packets):7d} bits",
            )

    def batch_done(self, done: int) -> None:
        """Note a batch. Distortion is that of the pictures a receiver decodes from all steps."""
        from ddpmcodec.io.images import squared_error, to_bytes

        for plane, picture in zip(self.last.reconstruct(), self.pictures[self.done : done], strict=True):
            decoded = to_bytes(plane, *picture.shape[:2])
            self.squared += 0.0 if self.lossless else squared_error(decoded, picture)
        self.done = done

    def values(self, archive: Any) -> dict[str, Any]:
        """Return totals; RMSE and PSNR are those of the mean squared error over all pictures."""
        dims = sum(p.size for p in self.pictures)
        mse = self.squared / dims
        return {
            "pictures": archive.count,
            "bytes": len(archive.data),
            "header_bytes": archive.header_bytes,
            "index_bytes": archive.index_bytes,
            "payload_bytes": sum(archive.sizes),
            "check_bytes": archive.check_bytes,
            "real_bits_per_dim": round(8 * len(archive.data) / dims, 6),
            "ideal_bits_per_dim": round(self.ideal / dims, 6),
            "psnr": round(10 * math.log10(255**2 / mse), 3) if mse else None,
            "rmse": round(mse**0.5, 4),
            "width": archive.header.width,
            "height": archive.header.height,
            "steps": self.last.n,
        }
