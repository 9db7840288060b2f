"""`ddpmcodec join`: makes one model of networks for ranges of noise levels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ddpmcodec.cli.common import DebugOption, QuietOption, command
from ddpmcodec.cli.files import check_outputs
from ddpmcodec.cli.speech import tell
from ddpmcodec.errors import ModelError


@command
def join(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Convolutional U-Nets, noisiest levels first.")
    ],
    at: Annotated[list[float], typer.Option("--at", help="Log-SNR from which the next of them is asked; repeat.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file to write.")],
    name: Annotated[str | None, typer.Option(help="The model's name in the file; default: the file's.")] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Join networks that were trained for ranges of noise levels; `plan` makes the result a codec.

    A model that is joined already stands for its network of the same place.
    """
    from ddpmcodec.models import save_model
    from ddpmcodec.models.level_ranges_config import LevelRangesConfig
    from ddpmcodec.models.source import open_network

    check_outputs(output, inputs=models)
    if output.exists():
        raise ModelError(f"{output} exists: name another file")
    sources = [open_network(model) for model in models]
    parts = [_part(source, i) for i, source in enumerate(sources)]
    network = LevelRangesConfig(tuple(part.config for part in parts), tuple(at)).build()
    for part, given in zip(network.networks, parts, strict=True):
        part.load_state_dict(given.state_dict())
    note = "; ".join(dict.fromkeys(source.note for source in sources if source.note))
    try:
        mark = save_model(output, network, None, name or output.stem, note, network.config)
    except OSError as error:
        raise ModelError(f"can't write {output}: {error.strerror or error}") from error
    if not quiet:
        tell(f"{output}: {len(models)} networks, fingerprint {mark[:8]}; `ddpmcodec plan` makes it a codec")


def _part(source: Any, place: int) -> Any:
    """The network of a source that is to take this place; of networks that are joined already, the one in it."""
    from ddpmcodec.models.conv_unet import ConvUNet
    from ddpmcodec.models.level_ranges import LevelRanges

    network = source.network
    if isinstance(network, LevelRanges) and place < len(network.networks):
        return network.networks[place]
    if isinstance(network, ConvUNet):
        return network
    raise ModelError(f"{source.name} is a network of another kind: expected convolutional U-Nets, as photo-small's are")
