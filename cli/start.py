"""Start of the process: its three streams, and what comes before a command begins. Imports nothing that takes time."""

from __future__ import annotations

import os
import sys

_INTERRUPTED = 130  # exit code
# Address space in which a module, with what it needs, does the smallest of our jobs.
_LEAST = {"typer": 64 << 20, "numpy": 160 << 20, "torch": 1 << 30, "ddpmcodec.training.trainer": 1200 << 20}


def _uncaught(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Say what nobody caught. An interrupt before `program` runs, while its script is starting, is no error."""
    if issubclass(kind, KeyboardInterrupt):
        os._exit(_interrupted())
    sys.__excepthook__(kind, error, trace)  # type: ignore[arg-type]


def _interrupted() -> int:
    if sys.stderr is not None:
        sys.stderr.write("interrupted; nothing was written\n")
    return _INTERRUPTED


sys.excepthook = _uncaught  # as soon as can be


def program() -> None:
    """Run the command line as a process of its own, whatever its stdin, stdout and stderr are.

    Characters that they can't show become `?`. Where they can't be written to, one line says so, and the exit code is
    2.
    """
    for number in range(3):
        _keep_open(number)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    _keep_within_memory()
    code: str | int | None = 0
    try:
        from ddpmcodec.cli.commands import load  # which takes a while

        load(*sys.argv[1:2])(prog_name="ddpmcodec")
    except SystemExit as end:
        code = end.code
        if code == _INTERRUPTED:  # by typer, which says nothing where it reads the arguments, or by a command
            from ddpmcodec.cli.speech import tell_interrupted

            tell_interrupted()
    except KeyboardInterrupt:  # before a command begins; then it says itself what was written
        code = _interrupted()
    except OSError as error:  # what is printed before a command begins, such as help, can't be
        code = _refused(error)
    except ValueError as error:  # a DdpmCodecError: there is no memory for any command
        if sys.stderr is not None:
            sys.stderr.write(f"error: {error}\n")
        code = 2
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        code = code or _refused(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try once more when it ends
    _end(code)


def _keep_open(number: int) -> None:
    """Put the null device where stdin, stdout or stderr is closed, or the next file opened would be taken for it."""
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # gets the least free number


def _keep_within_memory() -> None:
    """Under a limit on memory (ulimit -v) have OpenBLAS start no threads: where one can't be started, it interrupts the
    process as Ctrl-C does, or waits for it for ever. And see that there is room before libraries are loaded.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        sys.meta_path.insert(0, _Room(limit))  # type: ignore[arg-type]


class _Room:
    """Finder of no modules, which is asked before they are imported, and refuses some where memory is too small: they
    would crash, or wait for ever.
    """

    def __init__(self, limit: int):
        self.limit = limit

    def find_spec(self, name: str, *_: object) -> None:
        """Raise DdpmCodecError where a module doesn't fit."""
        if self.limit < _LEAST.get(name, 0):
            from ddpmcodec.errors import DdpmCodecError

            raise DdpmCodecError(
                f"out of memory: the limit is {self.limit >> 20} MB (ulimit -v), and this takes {_LEAST[name] >> 20} "
                "MB or more: raise it"
            )
        if name == "torch":
            from importlib import import_module

            import_module("scipy.fft")  # its own OpenBLAS had better not be loaded when memory is short


def _refused(error: OSError) -> int:
    if isinstance(error, BrokenPipeError):
        return 1
    from contextlib import suppress

    from ddpmcodec.cli.common import system_says
    from ddpmcodec.cli.speech import tell_error

    with suppress(OSError):
        tell_error(f"can't write to stdout: {system_says(error)}")
    return 2


def _end(code: str | int | None) -> None:
    """Leave. Everything has been done and said, so a late Ctrl-C changes nothing."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)
