"""One wait for all that can happen: output, the end of the command, a signal, a thread that has something to tell."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Collection, Mapping

_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Poll:
    """A poll whose descriptors change seldom, and that another thread can end with `wake`."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._polled: dict[int, int] = {}
        self._wake_fd, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._closing = threading.Lock()
        self._closed = False

    def wake(self) -> None:
        """Ends the wait. To be called from any thread, also when all is over: the descriptor is another file's then."""
        with self._closing, contextlib.suppress(BlockingIOError):  # full: it is awake
            if not self._closed:
                os.write(self._waker, b".")

    def wait(self, wanted: Mapping[int, int], *, limit_s: float, drain: Collection[int] = ()) -> dict[int, int]:
        """The events that came within the limit, by descriptor; what lies in ``drain`` is thrown away."""
        wanted = {**wanted, self._wake_fd: select.POLLIN}
        if wanted != self._polled:
            for fd in self._polled.keys() - wanted.keys():
                self._poll.unregister(fd)
            for fd, events in wanted.items():
                self._poll.register(fd, events)
            self._polled = wanted
        ready = dict(self._poll.poll(1000 * max(0.0, limit_s)))
        for fd in {self._wake_fd, *drain} & ready.keys():
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 512)
        return ready

    def close(self) -> None:
        """Gives up what was opened here."""
        with self._closing:
            self._closed = True
            os.close(self._wake_fd)
            os.close(self._waker)


def list_gone(ready: Mapping[int, int]) -> list[int]:
    """The descriptors whose other end nobody holds any more."""
    return [fd for fd, events in ready.items() if events & _GONE]
