"""Signals as things that arrive in a loop, and never in the middle of one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """What has arrived. ``wake_fd`` becomes readable with each; None outside the main thread, which alone gets any."""

    def __init__(self) -> None:
        self.stops: list[int] = []
        self.resized = False
        self.wake_fd: int | None = None

    def stop(self, number: int, _frame: object) -> None:
        self.stops.append(number)

    def resize(self, _number: int, _frame: object) -> None:
        self.resized = True


@contextlib.contextmanager
def catch_signals() -> Iterator[Signals]:
    """Catches what would end this process, but for what it was told to ignore (``nohup``)."""
    caught = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    wake_fd, signal_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    caught.wake_fd = wake_fd
    stops = [number for number in _STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, caught.stop) for number in stops}
    before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, caught.resize)
    woken = signal.set_wakeup_fd(signal_fd, warn_on_full_buffer=False)
    try:
        yield caught
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wake_fd)
        os.close(signal_fd)
