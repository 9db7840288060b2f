"""Rates at which the lossless tail's networks learn; the result ships with the package and is part of the format.

    python -m ddpmcodec.eval.studies.tail_rates --data photo-small=photos/ -o ddpmcodec/lossless/rates.npz

The usual sizes (root mean squares) of every layer's inputs, and of the gradients of its outputs, on training pictures
as `fit_tail` brings them to the chain's end, as powers of two.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.eval.studies.fit_tail import Examples, bits, choose
from ddpmcodec.io.atomic import replacing
from ddpmcodec.lossless.lattice import groups
from ddpmcodec.lossless.network import HIDDEN, INPUT, WEIGHT, Layers, layers

_LEAST = 0.01  # added to sizes: units that never stirred on training pictures aren't to jump on another


def sizes(net: Layers, x: Tensor, truth: Tensor, own: Tensor, scale: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return, layer by layer, the root mean squares of the inputs, the constant one's last, and of the outputs'
    gradients, in nats.
    """
    unities = (INPUT, 1 << HIDDEN, 1 << HIDDEN)
    weights = [torch.from_numpy(w.astype(np.float32)) / 2**WEIGHT for w in net.w]
    seen, out = [x], x
    for k, (w, b, unity) in enumerate(zip(weights, net.b, unities, strict=True)):
        out = out @ w + torch.from_numpy(b.astype(np.float32)) / (unity * 2.0**WEIGHT)
        if k < 2:
            out = torch.relu(out)
            seen.append(out)
    out.requires_grad_()
    (bits(out, truth, own, scale).sum() * math.log(2)).backward()  # type: ignore[no-untyped-call]
    assert out.grad is not None
    slopes = [out.grad]
    for k in (2, 1):
        slopes.insert(0, (slopes[0] @ weights[k].T) * (seen[k] > 0))
    one = torch.ones(1)
    return [(torch.cat([_rms(s), one]), _rms(g)) for s, g in zip(seen, slopes, strict=True)]


def _rms(values: Tensor) -> Tensor:
    return values.square().mean(0).sqrt() + _LEAST


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="MODEL=PATH", help="mosaic of tiles, or folder")
    parser.add_argument("--tiles", type=int, default=6400, help="of a mosaic")
    parser.add_argument("--crops", type=int, default=1, help="of each photograph")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    name, _, path = args.data.rpartition("=")
    chosen = choose(name, [Path(path)], args.tiles, args.crops, args.seed)
    examples, arrays = Examples(chosen.model, chosen.train, args.seed), dict[str, NDArray[np.int8]]()
    for g, (group, net) in enumerate(zip(groups(), layers(), strict=True)):
        for k, (inputs, outputs) in enumerate(sizes(net, *examples.of(group))):
            for side, found in (("in", inputs), ("out", outputs)):
                arrays[f"{side}{g}.{k}"] = (-torch.log2(found)).round().numpy().astype(np.int8)
    with replacing(args.output) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
