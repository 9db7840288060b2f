"""Folder of pictures to a folder of streams, and back: what is to do, and the doing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from ddpmcodec.bitstream.header import VERSION
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.atomic import remove_leftovers, write_whole
from ddpmcodec.io.places import Place, Remote
from ddpmcodec.many.batches import Sized, in_batches, sized_picture, sized_stream
from ddpmcodec.many.coding import Coded, Decoding, Encoding
from ddpmcodec.many.journal import AT_ONCE, Entry, Journal, digest, digest_of, digests_of_files
from ddpmcodec.many.listing import coded_name, picture_name, pictures_in, streams_in
from ddpmcodec.many.pool import Coding, Task, run_tasks, usable_cores
from ddpmcodec.models.choice import AUTO, is_small, receiving_info
from ddpmcodec.models.info import read_model_info
from ddpmcodec.models.places import model_names

RunTasks = Callable[[Sequence[Task], Coding, int], Iterator[tuple[Task, list[Coded]]]]
_SOON_DONE = 1 << 16  # pixels that one process has coded before another has even started
_FEW_CORES = 2  # up to here, threads are faster for small pictures (results/jobs.json)


@dataclass(frozen=True)
class Done:
    """Outcome of one file, in its turn."""

    file: str  # relative to the folder that is read
    pixels: int
    size: int = 0  # bytes of its result
    error: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """Work to do in a folder, found out before any of it is begun."""

    source: Place
    target: Place
    coding: Encoding | Decoding
    options: str  # digest
    batches: tuple[tuple[tuple[Sized, ...], tuple[bool, ...]], ...]  # files, and which are wanted
    finished: int  # files that have their result already
    refused: tuple[Done, ...]  # files that can have none
    journal: Journal
    name: Callable[[PurePath], PurePath]

    @property
    def files(self) -> int:
        return sum(sum(wanted) for _, wanted in self.batches)

    @property
    def pixels(self) -> int:
        return sum(f.pixels for batch, wanted in self.batches for f, w in zip(batch, wanted, strict=True) if w)

    def run(self, jobs: int | None = None, run_tasks: RunTasks = run_tasks) -> Iterator[Done]:
        """Yield what becomes of each file, after its result is on the disk. jobs: processes; None: as many as there are
        cores, or one with threads where that is faster. run_tasks: what runs them, such as `ddpmcodec.ray.run_on_ray`.
        Raises DdpmCodecError where a result can't be written.
        """
        yield from self.refused
        tasks = {}
        for batch, wanted in self.batches:
            tasks[Task(tuple(self.source / file.path for file in batch), wanted)] = batch
        if jobs is None:
            jobs = self._processes(usable_cores())
        for task, coded in run_tasks(list(tasks), self.coding, min(jobs, max(1, len(tasks)))):
            yield from self._keep(tasks[task], task.wanted, coded)

    def _processes(self, cores: int) -> int:
        """Processes that are fastest on a number of cores, each with one thread; 1: this one, with all its threads.

        On two cores, measured: photographs 5% faster by processes, 32x32 pictures 20% slower, for each process has a
        batch's steps of its own to begin.
        """
        few_of_small = cores <= _FEW_CORES and all(is_small(f.pixels) for batch, _ in self.batches for f in batch)
        return 1 if self.coding.device != "cpu" or self.pixels <= _SOON_DONE or few_of_small else cores

    def _keep(self, batch: tuple[Sized, ...], wanted: tuple[bool, ...], coded: list[Coded]) -> Iterator[Done]:
        """Write a batch's results, after their entries."""
        mark = digest_of([found.source for found in coded if found.source])
        each = [(f, c) for f, w, c in zip(batch, wanted, coded, strict=True) if w]
        entries = [
            Entry(self.name(file.path).as_posix(), found.source, self.options, mark, digest(found.result))
            for file, found in each
            if found.result is not None
        ]
        if entries:  # where nothing could be coded, no folder is left behind
            self._make(self.target)
            self.journal.add(entries)
        for file, found in each:
            place = self.target / self.name(file.path)
            if found.result is not None:
                self._make(place.parent)
                try:
                    write_whole(place, found.result)
                except OSError as error:
                    raise DdpmCodecError(f"can't write {place}: {error.strerror or error}") from error
            yield Done(file.path.as_posix(), file.pixels, len(found.result or b""), found.error, found.notes)

    def _make(self, folder: Place) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DdpmCodecError(f"can't make the directory {folder}: {error.strerror or error}") from error


def encoding_work(source: Place, target: Place, coding: Encoding, *, recursive: bool, overwrite: bool) -> Work:
    """Return what there is to encode in a folder of pictures. Raises DdpmCodecError where there is none, or results of
    other options would be lost.
    """
    marks = [read_model_info(name).fingerprint for name in ([coding.model] if coding.model != AUTO else model_names())]
    options = asdict(coding)
    for unimportant in ("device", "model", "most_pixels"):
        options.pop(unimportant)
    # Pictures that were coded without a background have no transparency, and those without a frame no other: what is
    # given now for the few that failed then doesn't change them.
    frames = {None, coding.frame} if coding.frame in (None, 0) else {coding.frame}
    alike = [options | {"flatten": behind, "frame": frame} for behind in {None, coding.flatten} for frame in frames]
    marked = [digest_of(VERSION, sorted(marks), chosen) for chosen in (options, *alike)]
    files = pictures_in(source, recursive, leave_out=target)
    if not files:
        more = "" if recursive else "; --recursive looks into the folders inside it"
        raise DdpmCodecError(f"{source} holds no picture: expected files such as .png, .jpg or .webp{more}")
    sized = _at_once(sized_picture, files, source)
    return _work(source, target, coding, marked, sized, coded_name, overwrite)


def decoding_work(source: Place, target: Place, coding: Decoding, *, recursive: bool, overwrite: bool) -> Work:
    """Return what there is to decode in a folder of streams. Raises DdpmCodecError as `encoding_work` does."""
    files = streams_in(source, recursive, leave_out=target)
    if not files:
        more = "" if recursive else "; --recursive looks into the folders inside it"
        raise DdpmCodecError(f"{source} holds no coded picture: expected files that end with .ddpc{more}")
    if coding.model != AUTO:
        receiving_info(coding.model, "")  # says so where there is no such model
    sized = _at_once(sized_stream, files, source)
    options = digest_of("png", coding.steps, coding.allow_partial)
    return _work(source, target, coding, [options], sized, picture_name, overwrite)


def _at_once(sized: Callable[[Path, Place], Sized], files: Sequence[Path], source: Place) -> list[Sized]:
    with ThreadPoolExecutor(AT_ONCE if isinstance(source, Remote) else 1) as threads:
        return list(threads.map(lambda path: sized(path, source / path), files))


def _work(
    source: Place,
    target: Place,
    coding: Encoding | Decoding,
    options: Sequence[str],  # digests: of the options, and of others that make the same of what they can code
    files: list[Sized],
    name: Callable[[PurePath], PurePath],
    overwrite: bool,
) -> Work:
    if _is_file(target):
        raise DdpmCodecError(f"{target} is a file: a folder's results go into a folder; name one with -o")
    journal, refused = Journal(target), dict[Path, str]()
    if isinstance(target, Path) and target.is_dir():
        remove_leftovers(target)
    results = {file.path: name(file.path) for file in files}
    there = _there(target, set(results.values()))
    made = digests_of_files(target / result for result in there if result.as_posix() in journal.entries)
    taken, others, same = dict[PurePath, Path](), list[str](), dict[Path, Entry]()
    for file in files:
        result, place = results[file.path], target / results[file.path]
        if result in taken:
            refused[file.path] = f"its result would be {result}, as that of {taken[result]} is: decode it by itself"
            continue
        if result.is_absolute() or ".." in result.parts:  # a local folder has none, but a bucket may
            refused[file.path] = "its name leads out of the folder: decode or encode it by itself"
            continue
        taken[result] = file.path
        if result not in there:
            continue
        entry = journal.found(result.as_posix(), made.get(place))
        if (isinstance(place, Path) and place.is_dir()) or (entry is None and not overwrite):
            refused[file.path] = f"{place} is there, and no result of an earlier run: move it, or --overwrite it"
        elif entry is not None and entry.options not in options and not overwrite:
            others.append(str(place))
        elif entry is not None and entry.options in options:
            same[file.path] = entry
    if others:
        raise DdpmCodecError(
            f"{target} holds {len(others)} results of other options or another model, such as {others[0]}: give those "
            "again to go on, name another directory to keep both, or --overwrite replaces them"
        )
    read = digests_of_files(source / path for path in same)
    finished = {path: entry for path, entry in same.items() if entry.source == read[source / path]}
    batches = []
    for batch in in_batches(file for file in files if file.path not in refused):
        wanted = tuple(file.path not in finished for file in batch)
        if any(wanted):
            batches.append(_needed(source, batch, wanted, finished))
    named = {file.path: file for file in files}
    listed = tuple(Done(path.as_posix(), named[path].pixels, error=error) for path, error in refused.items())
    return Work(source, target, coding, options[0], tuple(batches), len(finished), listed, journal, name)


def _is_file(target: Place) -> bool:
    try:
        return target.is_file() if isinstance(target, Remote) else target.exists() and not target.is_dir()
    except OSError as error:
        raise DdpmCodecError(f"can't read {target}: {error.strerror or error}") from error


def _there(target: Place, names: set[PurePath]) -> set[PurePath]:
    """Those names that are taken in a folder of results."""
    if isinstance(target, Remote):
        try:
            return names.intersection(Path(name) for name in target.files(recursive=True))
        except OSError as error:
            raise DdpmCodecError(f"can't read the folder {target}: {error.strerror or error}") from error
    return {name for name in names if (target / name).exists()}


def _needed(
    source: Place, batch: tuple[Sized, ...], wanted: tuple[bool, ...], finished: dict[Path, Entry]
) -> tuple[tuple[Sized, ...], tuple[bool, ...]]:
    """Batch as it is coded: all of it where it was interrupted, so that its results are what they would have been;
    what is wanted, where the others were done in other company.
    """
    if all(wanted):
        return batch, wanted
    marks = {entry.batch for file in batch if (entry := finished.get(file.path)) is not None}
    read = digests_of_files(source / file.path for file in batch).values()
    if marks == {digest_of([digest for digest in read if digest is not None])}:
        return batch, wanted
    left = tuple(file for file, w in zip(batch, wanted, strict=True) if w)
    return left, (True,) * len(left)
