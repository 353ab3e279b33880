"""Passes the output of a command on, byte for byte and in order, for next to nothing; and shows it to an observer.

A file is handed to the command itself and read from behind. A pipe is emptied with splice(2), which moves pages and
copies none; what is left of a burst, and all of a trickle, is read. A terminal gets a terminal.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections.abc import Iterable

from triage.hangs._lines import LineReader, Output
from triage.hangs._sinks import (
    Kind,
    Sink,
    copy_window_size,
    count_waiting,
    enlarge,
    find_kind,
    is_same,
    open_terminal,
)

_READ_BYTES = 64 * 1024
_TAIL_BYTES = 4096  # left in the pipe by a splice: when a burst ends, its last line is still there to be read
_SPLICE_FROM_BYTES = 64 * 1024
_FILE_LOOK_S = 0.1
_NAP_MOST_S = 0.02
_NAP_LEAST_S = 0.001
_SPLICE = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_STAY_S = 0.1  # then it is time to look after the rest
_DENSE_S = 0.03  # output that comes at shorter intervals is worth waiting for
_FILLED_SHARE, _FULL_SHARE = 0.75, 0.92  # of a pipe at a time: fuller, and the writer has to wait
_POUR_LEAST_BYTES = 256 * 1024
_FILE_MOST_BYTES = 1 << 20  # of a file that grew, what is read at a time


class FileRoute:
    """A file: the command writes there itself, appending or not, as it would without us."""

    def __init__(self, fd: int, lines: LineReader) -> None:
        self.child_fd = fd
        self.poll_fds: dict[int, int] = {}
        self.closed = False
        self.blocked = False
        self._lines = lines
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._reader: int | None = None
        with contextlib.suppress(OSError):  # write-only for us: its growth still tells
            self._reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)

    def close_child_end(self) -> None:
        """It is our caller's."""

    def pump(self) -> int:
        size = os.fstat(self._fd).st_size
        grown = size - self._size
        if grown <= 0:
            self._size = size  # cut by somebody
            return 0
        if self._reader is None or grown > _FILE_MOST_BYTES:
            self._lines.skip(grown - (0 if self._reader is None else _TAIL_BYTES))
        if self._reader is not None:
            start = size - (_TAIL_BYTES if grown > _FILE_MOST_BYTES else grown)
            self._lines.feed(os.pread(self._reader, size - start, start))
        self._size = size
        return grown

    def close(self) -> None:
        if self._reader is not None:
            os.close(self._reader)
            self._reader = None
        self.closed = True


class StreamRoute:
    """A pipe or a terminal between the command and one of our outputs."""

    def __init__(self, fd: int, lines: LineReader, *, terminal: bool) -> None:
        self._lines = lines
        self._sink = Sink(fd)
        self._given = fd
        self.terminal = terminal
        self._source, self.child_fd = open_terminal(fd) if terminal else os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._source, False)
        self._capacity = 0 if terminal else min(enlarge(self.child_fd), self._sink.capacity or 1 << 30)
        self._pending = b""
        self._splices = self._sink.splices and not terminal
        self._spliced = 0
        self.closed = False
        self.blocked = False

    @property
    def poll_fds(self) -> dict[int, int]:
        """What to wait for. A sink whose reader has gone always reports it."""
        if self.closed:
            return {}
        if self.blocked:
            return {self._sink.fd: select.POLLOUT}
        return {self._source: select.POLLIN, self._sink.fd: 0}

    @property
    def sink_fd(self) -> int:
        """Our output, as it is polled."""
        return self._sink.fd

    def close_child_end(self) -> None:
        os.close(self.child_fd)

    def resize(self) -> None:
        """The window of our terminal has another size."""
        if self.terminal and not self.closed:
            copy_window_size(self._given, self._source)

    def give_up_sink(self) -> None:
        """Nobody reads: the command is to find that out as it would without us."""
        self._pending = b""
        self.close()

    def pump(self) -> int:
        if self.closed:
            return 0
        try:
            return self._pump()
        except BlockingIOError:
            self.blocked = True
        except OSError:  # EPIPE, or a terminal that hung up
            self.give_up_sink()
        return 0

    def _pump(self) -> int:
        moved = self._flush()
        self._spliced = 0
        waiting = count_waiting(self._source)
        if self._splices and waiting >= _SPLICE_FROM_BYTES:
            moved += self._splice(waiting - _TAIL_BYTES)
            if self._splices:
                return moved
        try:
            data = os.read(self._source, _READ_BYTES)
        except BlockingIOError:  # nothing there
            return moved
        except OSError:  # a terminal that the last process of the command has closed
            data = b""
        if not data:
            self.close()
            return moved
        self._lines.feed(data)
        self._pending = data
        return moved + self._flush()

    @property
    def pours(self) -> bool:
        """Whether so much passes that it is worth a loop of its own."""
        return not self.closed and not self.blocked and self._spliced >= _POUR_LEAST_BYTES

    def pour(self, nap_s: float, until_s: float) -> float:
        """Moves much at a time, in a loop that does little else: so little is done that every call in it counts.

        Ends at ``until_s``, or when less comes. Returns how long to let the pipe fill.
        """
        filled, full = _FILLED_SHARE * self._capacity, _FULL_SHARE * self._capacity
        moved = 0
        try:
            while time.monotonic() < until_s:
                time.sleep(nap_s)
                waiting = count_waiting(self._source)
                if waiting < _POUR_LEAST_BYTES:
                    break
                self._spliced = os.splice(self._source, self._sink.fd, waiting - _TAIL_BYTES, flags=_SPLICE)
                moved += self._spliced
                if self._spliced < waiting - _TAIL_BYTES:
                    break  # the reader is slower
                if waiting < filled:
                    nap_s = min(_NAP_MOST_S, nap_s * 1.3)
                elif waiting > full:
                    nap_s /= 1.5
        except BlockingIOError:
            self.blocked = True
        except OSError:
            self.give_up_sink()
        self._lines.skip(moved)
        return nap_s

    def _flush(self) -> int:
        """Writes what was read. Raises `BlockingIOError` where a part stays."""
        moved = 0
        while self._pending:
            size = self._sink.write(self._pending)
            self._pending = self._pending[size:]
            moved += size
        self.blocked = False
        return moved

    def _splice(self, size: int) -> int:
        try:
            moved = os.splice(self._source, self._sink.fd, size, flags=_SPLICE)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._splices = False  # this one takes no pages
            return 0
        self._lines.skip(moved)
        self._spliced = moved
        return moved

    @property
    def drained(self) -> bool:
        """Whether all that was written has gone out."""
        if self.closed:
            return True
        if self._pending:
            return False
        try:
            return count_waiting(self._source) == 0
        except OSError:
            return True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._source)
            self._sink.close()


class Relay:
    """Both outputs of one command."""

    def __init__(self, output: Output, *, stdout: int, stderr: int) -> None:
        self._output = output
        self.routes: list[FileRoute | StreamRoute] = []
        self._by_fd = {stdout: self._open(stdout)}
        self._by_fd[stderr] = self._by_fd[stdout] if is_same(stdout, stderr) else self._open(stderr)
        self.child_fds = (self._by_fd[stdout].child_fd, self._by_fd[stderr].child_fd)
        self._nap_s = 0.0
        self.moved_at_s = float("-inf")

    def _open(self, fd: int) -> FileRoute | StreamRoute:
        lines = self._output.open_stream()
        kind = find_kind(fd)
        route = FileRoute(fd, lines) if kind is Kind.FILE else StreamRoute(fd, lines, terminal=kind is Kind.TERMINAL)
        self.routes.append(route)
        return route

    def close_child_ends(self) -> None:
        """To be called when the command has started: it alone is to hold its ends."""
        for route in self.routes:
            route.close_child_end()

    def poll_fds(self) -> dict[int, int]:
        """What to wait for, as {descriptor: events}."""
        return {fd: events for route in self.routes for fd, events in route.poll_fds.items()}

    @property
    def look_s(self) -> float | None:
        """How long to wait at most although nothing is reported: a file does not report its growth."""
        return _FILE_LOOK_S if any(isinstance(route, FileRoute) for route in self.routes) else None

    def pump(self) -> None:
        """Passes on what is there. While much of it comes, lets the pipes fill in between, and stays at it a while."""
        now_s = time.monotonic()
        until_s = now_s + _STAY_S
        while self._pump_once(now_s) and self._nap_s and now_s < until_s:
            pouring = next((route for route in self.routes if isinstance(route, StreamRoute) and route.pours), None)
            if pouring is None:
                time.sleep(self._nap_s)
            else:
                self._nap_s = pouring.pour(self._nap_s, until_s)
            now_s = time.monotonic()

    def _pump_once(self, now_s: float) -> int:
        moved = 0
        for route in self.routes:
            moved += route.pump()
        if not moved or self.held_up:
            self._nap_s = 0.0
            return moved
        self.moved_at_s, before_s = now_s, self.moved_at_s
        if now_s - before_s > _DENSE_S + self._nap_s:
            self._nap_s = 0.0  # a single line goes out at once
        elif moved < _POUR_LEAST_BYTES:
            self._nap_s = min(_NAP_MOST_S, max(_NAP_LEAST_S, self._nap_s * 1.3))
        elif not self._nap_s:
            self._nap_s = _NAP_LEAST_S
        return moved

    def note_errors(self, broken: Iterable[int]) -> None:
        """Sinks whose readers have gone."""
        for route in self.routes:
            if isinstance(route, StreamRoute) and not route.closed and route.sink_fd in broken:
                route.give_up_sink()

    @property
    def held_up(self) -> bool:
        """Whether the reader of our output does not read, so that the command cannot go on."""
        return any(route.blocked for route in self.routes)

    @property
    def drained(self) -> bool:
        """Whether all that was written so far has gone out."""
        return all(isinstance(route, FileRoute) or route.drained for route in self.routes)

    def resize(self) -> None:
        """Our window has another size."""
        for route in self.routes:
            if isinstance(route, StreamRoute):
                route.resize()

    def close(self) -> None:
        """Gives up everything that was opened."""
        for route in self.routes:
            route.close()
