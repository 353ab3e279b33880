"""Where the output of a watched command goes: what kind of thing that is, and writing there without being blocked."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import stat
import termios
from array import array
from enum import Enum

_PIPE_BYTES = (8 << 20, 1 << 20)  # the second is what an unprivileged user may ask for
_COUNT = array("i", [0])
_BLOCKING_WRITE_BYTES = 1024  # after POLLOUT so much fits a pipe (PIPE_BUF) and a terminal alike


class Kind(Enum):
    """What a descriptor is, as far as the way to it matters."""

    FILE = "file"  # handed to the command as it is
    TERMINAL = "terminal"
    OTHER = "other"  # a pipe, a socket, /dev/null


def find_kind(fd: int) -> Kind:
    """Raises `OSError` for a descriptor that is not open."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return Kind.FILE
    return Kind.TERMINAL if os.isatty(fd) else Kind.OTHER


def is_same(a: int, b: int) -> bool:
    """Whether two descriptors lead to one place (``2>&1``): the order of what is written there matters."""
    one, other = os.fstat(a), os.fstat(b)
    return (one.st_dev, one.st_ino, one.st_rdev) == (other.st_dev, other.st_ino, other.st_rdev)


def enlarge(fd: int) -> int:
    """Gives a pipe room, so that few wake-ups move much. Returns the bytes that it holds; 0 for what is no pipe."""
    for size in _PIPE_BYTES:
        with contextlib.suppress(OSError):  # not for us, or the user's share of pipe pages is spent
            return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
    try:
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    except OSError:
        return 0


class Sink:
    """One of our own outputs, written to without ever being blocked by a slow reader."""

    def __init__(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        self._socket = socket.socket(fileno=os.dup(fd)) if stat.S_ISSOCK(mode) else None
        self.fd = fd if self._socket is None else self._socket.fileno()
        self._opened = False
        if self._socket is None:
            # A description of our own: O_NONBLOCK on the shared one would strike whoever else writes there.
            with contextlib.suppress(OSError):  # of another user, or from outside the container
                self.fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                self._opened = True
        self.splices = self._socket is None and not stat.S_ISREG(mode) and not os.isatty(fd)
        self.capacity = enlarge(self.fd) if stat.S_ISFIFO(mode) else 0

    def write(self, data: bytes) -> int:
        """How much of it went out. Raises `BlockingIOError` where nothing does, `OSError` where nobody reads."""
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if self._opened:
            return os.write(self.fd, data)
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        if not any(event & select.POLLOUT for _, event in poll.poll(0)):
            raise BlockingIOError
        return os.write(self.fd, data[:_BLOCKING_WRITE_BYTES])

    def close(self) -> None:
        """Ours only: the descriptor that we were given stays."""
        if self._socket is not None:
            self._socket.close()
        elif self._opened:
            os.close(self.fd)


def count_waiting(fd: int) -> int:
    """How many bytes lie in a pipe or a terminal."""
    fcntl.ioctl(fd, termios.FIONREAD, _COUNT)
    return _COUNT[0]


def open_terminal(like: int) -> tuple[int, int]:
    """A terminal for the command, (ours, its), that looks like the given one and leaves every byte as it is."""
    ours, its = os.openpty()
    with contextlib.suppress(termios.error):
        termios.tcsetattr(its, termios.TCSANOW, termios.tcgetattr(like))
    attributes = termios.tcgetattr(its)
    attributes[1] &= ~termios.OPOST  # the real terminal does that, once
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(its, termios.TCSANOW, attributes)
    copy_window_size(like, its)
    return ours, its


def copy_window_size(source: int, target: int) -> None:
    """Gives one terminal the size of another."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, b"\0" * 8))
