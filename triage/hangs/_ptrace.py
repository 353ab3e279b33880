"""Whether one process may look into another here: tried once, on throw-away children. Standard library only.

Run as ``python -I -S _ptrace.py``: one child waits, its *sibling* seizes it and reads its memory, as py-spy would. An
ancestor proves nothing: where yama restricts ptrace, parents still may. The attempt is the only sure test; refusals
come from seccomp, a missing SYS_PTRACE, yama, a user namespace, and read alike in no file.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from functools import cache

_PTRACE_SEIZE = 0x4206
_PR_SET_PDEATHSIG = 1


class _Span(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@cache
def why_no_ptrace() -> str | None:
    """Why stacks cannot be read from outside; None where they can. Costs about 30 ms, once."""
    from triage.machine.asking import run_tool

    answer = run_tool([sys.executable, "-I", "-S", __file__], limit_s=10.0)
    return answer.why if answer.text is None else answer.text.strip() or None


def _try_on(pid: int) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    if libc.ptrace(_PTRACE_SEIZE, pid, None, None):
        return f"ptrace is refused ({os.strerror(ctypes.get_errno())})"
    # Forked from one process, the two have the same memory at the same addresses.
    source, target = ctypes.create_string_buffer(b"x", 1), ctypes.create_string_buffer(1)
    here, there = _Span(ctypes.addressof(target), 1), _Span(ctypes.addressof(source), 1)
    if libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0 and ctypes.get_errno() == 1:
        return "reading the memory of another process is refused (Operation not permitted)"
    return ""


def _fork_waiting() -> int:
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pause()
        os._exit(0)
    return pid


def main() -> None:
    waiting = _fork_waiting()
    try:
        trial = os.fork()
        if trial == 0:
            os.write(1, _try_on(waiting).encode())
            os._exit(0)
        os.waitpid(trial, 0)
    finally:
        os.kill(waiting, signal.SIGKILL)


if __name__ == "__main__":
    main()
