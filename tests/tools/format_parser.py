"""A second parser of ddpmcodec files, written from docs/format.md alone: standard library, whole numbers, nothing
shared.

It reads everything short of the picture: header, plan, counts, symbols, END, short step, where the lossless tail
starts, and archives, solid ones too. Slow, and meant to be read beside the specification; the section numbers below
are its.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from math import isqrt
from operator import add
from pathlib import Path

STEPS, CHANNEL, SEED, SHORT, LOSSLESS, ARCHIVE, GREY, FIELDS = 1, 2, 4, 8, 16, 32, 64, 128
OWN_FIELDS, GREY_PICTURES, SOLID = 128, 129, 133
CONDITION = {130, 131, 132}  # class, prompt, guidance
LEARNING = 134
TRELLIS, RANDOM_CODING = 0, 1


class Refused(Exception):
    """What a decoder must refuse."""


def require(condition: bool, what: str) -> None:
    if not condition:
        raise Refused(what)


# 2. Header


@dataclass(frozen=True)
class Head:
    flags: int
    fingerprint: str
    width: int
    height: int
    plan_steps: int | None
    channel: tuple[int, int] | None
    seed: int
    size: int  # bytes
    fields: tuple[tuple[int, bytes], ...] = ()
    fields_at: int = 0  # where they begin, with their size; 0: there are none

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def check_bytes(self) -> int:
        return 2 if self.pixels <= 4096 and not self.flags & ARCHIVE else 4

    @property
    def least_payload(self) -> int:
        return -(-self.pixels // 65536)


def number(data: bytes, at: int) -> tuple[int, int]:
    """LEB128, in its shortest form only."""
    value = shift = 0
    while True:
        require(at < len(data) and shift < 70, "a number has no end")
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            require(byte > 0 or shift == 7, "a number is not in its shortest form")
            return value, at


def header(data: bytes, archive: bool = False) -> Head:
    require(len(data) >= 8 and data[:2] == b"\xdd\xbc" and data[2] == 2, "no stream of version 2")
    flags = data[3]
    require(bool(flags & ARCHIVE) == archive, "flags")
    require(flags & (SHORT | LOSSLESS) != SHORT | LOSSLESS, "a short step before a lossless tail")
    width, at = number(data, 8)
    height, at = number(data, at)
    width, height, plan_steps, channel, seed = width + 1, height + 1, None, None, 0
    if flags & STEPS:
        plan_steps, at = number(data, at)
    if flags & CHANNEL:
        require(at + 2 <= len(data), "the channel is cut")
        channel, at = (data[at], data[at + 1]), at + 2
    if flags & SEED:
        seed, at = number(data, at)
        require(0 < seed < 1 << 64, "seed")
    found: tuple[tuple[int, bytes], ...] = ()
    fields_at = at if flags & FIELDS else 0
    if flags & FIELDS:
        size, at = number(data, at)
        require(0 < size <= 1 << 20 and at + size <= len(data), "the fields' size")
        known = CONDITION | {LEARNING} | ({OWN_FIELDS, GREY_PICTURES, SOLID} if archive else set())
        found, at = fields(data[at : at + size], known), at + size
    require(dict(found).get(OWN_FIELDS, b"") == b"", "own fields")
    learning = dict(found).get(LEARNING)
    require(learning is None or (learning == b"" and bool(flags & LOSSLESS)), "a tail that learns")
    require(width * height <= 64 << 20, "size")
    require(width * height <= 65536 * max(len(data) - at, 1), "too little data for the size")
    return Head(flags, data[4:8].hex(), width, height, plan_steps, channel, seed, at, found, fields_at)


def fields(data: bytes, known: set[int]) -> tuple[tuple[int, bytes], ...]:
    """The fields that fill the data. known: marked identifiers that a reader understands."""
    at, found = 0, list[tuple[int, bytes]]()
    while at < len(data):
        identifier = data[at]
        size, at = number(data, at + 1)
        require(at + size <= len(data), "a field is cut")
        require(not found or identifier > found[-1][0], "the fields are not in their order")
        require(identifier < 128 or identifier in known, "a field that must be understood")
        found.append((identifier, data[at : at + size]))
        at += size
    return tuple(found)


def leb128(value: int) -> bytes:
    """A number in its shortest form."""
    return bytes([value & 127 | 128]) + leb128(value >> 7) if value > 127 else bytes([value])


def check(head: Head, body: bytes) -> bytes:
    if head.check_bytes == 2:
        return binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")
    return zlib.crc32(body).to_bytes(4, "big")


# 3. Plan


@dataclass(frozen=True)
class Model:
    """What a parser needs of a model file: its metadata."""

    fingerprint: str
    log_snr: tuple[int, ...]
    snr: tuple[int, ...]
    mse: tuple[int, ...]
    dims: int
    window: int = 32
    channels: int = 3
    factor: int = 1
    spectrum: tuple[tuple[int, ...], tuple[tuple[int, ...], ...]] | None = None  # log-SNRs, rows of powers
    plans: tuple[tuple[int, ...], ...] = ()  # stored ones: places on the curve
    usual: int | None = None  # steps where a header names none


def model_file(path: Path) -> Model:
    """The metadata of a safetensors file: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        metadata = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
    config, curve = json.loads(metadata["config"]), json.loads(metadata["curve"])
    if "shape" in metadata:
        shape = json.loads(metadata["shape"])
        config |= {"window": shape["window"], "image_channels": shape["channels"], "factor": shape["factor"]}
    levels = (tuple(curve[k]) for k in ("log_snr", "snr", "mse"))
    spectrum = None
    if "spectrum" in curve:
        spectrum = (tuple(curve["spectrum"]["log_snr"]), tuple(tuple(row) for row in curve["spectrum"]["power"]))
    shape = config["window"], config["image_channels"], config.get("factor", 1)
    plans = tuple(tuple(plan) for plan in curve.get("plans", ()))
    return Model(metadata["fingerprint"], *levels, curve["dims"], *shape, spectrum, plans, curve.get("usual_plan"))


def log2(x: int, fraction: int) -> int:
    """log2(x / 2^fraction) in 1/65536, x in 1 … 2^63 - 1."""
    exponent = x.bit_length() - 1
    m = x << 31 >> exponent if exponent <= 31 else x >> (exponent - 31)
    result = (exponent - fraction) << 16
    for bit in range(15, -1, -1):
        m = m * m >> 31
        if m >> 32:
            m, result = m >> 1, result + (1 << bit)
    return result


def with_excess(rate: int) -> int:
    excess = 189 + (log2(max(rate, 512), 8) >> 1 >> 8) + max(rate - 5120, 0) * 44 // 1024
    return rate + min(excess, 9 * rate)


def step_rate(model: Model, error: int, gain: int) -> int:
    ratio = min((error * gain >> 48) + (1 << 32), (1 << 63) - 1)
    return log2(ratio, 32) * model.dims >> 9


def tile_frequencies(length: int) -> list[int]:
    count = max(1, (length + 16) // 32)
    size, larger = divmod(length, count)
    return [(k << 20) // n for n in [size + 1] * larger + [size] * (count - larger) for k in range(n)]


POWERS = [
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
]


@lru_cache(maxsize=64)
def group_powers(row: tuple[int, ...], height: int, width: int) -> list[int]:
    """Of each group of coefficients, in 1/65536 of the mean power."""
    band_of = [min(31, isqrt(y * y + x * x >> 30)) for y in tile_frequencies(height) for x in tile_frequencies(width)]
    counts = [band_of.count(band) for band in range(32)] * (len(row) // 32)
    powers: list[int] = []  # of every coefficient, the strongest first
    for c in sorted(range(len(row)), key=lambda c: (-row[c], c)):
        powers += [POWERS[row[c] % 16] << (row[c] // 16 + 16)] * counts[c]
    groups = min(max(len(powers) // 128, 24), 768)
    edges = [g * len(powers) // groups for g in range(groups + 1)]
    total = sum(powers)
    return [(sum(powers[a:b]) * len(powers) << 16) // (total * (b - a)) for a, b in zip(edges, edges[1:], strict=False)]


def row_at(levels: tuple[int, ...], rows: tuple[tuple[int, ...], ...], level: int) -> tuple[int, ...]:
    if level <= levels[0]:
        return rows[0]
    if level >= levels[-1]:
        return rows[-1]
    b = min(i for i, other in enumerate(levels) if other > level)
    part, span = level - levels[b - 1], levels[b] - levels[b - 1]
    return tuple(x + (y - x) * part // span for x, y in zip(rows[b - 1], rows[b], strict=True))


def coloured_rate(model: Model, start: int, gain: int) -> int:
    assert model.spectrum is not None
    row = row_at(*model.spectrum, model.log_snr[start])
    side = isqrt(model.dims // model.channels)
    ratio = min(model.mse[start] * gain >> 56, 1 << 40)
    powers = group_powers(row, side, side)
    logs = [log2((1 << 24) + (ratio * power >> 16), 24) for power in powers]
    return sum(logs) * model.dims // len(powers) >> 9


END_MSE = 52377504  # (0.88 / 127.5)^2, in 2^-40


@lru_cache(maxsize=8)
def costs(model: Model) -> tuple[list[int], list[list[int]]]:
    """Rates of a first step to each level, and of the steps between levels."""
    above = [i for i, mse in enumerate(model.mse) if mse >= END_MSE]
    n = (above[-1] if above else len(model.mse) - 1) + 1
    first = [step_rate(model, model.mse[0], model.snr[j]) for j in range(n)]
    between = [
        [step_rate(model, model.mse[i], model.snr[j] - model.snr[i]) if j > i else 0 for j in range(n)]
        for i in range(n)
    ]
    return first, between


@lru_cache(maxsize=32)
def plan(model: Model, steps: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(levels reached, as places on the curve; rate of each step in 1/256 bit)."""
    first, between = costs(model)
    n = len(first)
    steps = min(model.usual or 46, n) if steps is None else steps
    require(1 <= steps <= n, "a plan that the model does not have")
    stored = next((list(plan) for plan in model.plans if len(plan) == steps), None)
    if stored is not None:
        return along(model, stored)
    path, rates = along(model, cheapest(first, between, steps))
    if steps >= 6 and max(rates) > 256 * model.dims:
        lost = lambda rate: 100 * max(rate - 256 * model.dims, 0)  # noqa: E731
        return along(model, cheapest(first, between, steps, lost))
    return path, rates


def along(model: Model, path: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A path and its rates."""
    first, between = costs(model)
    if model.spectrum is not None:
        gains = [model.snr[path[0]], *(model.snr[j] - model.snr[i] for i, j in zip(path, path[1:], strict=False))]
        return tuple(path), tuple(
            coloured_rate(model, start, gain) for start, gain in zip([0, *path], gains, strict=False)
        )
    return tuple(path), (first[path[0]], *(between[i][j] for i, j in zip(path, path[1:], strict=False)))


def cheapest(
    first: list[int], between: list[list[int]], steps: int, lost: Callable[[int], int] = lambda rate: 0
) -> list[int]:
    """Places of the path of least cost."""
    n, far = len(first), 1 << 60
    cost = lambda rate: with_excess(rate) + 333 + lost(rate)  # noqa: E731
    best, came = [cost(r) for r in first], []
    columns = [[cost(between[i][j]) for i in range(j)] for j in range(n)]
    for _ in range(steps - 1):
        totals = [[*map(add, best, column), far] for column in columns]
        least = [min(min(total), far) for total in totals]
        came.append(
            [total.index(m) if m < far else 0 for total, m in zip(totals, least, strict=True)]
        )  # the lower of equals
        best = least
    path = [n - 1]
    for choice in reversed(came):
        path.append(choice[path[-1]])
    path.reverse()
    return path


# 4. Range coder


@dataclass(frozen=True)
class Symbols:
    """A model: the left ends of its symbols on [0, 2^24), and the end."""

    edges: tuple[int, ...] | None  # None: uniform
    size: int

    def of(self, symbol: int) -> tuple[int, int]:
        """Left end and width."""
        if self.edges is not None:
            return self.edges[symbol], self.edges[symbol + 1] - self.edges[symbol]
        each = (1 << 24) // self.size
        return symbol * each, each if symbol < self.size - 1 else (1 << 24) - symbol * each

    def at(self, quantile: int) -> int:
        if self.edges is None:
            return min(quantile // ((1 << 24) // self.size), self.size - 1)
        low, high = 0, self.size
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.edges[middle] <= quantile else (low, middle)
        return low


@lru_cache(maxsize=64)
def uniform(size: int) -> Symbols:
    return Symbols(None, size)


@lru_cache(maxsize=4096)
def categorical(frequencies: tuple[int, ...]) -> Symbols:
    total, n, edges, below = sum(frequencies), len(frequencies), [], 0
    for i, frequency in enumerate(frequencies):
        edges.append(below * ((1 << 24) - n) // total + i)
        below += frequency
    return Symbols((*edges, 1 << 24), n)


@dataclass
class Interval:
    """The coder's state: low and range, low with every word that has been shifted out."""

    low: int = 0
    range: int = (1 << 64) - 1
    words: int = 0  # shifted out

    def narrow(self, model: Symbols, symbol: int) -> None:
        left, width = model.of(symbol)
        scale = self.range >> 24
        self.low += scale * left
        self.range = scale * width
        if self.range < 1 << 32:
            self.low, self.range, self.words = self.low << 32, self.range << 32, self.words + 1

    def quantile(self, data: bytes, fill: int) -> int | None:
        """Of the number that data, followed by bytes `fill` without end, is; None where no encoder can have
        written it.
        """
        size = 4 * (self.words + 2)
        point = int.from_bytes(data[:size].ljust(size, bytes([fill])), "big")
        quantile = (point - self.low) // (self.range >> 24)
        return quantile if 0 <= quantile < 1 << 24 else None

    def sealed(self) -> bytes:
        ends = []
        for symbol in (0, 65535):
            end = Interval(self.low, self.range, self.words)
            for _ in range(6):
                end.narrow(uniform(65536), symbol)
            point = end.low + (1 << 32) - 1 >> 32  # rounded up to whole words
            zeros = (end.low + end.range) >> 32 == point
            ends.append(((point << 32 * zeros), end.words + 1 + zeros))
        size = max(words for _, words in ends)
        low, high = (point << 32 * (size - words) for point, words in ends)
        for length in range(4 * size):
            unit = 1 << 8 * (4 * size - length)
            value = -(-low // unit)
            if (value + 1) * unit - 1 <= high:
                return value.to_bytes(length, "big")
        raise AssertionError("an interval of no width")


# 5. Counts


def fineness(dims: int) -> int:
    return max(1, min(16, isqrt(dims // 3072)))


@lru_cache(maxsize=16)
def grid(most: int, s: int = 1) -> tuple[int, ...]:
    values = [0]
    while True:
        following = values[-1] + max(1, (values[-1] + 3 * s) // (6 * s))
        if following > most:
            return tuple(values)
        values.append(following)


def place(bits: int, values: tuple[int, ...]) -> int:
    """On the grid, in 1/256."""
    if bits >= values[-1]:
        return 256 * (len(values) - 1)
    low = max(i for i, v in enumerate(values) if v <= bits)
    return 256 * low + (bits - values[low]) * 256 // (values[low + 1] - values[low])


def around(centre: int, spread: int, places: int, total: int) -> tuple[int, ...]:
    """Frequencies of places, most of all of the centre."""
    weights = []
    for i in range(places):
        x = min(abs(256 * i - centre) * 256 // spread, 1 << 14)
        weights.append((1 << 40) // ((1 << 16) + x * x + (x * x >> 9) ** 2))
    frequencies = [1 + w * (total - places) // sum(weights) for w in weights]
    frequencies[weights.index(max(weights))] += total - sum(frequencies)
    return tuple(frequencies)


@lru_cache(maxsize=4096)
def count_symbols(centre: int, spread: int, places: int) -> Symbols:
    return categorical((128, *around(centre, spread, places, 65536 - 128)))


@lru_cache(maxsize=4096)
def gain_symbols(last: int, spread: int) -> Symbols:
    """Of a picture's gain -32 … 32 in a joint step (section 9)."""
    return categorical(around(256 * (last + 32), spread, 65, 65536))


# 6. Channels


@dataclass(frozen=True)
class Channel:
    kind: int
    parameter: int
    dims: int

    def __post_init__(self) -> None:
        require(self.kind in (0, 1) and 8 <= self.parameter <= 16, "channel")

    @property
    def most_bits(self) -> int:
        return self.dims if self.kind == TRELLIS else min(4, self.parameter - 6) * self.dims

    def symbols(self, bits: int) -> list[tuple[int, Symbols]]:
        if self.kind == TRELLIS:
            return [(bits // 16, uniform(65536))] * (bits >= 16) + [(1, uniform(1 << bits % 16))] * (bits % 16 > 0)
        chunks = -(-bits // (self.parameter - 6))
        return [(chunks, zipf(bits // chunks, self.parameter))] if chunks else []


@lru_cache(maxsize=16)
def zipf(divergence: int, log2_candidates: int) -> Symbols:
    count, exponent = 1 << log2_candidates, 1000 + 1_000_000 // (1000 * divergence + 1531)
    roots = [isqrt(1 << 59)]  # 2^(-1/2), 2^(-1/4), …, in 2^-30
    while len(roots) < 16:
        roots.append(isqrt(roots[-1] << 30))
    weights = []
    for n in range(1, count + 1):
        x = log2(n, 0) * exponent // 1000
        weight = 1 << 30
        for bit, root in zip(range(15, -1, -1), roots, strict=True):
            if x >> bit & 1:
                weight = weight * root >> 30
        weights.append(weight >> min(x >> 16, 40))
    total = sum(weights)
    frequencies = [1 + w * ((1 << 22) - count) // total for w in weights]
    frequencies[0] += (1 << 22) - sum(frequencies)
    return categorical(tuple(frequencies))


# 7. Payload


@dataclass(frozen=True)
class Step:
    index: int | None  # place on the grid of counts; None for a short step
    bits: int
    symbols: tuple[int, ...]
    colour: str = ""  # of the prior: "coloured " or "white "; nothing where there is no choice; gains behind it


@dataclass
class Parsed:
    """Everything of a file but the picture."""

    head: Head
    steps: list[Step] = field(default_factory=list)
    ended: bool = False  # the diffusion part is wholly there
    complete: bool = False  # the file is: its check matches, and its bytes are the only ones that say this
    tail: tuple[int, int] | None = None  # where the lossless tail starts and ends in the file

    def digest(self) -> str:
        """SHA-256 of the integers, written out: see section 12."""
        h = self.head
        tail = "" if self.tail is None else f"{self.tail[0]} {self.tail[1]}"
        lines = [f"{h.fingerprint} {h.width} {h.height} {h.plan_steps} {h.channel} {h.seed} {h.flags}"]
        lines += [f"{s.index} {s.bits} {s.colour}{' '.join(map(str, s.symbols))}" for s in self.steps]
        return hashlib.sha256("\n".join([*lines, f"{self.ended} {self.complete}", tail]).encode()).hexdigest()


class Reader:
    """Reads steps while every continuation of the bytes gives the same ones."""

    def __init__(self, head: Head, model: Model, data: bytes, pictures: int = 1):
        height, width = (max(-(-side // model.factor), model.window) for side in (head.height, head.width))
        require(height * width * model.factor**2 <= 64 << 20, "size")
        dims, self.data, self.short = model.channels * height * width, data, bool(head.flags & SHORT)
        kind, parameter = head.channel or (TRELLIS, 16 if dims <= 16384 else 14)
        self.dims, self.pictures = dims * pictures, pictures
        self.channel = Channel(kind, parameter, self.dims)
        self.values, self.wider = grid(self.channel.most_bits, fineness(self.dims)), fineness(dims)
        _, rates = plan(model, head.plan_steps)
        expected = [with_excess(rate * self.dims // model.dims) >> 8 for rate in rates]
        self.expected = [place(bits, self.values) for bits in expected]
        self.interval, self.steps, self.ended = Interval(), list[Step](), False
        self.deviation, self.spread = 0, 640 * self.wider
        self.has_spectrum, self.white = model.spectrum is not None, [False] * pictures
        self.gains = [(0, 300)] * pictures  # the last, and the spread

    def read_all(self) -> None:
        while not self.ended:
            before = Interval(self.interval.low, self.interval.range, self.interval.words)
            try:
                self.step()
            except EOFError:
                self.interval = before
                return

    def step(self) -> None:
        centre = self.expected[len(self.steps)] + self.deviation
        symbol = self.symbol(count_symbols(centre, self.spread, len(self.values)))
        if symbol == 0:
            self.end(centre)
            return
        index = symbol - 1
        step = self.rest_of(index, self.values[index])
        n, error = len(self.steps), 256 * index - centre
        self.deviation += error * (16 if 3 <= n < 8 else 10) // 16
        self.spread = max((96 + 96 * 3**n // 4**n) * self.wider, (8 * self.spread + 3 * abs(error)) // 16)
        self.steps.append(step)
        self.ended = len(self.steps) == len(self.expected)

    def end(self, centre: int) -> None:
        if self.short:
            last = len(self.values) - 1
            low, part = divmod(min(max(centre, 0), 256 * last), 256)
            expected = self.values[low] + (self.values[min(low + 1, last)] - self.values[low]) * part // 256
            most, unit = self.channel.most_bits, 1
            usual = min(most, 2 * expected + 16)
            while usual // unit >= 1 << 14 or most // unit >= 1 << 22:
                unit *= 2
            few, all_ = usual // unit + 1, most // unit + 1
            if all_ > few and self.symbol(categorical((15, 1))):
                bits = unit * (few + self.symbol(uniform(all_ - few)))
            else:
                bits = unit * self.symbol(uniform(few))
            if bits:
                self.steps.append(self.rest_of(None, bits))
        self.ended = True

    def rest_of(self, index: int | None, bits: int) -> Step:
        """What follows a step's count."""
        shape, white, gains = "", list(self.white), list(self.gains)
        for picture in range(self.pictures if bits else 0):
            if self.has_spectrum:
                white[picture] = bool(self.symbol(categorical((1, 3) if white[picture] else (63, 1))))
                shape += "white " if white[picture] else "coloured "
            if self.pictures > 1:
                last, spread = gains[picture]
                gain = self.symbol(gain_symbols(last, spread)) - 32
                gains[picture] = gain, max(60, (3 * spread + 256 * abs(gain - last) * 3 // 4) // 4)
                shape += f"{gain} "
        step = Step(index, bits, self.code(bits), shape)
        self.white, self.gains = white, gains
        return step

    def code(self, bits: int) -> tuple[int, ...]:
        return tuple(self.symbol(model) for count, model in self.channel.symbols(bits) for _ in range(count))

    def symbol(self, model: Symbols) -> int:
        if model.size == 1:
            return 0  # costs nothing
        quantiles = [self.interval.quantile(self.data, fill) for fill in (0x00, 0xFF)]
        found = {None if q is None else model.at(q) for q in quantiles}
        if len(found) > 1 or None in found:
            raise EOFError
        (symbol,) = found
        assert symbol is not None
        self.interval.narrow(model, symbol)
        return symbol


def stream(data: bytes, model: Model) -> Parsed:
    """A picture's file, as far as its bytes determine it. Raises Refused."""
    head = header(data)
    require(head.fingerprint == model.fingerprint[:8], "another model's")
    end = len(data) - head.check_bytes
    if end >= head.size and check(head, data[:end]) == data[end:]:
        reader = Reader(head, model, data[head.size : end])
        reader.read_all()
        sealed = reader.interval.sealed() if reader.ended else b""
        if head.flags & LOSSLESS:
            tail = (head.size + len(sealed), end)
            sound = reader.steps and tail[1] - tail[0] > 4
            if reader.ended and data[head.size : end].startswith(sealed) and sound:
                return Parsed(head, reader.steps, True, True, tail)
        elif reader.ended and sealed.ljust(head.least_payload, b"\x00") == data[head.size : end]:
            return Parsed(head, reader.steps, True, True)
    reader = Reader(head, model, data[head.size :])
    reader.read_all()
    return Parsed(head, reader.steps, reader.ended)


# 9. Archives


def payloads(data: bytes, head: Head) -> tuple[int, int, list[bytes]]:
    """How many pictures an archive has, how many share a payload, and the payloads."""
    count, at = number(data, head.size)
    least, at = number(data, at)
    require(at < len(data) and count > 0 and least >= head.least_payload, "index")
    width, at = data[at], at + 1
    require(width <= 48, "index")
    solid, known = 1, dict(head.fields)
    if SOLID in known:
        solid, end = number(known[SOLID], 0)
        require(end == len(known[SOLID]) and 2 <= solid <= min(count, 256), "pictures a block")
        require(head.pixels * solid <= 64 << 20, "a block's size")
        require(not head.flags & SHORT and OWN_FIELDS not in known, "a solid archive's header")
    blocks = -(-count // solid)
    packed = (blocks * width + 7) // 8
    require(at + packed <= len(data), "the index is cut")
    bits = int.from_bytes(data[at : at + packed], "big")
    padding = 8 * packed - blocks * width
    require(bits & ((1 << padding) - 1) == 0, "index padding")
    more = [bits >> padding >> width * (blocks - 1 - i) & ((1 << width) - 1) for i in range(blocks)]
    require(min(more) == 0 and max(more).bit_length() == width, "the index is not in its shortest form")
    at, found = at + packed, []
    for extra in more:
        found.append(data[at : at + least + extra])
        at += least + extra
    require(at == len(data) - 4 and check(head, data[:at]) == data[at:], "the archive is cut or damaged")
    return count, solid, found


def grey_pictures(head: Head, count: int) -> str:
    """One 0 or 1 a picture."""
    which = {GREY_PICTURES: bytes([255 if head.flags & GREY else 0] * -(-count // 8))} | dict(head.fields)
    bits = "".join(f"{byte:08b}" for byte in which[GREY_PICTURES])
    grey, rest = bits[:count], bits[count:]
    if any(identifier == GREY_PICTURES for identifier, _ in head.fields):
        require(len(bits) == 8 * -(-count // 8) and "1" not in rest and not head.flags & GREY, "grey pictures")
        require("0" in grey and "1" in grey, "all pictures are alike")
    return grey


def archive(data: bytes) -> tuple[Head, list[bytes]]:
    """The header, and each picture's own file, of a complete archive that isn't solid. Raises Refused."""
    head = header(data, archive=True)
    count, solid, found = payloads(data, head)
    require(solid == 1, "a solid archive")
    files, shared = [], [field for field in head.fields if field[0] < 128]
    for payload, is_grey in zip(found, grey_pictures(head, count), strict=True):
        own = Head(head.flags & ~(ARCHIVE | FIELDS | GREY) | GREY * int(is_grey), *list(vars(head).values())[1:])
        its = list(shared)
        if OWN_FIELDS in dict(head.fields):
            size, start = number(payload, 0)
            require(start + size <= len(payload), "a picture's own fields are cut")
            its, payload = sorted([*its, *fields(payload[start : start + size], set())]), payload[start + size :]
        listed = b"".join(bytes([identifier]) + leb128(len(value)) + value for identifier, value in its)
        front = data[:3] + bytes([own.flags | FIELDS * bool(its)]) + data[4 : head.fields_at or head.size]
        body = front + (leb128(len(listed)) + listed if its else b"") + payload
        files.append(body + check(own, body))
    return head, files


@dataclass
class Block:
    """A block of a solid archive, as far as its bytes determine it."""

    pictures: int
    steps: list[Step]
    ended: bool
    tails: list[int] | None  # their sizes; none but with flag LOSSLESS; None where no encoder writes such bytes

    def digest(self) -> str:
        lines = [f"{s.index} {s.bits} {s.colour}{' '.join(map(str, s.symbols))}" for s in self.steps]
        lines = [str(self.pictures), *lines, f"{self.ended} {self.tails is not None}", str(self.tails)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def block(head: Head, model: Model, payload: bytes, pictures: int) -> Block:
    """The payload of so many pictures. Raises Refused."""
    require(head.fingerprint == model.fingerprint[:8], "another model's")
    least = -(-head.pixels * pictures // 65536)
    require(len(payload) >= least, "a block is too short")
    reader = Reader(head, model, payload, pictures)
    reader.read_all()
    found = Block(pictures, reader.steps, reader.ended, None)
    if reader.ended:
        sealed = reader.interval.sealed()
        if not head.flags & LOSSLESS:
            found.tails = [] if sealed.ljust(least, b"\x00") == payload else None
        elif payload.startswith(sealed):
            try:
                at, sizes = len(sealed), []
                for _ in range(pictures - 1):
                    size, at = number(payload, at)
                    sizes.append(size)
                sizes.append(len(payload) - at - sum(sizes))
                found.tails = sizes if min(sizes) > 4 else None
            except Refused:
                pass
    return found


def solid(data: bytes, model: Model) -> tuple[Head, int, list[Block]]:
    """The header, how many pictures a block has, and the blocks, of a complete solid archive. Raises Refused."""
    head = header(data, archive=True)
    count, together, found = payloads(data, head)
    grey_pictures(head, count)
    sizes = [min(together, count - first) for first in range(0, count, together)]
    return head, together, [block(head, model, *one) for one in zip(found, sizes, strict=True)]


# 12. Hashes


def digest(data: bytes, model: Model) -> str:
    """SHA-256 of a file's integers: a stream's, or those of an archive's header and each of its streams or blocks."""
    if not data[3] & ARCHIVE:
        return stream(data, model).digest()
    if any(identifier == SOLID for identifier, _ in header(data, archive=True).fields):
        head, together, blocks = solid(data, model)
        return hashlib.sha256(
            " ".join([str(head.flags), str(together), *(block.digest() for block in blocks)]).encode()
        ).hexdigest()
    head, files = archive(data)
    digests = [stream(file, model).digest() for file in files]
    return hashlib.sha256(" ".join([str(head.flags), *digests]).encode()).hexdigest()


if __name__ == "__main__":
    import sys

    about = model_file(Path(sys.argv[1]))
    found = {Path(name).name: digest(Path(name).read_bytes(), about) for name in sys.argv[2:]}
    sys.stdout.write(json.dumps(found))
