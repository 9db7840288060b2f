"""Numbers that streams and decoded pictures depend on, each with its value: to change one is to change the format.

Where such a change is meant, it comes with a new VERSION and new golden files. Tables that are made of these numbers
are checked by the second implementation of the format (`tests/tools/format_parser.py`), and the lossless tail's by
their hash.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from typing import Any

import numpy as np
import pytest

from ddpmcodec.bitstream.bit_counts import grid, least_spread
from ddpmcodec.bitstream.shares import _WHITE_AFTER_COLOURED, _WHITE_AFTER_WHITE
from ddpmcodec.channel.prior import Prior
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.diffusion.spectrum import OPPONENT
from ddpmcodec.numerics.philox import Key, gaussian

CONSTANTS: dict[str, dict[str, Any]] = {
    "numerics.fixed_point": {"LOG_FRACTION": 16},
    "numerics.philox": {"NOISE": 0, "TRELLIS": 1, "CANDIDATES": 2, "ARRIVALS": 3, "ROUNDING": 5},
    "diffusion.error_curve": {"FRACTION": 40, "END_RMSE": 0.88, "END_MSE": 52377504},
    "diffusion.plan": {
        "BITS_FRACTION": 8,
        "_RATIO_FRACTION": 24,
        "_EXCESS_FIXED": 189,
        "_SIDE_BITS": 333,
        "_EXCESS_SLOPE": (44, 1024),
        "_EXCESS_FROM": 5120,
        "DEFAULT_STEPS": 46,
    },
    "diffusion.spectrum": {
        "COLOURS": 3,
        "BANDS": 32,
        "TILE": 32,
        "LEAST_GROUPS": 24,
        "MOST_GROUPS": 768,
        "GROUP_SIZE": 128,
        "POWER_FRACTION": 16,
        "_STEPS": 16,
        "_POWERS": (
            65536,
            68438,
            71468,
            74632,
            77936,
            81386,
            84990,
            88752,
            92682,
            96785,
            101070,
            105545,
            110218,
            115098,
            120194,
            125515,
        ),
    },
    "diffusion.axes": {"AXES_FRACTION": 20},
    "diffusion.tiles": {"AT_A_TIME": 1048576, "HALOS": ((-math.inf, 96), (1.0, 64), (4.5, 32))},
    "diffusion.windows": {"STRIDE_NOISY": 16, "STRIDE": 24, "NOISY_LOG_SNR": -1.0},
    "channel.codebook": {
        "MAX_TAPS": 10,
        "MAX_HADAMARD": 4096,
        "MIN_HADAMARD": 256,
        "GROUPED_HADAMARD": 128,
        "_TAIL": (2253, 1251, 695, 386, 214, 119, 66, 37, 20, 11, 6, 3, 2, 1),
    },
    "channel.names": {"LARGER_TRELLIS_DIMS": 16384, "TRELLIS": 0, "RANDOM_CODING": 1},
    "channel.random_coding": {"SPARE_BITS": 6, "_TOTAL": 4194304},
    "channel.blocks": {"MAX_BLOCK_BITS": 4096, "SHORT_BITS": 40, "SHORT_MEMORY": 12},
    "channel.metrics": {"TARGET_RMS": 64, "BRANCH_SIGMAS": 4.5},
    "channel.trellis": {
        "_EXCESS_PER_BIT": {
            8: 0.08,
            9: 0.07,
            10: 0.061,
            11: 0.052,
            12: 0.044,
            13: 0.04,
            14: 0.037,
            15: 0.034,
            16: 0.031,
        },
    },
    "channel.viterbi": {"RENORMALISE": 8},
    "bitstream.bit_counts": {
        "_TOTAL": 65536,
        "_END_FREQUENCY": 128,
        "_UNIT": 256,
        "FIRST_SPREAD": 640,
        "MISMATCH_BITS": 4.0,
        "_DIMS": 3072,
        "MOST_FINE": 16,
    },
    "bitstream.header": {
        "MAGIC": b"\xdd\xbc",
        "VERSION": 2,
        "MAX_PIXELS_PER_BYTE": 65536,
        "SHORT_CHECK_PIXELS": 4096,
        "TAIL_CHECK_BYTES": 4,
    },
    "bitstream.fields": {
        "MARK": 128,
        "MAX_FIELD_BYTES": 1048576,
        "ICC_PROFILE": 1,
        "EXIF": 2,
        "XMP": 3,
        "FILE_NAME": 4,
        "FRAME": 5,
        "OWN_FIELDS": 128,
        "GREY_PICTURES": 129,
        "CLASS": 130,
        "PROMPT": 131,
        "GUIDANCE": 132,
        "SOLID": 133,
        "LEARNING": 134,
    },
    "bitstream.archive": {"MAX_SOLID": 256},
    "bitstream.archive_index": {"MAX_WIDTH": 48},
    "bitstream.packet": {"GAIN_STEP": 2**0.5},
    "bitstream.shares": {"MOST_GAIN": 32, "_FIRST_SPREAD": 300, "_LEAST_SPREAD": 60},
    "bitstream.short_step": {"_USUAL_SYMBOLS": 16384, "_MOST_SYMBOLS": 4194304, "_RARE": (15, 1)},
    "codec.step_target": {"REACH": 0.6},
    "lossless.adaptation": {"_SHARES": (4, 3, 2, 1, 0), "_WIDER": (0, -4, 4, 8, 12)},
    "lossless.distribution": {
        "_Z_STEP": 1024,
        "TOTAL": 24,
        "_FLOOR": 16,
        "_MIX": 6,
        "_INVERSE": 20,
        "SLOPE": 12,
        "_NEAR": 8,
        "_LN_2": 2839,
    },
    "lossless.learning": {"PART": 256, "FINE": 10, "_STEP": (11, 12, 12), "_FARTHEST": 4, "_WEIGHT_BOUND": 134217728},
    "lossless.lattice": {
        "RADIUS": 2,
        "_PHASES": ((0, 0), (1, 1), (0, 1), (1, 0)),
        "_COLOURS": (1, 0, 2),
        "CHUNK": 16384,
    },
    "lossless.network": {
        "INPUT": 64,
        "WEIGHT": 12,
        "HIDDEN": 8,
        "_BOUND": 512,
        "HIDDEN_BOUND": 65536,
        "OUTPUT_BOUND": 131072,
        "OCTAVE": 8,
        "LEAST_SCALE": 24,
        "MOST_SCALE": 136,
        "MIX_STEP": 16,
        "MIX_BOUND": 96,
    },
    "lossless.rounding": {
        "UNIT": 512,
        "CELL": 128,
        "TOLERANCE": 0.5625,
        "BLOCK": 512,
        "ESCAPE": 255,
        "_TOTAL": 1048576,
    },
    "codec.trajectory": {"TAIL_RMSE": 1.6, "LARGE_TAIL_RMSE": 1.3},
}

GRID = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 18, 21, 25, 29, 34, 40, 47, 55, 64, 75, 88)
# Of each memory: the SNR that 1, 19, 300, 2800 and 9000 bits buy.
SNR: dict[int, list[float]] = {
    8: [0.0021684325960005246, 0.007308247731995454, 0.13097633641017747, 1.5817537206840426, 1.382609160198108],
    9: [0.0021684325960005246, 0.007308247731995454, 0.13240628426346168, 1.61434646017922, 1.407344002180805],
    10: [0.0021684325960005246, 0.007308247731995454, 0.13369478306520222, 1.6440315759275528, 1.4298248332699575],
    11: [0.0021684325960005246, 0.007308247731995454, 0.13498474797428028, 1.6740537572142191, 1.452515600191297],
    12: [0.0021684325960005246, 0.007308247731995454, 0.13613261560372636, 1.701026202229074, 1.4728629976770327],
    13: [0.0021684325960005246, 0.007308247731995454, 0.13670698468137554, 1.7146142777313473, 1.4830999140413113],
    14: [0.0021684325960005246, 0.007308247731995454, 0.13713795203748158, 1.7248501752870973, 1.4908054021544617],
    15: [0.0021684325960005246, 0.007308247731995454, 0.1375690827891367, 1.7351246689703457, 1.498534801728736],
    16: [0.0021684325960005246, 0.007308247731995454, 0.13800037699829026, 1.7454379043141093, 1.5062881869655311],
}
# The first digits of what is sent with a white prior and with a coloured one.
CODES: dict[int, tuple[str, str]] = {
    8: ("b1e4720bbd9f2718", "2ef776af6ea1f88b"),
    12: ("ff77f817129f4f74", "d767e4830b378a88"),
    13: ("dd09e3ad25b135a0", "bfca0daaf2af3133"),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in CONSTANTS.items() for name in names])
def test_a_constant_of_the_format_is_what_it_was(module: str, name: str):
    assert getattr(importlib.import_module(f"ddpmcodec.{module}"), name) == CONSTANTS[module][name]


def test_small_tables_of_the_format_are_what_they_were():
    assert (_WHITE_AFTER_COLOURED.frequencies, _WHITE_AFTER_WHITE.frequencies) == ((63, 1), (1, 3))
    assert grid(100) == GRID
    assert [least_spread(n) for n in (0, 1, 4, 99)] == [192, 168, 126, 96]
    np.testing.assert_allclose(OPPONENT @ OPPONENT.T, np.eye(3), atol=1e-6)
    assert (np.sign(OPPONENT) == [[1, 1, 1], [1, 0, -1], [1, -1, 1]]).all()
    assert OPPONENT[2, 1] == pytest.approx(-2 * OPPONENT[2, 0])


@pytest.mark.parametrize(("memory", "expected"), SNR.items())
def test_what_bits_buy_is_what_it_was(memory: int, expected: list[float]):
    """Both sides scale by it: each table entry, and each term of the excess, moves every decoded picture."""
    channel = TrellisChannel(memory)
    found = [channel.snr(bits, dims) for bits, dims in ((1, 64), (19, 3072), (300, 3072), (2800, 3072), (9000, 12000))]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("memory", list(CODES))
@pytest.mark.parametrize("coloured", [False, True])
def test_what_is_sent_for_a_shift_is_what_it_was(memory: int, coloured: bool):
    """The search, its weights on strong coefficients among them."""
    prior = Prior(tuple(2.0 ** (4 - g / 2) for g in range(24)), 3072) if coloured else None
    shift = gaussian(Key(7, 1), 3072) * (
        np.float32(0.5) if prior is None else prior.spread(np.sqrt(0.2 * np.array(prior.power)))
    )
    (code,) = TrellisChannel(memory).encode(shift[None], [500], Key(3, 2), [prior])
    assert hashlib.sha256(code.astype("<i4").tobytes()).hexdigest()[:16] == CODES[memory][coloured]
