"""Signals that ask a run to finish its step and save."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C, SIGTERM or SIGHUP sets; the second acts as usual. Outside the main thread,
    nothing does.

    Under nohup SIGHUP stays ignored.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {s: signal.getsignal(s) for s in signals}

    def request(number: int, frame: object) -> None:
        event.set()
        for s in signals:
            signal.signal(s, before[s])

    for s in signals:
        signal.signal(s, request)
    try:
        yield event
    finally:
        for s in signals:
            signal.signal(s, before[s])
