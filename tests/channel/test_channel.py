from __future__ import annotations

import pytest

from ddpmcodec.channel.names import channel_of, default_memory, parse_channel
from ddpmcodec.channel.random_coding import RandomCodingChannel
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.errors import DdpmCodecError, FormatError


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("trellis", TrellisChannel(default_memory(3072))),
        *((f"trellis:{n}", TrellisChannel(n)) for n in range(8, 17)),
        ("orc", RandomCodingChannel(14)),
        *((f"orc:{n}", RandomCodingChannel(n)) for n in range(8, 17)),
    ],
)
def test_names_lead_to_channels(name: str, channel: object):
    assert channel_of(parse_channel(name), 3072) == channel


@pytest.mark.parametrize(
    "name", ["", "huffman", "trellis:7", "trellis:17", "orc:x", "orc:²", "orc:-8", "TRELLIS", "trellis:8:8"]
)
def test_other_names_are_refused(name: str):
    with pytest.raises(DdpmCodecError, match="expected trellis"):
        parse_channel(name)


@pytest.mark.parametrize("spec", [(0, 7), (0, 17), (1, 7), (1, 17), (2, 12), (255, 255)])
def test_unknown_header_fields_are_refused(spec: tuple[int, int]):
    with pytest.raises(FormatError, match="unknown"):
        channel_of(spec, 3072)
