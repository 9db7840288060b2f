"""The fuzz run: mutated files against everything that reads files. A result or a DdpmCodecError is all that may come of
it.

    python -m tests.tools.fuzz --count 200000 --seed 0 -o results/fuzz.json

Every mutant (see `mutations`) goes to the functions that are quick, and to one that decodes, in turn. The network is a
formula with the embedded model's error curve and fingerprint, so streams parse as they do for users. The files mutated
are those of tests/golden. Anything else that is raised, a PanicException among them, is a failure; so are an input that
takes longer than SLOW seconds, memory beyond what the declared size allows, and a dead process. Inputs are read in a
process of their own, which is started again after a crash or a hang.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ddpmcodec
from ddpmcodec.bitstream.archive import is_archive, pack_archive, read_archive
from ddpmcodec.bitstream.header import parse_header
from ddpmcodec.codec.verification import verify
from ddpmcodec.errors import DdpmCodecError, ModelError
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.models import CodecModel, read_model_info
from tests.tools.mutations import mutant

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SLOW = 5.0  # seconds of the processor's time
SLOW_A_MEGAPIXEL = 5.0  # more for each that the header declares: noise is drawn for all of them
HANG = 60.0  # after which a process is ended
WINDOWS = 2048  # network calls' windows an input may use: a picture of 64 megapixels takes an hour, rightly
PIXELS_AN_INPUT = 4096  # large declared sizes are decoded as often as keeps their mean below this
BYTES_A_PIXEL = 400  # that decoding may take: the chain's planes, noise and Hadamard transforms in float64
BYTES_A_BYTE = 400  # of the file: symbols as Python's and numpy's integers
SPARE_BYTES = 64 << 20  # caches, tables of symbol models, the allocator's own
ADDRESS_SPACE = 8 << 30  # more than a process may ask for, though it never touch it


class Formula:
    """eps of pictures that are grey noise: exact for them, in one line, and quick. Refuses after WINDOWS windows."""

    def __init__(self) -> None:
        self.left = WINDOWS

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        self.left -= len(x_t)
        if self.left < 0:
            raise ModelError("the fuzz run's budget of windows is used up")
        snr = math.exp(float(log_snr[0]))
        alpha_bar, gain = snr / (1 + snr), 0.25 * snr / (1 + 0.25 * snr)
        return x_t * ((1 - gain) / math.sqrt(1 - alpha_bar))


@dataclass
class Targets:
    """The functions under test, by name; each takes a file and whatever it raises is its outcome."""

    model: CodecModel = field(default_factory=lambda: _model())
    credit: float = 0.0  # pixels that may be decoded

    def quick(self) -> dict[str, Callable[[bytes], object]]:
        return {
            "read_header": ddpmcodec.read_header,
            "read_info": lambda data: ddpmcodec.read_info(data, self.model),
            "read_archive": read_archive,
            "verify": lambda data: verify(data, self.model),
        }

    def slow(self) -> dict[str, Callable[[bytes], object]]:
        """Of these, one an input."""
        return {
            "decode": lambda data: ddpmcodec.decode(data, model=self.model),
            "decode partial": lambda data: ddpmcodec.decode(data, model=self.model, allow_partial=True),
            "decode_stream": lambda data: list(ddpmcodec.decode_stream(_pieces(data, 64), model=self.model)),
            "decode_stream partial": self._stream,
            "truncate to steps": self._to_steps,
            "truncate to bytes": self._to_bytes,
            "decode_archive": lambda data: list(ddpmcodec.decode_archive(data, model=self.model)),
            "decode_archive partial": lambda data: list(
                ddpmcodec.decode_archive(data, model=self.model, allow_partial=True, batch=4)
            ),
            "archive to streams": self._taken,
        }

    def affords(self, data: bytes) -> bool:
        """Whether a picture of the declared size may be decoded now."""
        self.credit = min(self.credit + PIXELS_AN_INPUT, 1 << 26)
        pixels = pixels_of(data)
        if pixels > self.credit:
            return False
        self.credit -= pixels
        return True

    def _stream(self, data: bytes) -> object:
        return list(ddpmcodec.decode_stream(_pieces(data, 40), model=self.model, allow_partial=True))

    def _to_steps(self, data: bytes) -> object:
        return self._sound(ddpmcodec.truncate(data, steps=2, model=self.model, allow_partial=True))

    def _to_bytes(self, data: bytes) -> object:
        return self._sound(ddpmcodec.truncate(data, size=len(data), model=self.model, allow_partial=True))

    def _sound(self, file: bytes) -> object:
        """What the package writes, it reads: and so mutated steps get past the check."""
        assert ddpmcodec.read_info(file, self.model).complete
        return ddpmcodec.decode(file, model=self.model)

    def _taken(self, data: bytes) -> object:
        archive = read_archive(data, allow_partial=True)
        files = [archive.stream(i) for i in range(min(archive.intact, 8))]
        return pack_archive(files) if archive.complete else [ddpmcodec.read_info(f, self.model) for f in files]


def _model() -> CodecModel:
    about = read_model_info()
    return CodecModel("fuzz", Formula(), about.curve, about.fingerprint)


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for first in range(0, len(data), size):
        yield data[first : first + size]


def pixels_of(data: bytes) -> int:
    """That the header declares, at least a window's; of all pictures of a batch together. 0 where there is none."""
    try:
        archive = is_archive(data)
        header, _ = parse_header(data, whole=False, archive=archive)
        count = max(read_archive(data, allow_partial=True).begun, 1) if archive else 1
    except Exception:  # `feed` reports what is no DdpmCodecError
        return 0
    return max(header.width, 32) * max(header.height, 32) * count


@dataclass
class Tally:
    """What came of the inputs so far."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest: dict[str, Any] = field(default_factory=lambda: {"seconds": 0.0})
    most_memory: dict[str, Any] = field(default_factory=lambda: {"bytes": 0})

    def add(self, name: str, outcome: str) -> None:
        self.outcomes.setdefault(name, Counter())[outcome] += 1

    def merge(self, other: Tally) -> None:
        for name, counts in other.outcomes.items():
            self.outcomes.setdefault(name, Counter()).update(counts)
        self.failures += other.failures
        self.slowest = max(self.slowest, other.slowest, key=lambda found: found["seconds"])
        self.most_memory = max(self.most_memory, other.most_memory, key=lambda found: found["bytes"])


def feed(targets: Targets, data: bytes, index: int, tally: Tally, decoding: bool = True) -> None:
    """Gives one input to the functions that are quick, and to the one that decodes whose turn it is; notes what came of
    it.
    """
    slow = list(targets.slow().items())
    name, decodes = slow[index % len(slow)]
    where = {"index": index, "input_bytes": len(data)}
    _reset_peak()
    resident = _memory("VmRSS")
    for quick, function in targets.quick().items():
        _call(quick, function, data, where, tally)
    if not decoding:
        return
    if targets.affords(data):
        targets.model.eps_model.left = WINDOWS  # type: ignore[attr-defined]
        _call(name, decodes, data, where, tally)
    else:
        tally.add(name, "not tried: large")
    grown, allowed = _memory("VmHWM") - resident, _allowed(data)
    if grown > allowed:
        what = f"memory: {grown >> 20} MiB, expected at most {allowed >> 20}"
        tally.failures.append(where | {"function": name, "what": what, "input": data.hex()})
    if grown > tally.most_memory["bytes"]:
        tally.most_memory = where | {"function": name, "bytes": grown, "allowed": allowed}


def _call(name: str, function: Callable[[bytes], object], data: bytes, where: dict[str, Any], tally: Tally) -> None:
    start, failure = time.process_time(), ""
    try:
        function(data)
        outcome = "result"
    except KeyboardInterrupt:
        raise
    except DdpmCodecError as error:
        outcome = type(error).__name__
    except BaseException as error:  # constriction's PanicException is one, and nothing else here may be
        failure = f"{type(error).__name__}: {error}"[:300] + "\n"
        failure += "".join(traceback.format_tb(error.__traceback__)[-3:])
    seconds = time.process_time() - start
    if not failure and seconds > SLOW and seconds > SLOW + SLOW_A_MEGAPIXEL * pixels_of(data) / (1 << 20):
        failure = f"slow: {seconds:.1f} s"
    tally.add(name, "FAILURE" if failure else outcome)
    if failure:
        tally.failures.append({"function": name} | where | {"what": failure, "input": data.hex()})
    if seconds > tally.slowest["seconds"]:
        tally.slowest = {"function": name} | where | {"seconds": round(seconds, 4)}


def _allowed(data: bytes) -> int:
    """Bytes that reading a file may take."""
    return SPARE_BYTES + BYTES_A_PIXEL * pixels_of(data) + BYTES_A_BYTE * len(data)


def _memory(name: str) -> int:
    """VmRSS (now) or VmHWM (the most since `_reset_peak`); 0 where there is no /proc."""
    with suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) << 10
    return 0


def _reset_peak() -> None:
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _work(files: list[bytes], seed: int, first: int, last: int, step: int, now: Any, results: Any) -> None:
    """A process: every `step`-th input, and every so often what came of them."""
    torch.set_num_threads(1)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + ADDRESS_SPACE, resource.RLIM_INFINITY))
    targets, tally = Targets(), Tally()
    for function in (ddpmcodec.read_info, ddpmcodec.decode):  # loads and plans what is the same for all
        for file in files:
            with suppress(DdpmCodecError):
                function(file, model=targets.model)
    for n, index in enumerate(range(first, last, step), 1):
        now[0], now[1] = index, time.time()
        feed(targets, mutant(files, seed, index), index, tally)
        if n % 50 == 0:
            results.put((index, tally))
            tally = Tally()
    now[0] = -1
    results.put((last, tally))


def run(
    files: Sequence[bytes], count: int, seed: int, jobs: int = 1, say: Callable[[int], None] = lambda done: None
) -> Tally:
    """Feeds `count` mutants, `jobs` at a time, each worker's crash or hang a failure."""
    total, context = Tally(), multiprocessing.get_context("spawn")
    with_nothing_yet = [(job, job) for job in range(jobs)]
    active: list[Any] = []

    def begin(job: int, first: int) -> None:
        now, results = context.Array("d", [first, time.time()]), context.Queue()
        process = context.Process(target=_work, args=(list(files), seed, first, count, jobs, now, results), daemon=True)
        process.start()
        active.append((job, process, now, results))

    def collect(results: Any) -> int:
        last = 0
        while not results.empty():
            last, part = results.get()
            total.merge(part)
            say(sum(total.outcomes.get("read_header", Counter()).values()))
        return last

    for job, first in with_nothing_yet:
        begin(job, first)
    while active:
        time.sleep(0.05)
        for entry in list(active):
            job, process, now, results = entry
            done, dead = collect(results), not process.is_alive()
            stuck = now[0] >= 0 and time.time() - now[1] > HANG
            if not dead and not stuck:
                continue
            if stuck:
                process.kill()
            process.join()
            done = collect(results) or done
            active.remove(entry)
            if done < count and (stuck or process.exitcode):
                index = int(now[0])
                what = f"hang: more than {HANG:.0f} s" if stuck else f"crash: exit code {process.exitcode}"
                total.failures.append({"index": index, "what": what, "input": mutant(files, seed, index).hex()})
                begin(job, index + jobs)
    return total


def golden_files() -> list[bytes]:
    return [path.read_bytes() for path in sorted(GOLDEN.glob("*.bin"))]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000, help="mutated inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--index", type=int, help="only this input, in this process, with its traceback")
    parser.add_argument("-o", "--output", type=Path, help="JSON; a summary goes to stdout")
    args = parser.parse_args(arguments)
    files, start = golden_files(), time.time()
    if args.index is not None:
        total = Tally()
        feed(Targets(), mutant(files, args.seed, args.index), args.index, total)
        seconds = time.time() - start
    else:

        def say(done: int) -> None:
            if sys.stderr.isatty():
                print(f"\r{done} of {args.count}", end="", file=sys.stderr)

        total = run(files, args.count, args.seed, args.jobs, say)
        seconds = time.time() - start
    inputs = sum(total.outcomes.get("read_header", Counter()).values())
    result = provenance() | {
        "inputs": inputs,
        "calls": sum(sum(counts.values()) for counts in total.outcomes.values()),
        "failures": len(total.failures),
        "seconds": round(seconds, 1),
        "inputs_per_second": round(inputs / seconds, 1),
        "files": len(files),
        "slowest": total.slowest,
        "most_memory": total.most_memory,
        "outcomes": {name: dict(sorted(counts.items())) for name, counts in sorted(total.outcomes.items())},
        "failed": total.failures[:100],
    }
    if args.output:
        write_json(args.output, result)
    print(json.dumps({k: v for k, v in result.items() if k not in provenance()}, indent=1))
    if total.failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
