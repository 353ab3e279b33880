"""Stacks from inside, where nobody may look from outside: every Python process of the command writes them on a signal.

`prepare_stacks` puts a ``sitecustomize`` first on the PYTHONPATH of the command. It gives each interpreter a handler
of `faulthandler`, which is C code: it runs also while a native call holds the GIL. A signal interrupts: a sleep or a
poll in native code may return early, while locks, pipes and all that Python itself waits for are waited for again.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from triage.hangs._names import NOT_PYTHON
from triage.hangs._procfs import list_tasks, read_bytes, read_status, read_text
from triage.hangs._ptrace import why_no_ptrace
from triage.hangs._pyspy import PYSPY_MISSING, Dump, PythonThread, find_pyspy
from triage.hangs._sample import Frame, Process

SIGNAL = signal.SIGRTMIN + 11  # nobody's: glibc takes the first two, and of the others no library is known to use it
FOLDER_VARIABLE = "TRIAGE_STACKS_FOLDER"
SIGNAL_VARIABLE = "TRIAGE_STACKS_SIGNAL"
SHIM = Path(__file__).parent / "shim"
PTRACE_MEND = "run it with --cap-add=SYS_PTRACE"
_HEAD = re.compile(r"(?:Current t|T)hread 0x([0-9a-f]+)(?: \[(.*)\])? \(most recent call first\):")
_FRAME = re.compile(r'  File "(.*)", line (\d+|\?\?\?) in (.*)')
_QUIET_S = 0.15  # a dump is written in one go: a file that does not grow for so long is whole
_PACKAGES = re.compile(r".*/(?:site|dist)-packages/|.*/lib(?:64)?/python3\.\d+t?/")


def prepare_stacks(folder: Path, *, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """What to add to the environment of a command, so that its stacks can be had although ptrace is refused.

    Empty where py-spy can look from outside. Otherwise the folder is made, in which each interpreter of the command
    keeps a file by its pid. ``env`` is the command's environment, where it is not this process's: its PYTHONPATH stays.
    """
    if find_pyspy() is not None and why_no_ptrace() is None:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    path = [str(SHIM), *filter(None, [(os.environ if env is None else env).get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(path),
        FOLDER_VARIABLE: str(folder.resolve()),
        SIGNAL_VARIABLE: str(int(SIGNAL)),
    }


def dump_by_signal(processes: Iterable[Process], folder: Path | None, *, limit_s: float) -> dict[int, Dump]:
    """The stacks of those processes that write them themselves, by pid, and why the others do not.

    A process gets the signal only if it has a handler for it and a file in the folder: without one it would die.
    """
    refused = why_no_ptrace() or PYSPY_MISSING
    dumps: dict[int, Dump] = {}
    asked: dict[int, tuple[Process, Path, int]] = {}
    for process in processes:
        if not is_python(process):
            dumps[process.pid] = Dump(why=NOT_PYTHON)
        elif folder is None:
            dumps[process.pid] = Dump(why=f"{refused}; {PTRACE_MEND}")
        elif (why := _why_not_asked(process, folder)) is not None:
            dumps[process.pid] = Dump(why=f"{refused}, and {why}; {PTRACE_MEND}")
        else:
            file = folder / str(process.pid)
            asked[process.pid] = (process, file, file.stat().st_size)
    for pid in list(asked):
        try:
            os.kill(pid, SIGNAL)
        except OSError as error:
            dumps[pid] = Dump(why=f"{refused}, and the signal for a dump failed: {error.strerror}")
            del asked[pid]
    for pid, text in _read_dumps({pid: (file, size) for pid, (_, file, size) in asked.items()}, limit_s).items():
        threads = join_threads(asked[pid][0], parse_traceback(text))
        silent = f"{refused}, and it wrote no stacks within {limit_s:.1f} s of the signal; {PTRACE_MEND}"
        dumps[pid] = Dump(threads=threads, source="faulthandler") if threads else Dump(why=silent)
    return dumps


def is_python(process: Process) -> bool:
    """Whether a process runs a Python interpreter, told from its program and the libraries that it has mapped.

    The mappings of a process in state D are left alone: whoever reads them may have to wait for it.
    """
    try:
        program = os.path.basename(os.readlink(f"/proc/{process.pid}/exe"))
    except OSError:
        return False
    if program.startswith(("python", "pypy")) or any(thread.state == "D" for thread in process.threads):
        return program.startswith(("python", "pypy"))
    return b"/libpython" in (read_bytes(f"/proc/{process.pid}/maps", limit=1 << 22) or b"")


def _why_not_asked(process: Process, folder: Path) -> str | None:
    if not (folder / str(process.pid)).is_file():
        return "it was not started with the handler for the dump"
    if any(thread.state in {"T", "t"} for thread in process.threads):
        return "a stopped process cannot dump its own stacks"
    caught = int(read_status(process.pid).get("SigCgt", "0"), 16)
    return None if caught >> (SIGNAL - 1) & 1 else "it has given up its handler for the dump"


def _read_dumps(files: dict[int, tuple[Path, int]], limit_s: float) -> dict[int, str]:
    """What came behind the old end of each file, when all of them have come to rest."""
    deadline = time.monotonic() + limit_s
    sizes: dict[int, int] = {}
    while True:
        now = {pid: path.stat().st_size if path.exists() else size for pid, (path, size) in files.items()}
        grown = all(now[pid] > size for pid, (_, size) in files.items())
        if (grown and now == sizes) or time.monotonic() > deadline:
            break
        sizes = now
        time.sleep(min(_QUIET_S, max(0.0, deadline - time.monotonic())))
    contents = {pid: read_bytes(str(path), limit=1 << 24) or b"" for pid, (path, _) in files.items()}
    return {pid: contents[pid][files[pid][1] :].decode(errors="backslashreplace") for pid in files}


def parse_traceback(text: str) -> list[tuple[int, str, tuple[Frame, ...]]]:
    """What faulthandler writes: (pthread's number, name, frames from the innermost call on) of each thread.

    >>> parse_traceback('Thread 0x7f (most recent call first):\\n  File "/a/b.py", line 3 in wait\\n')
    [(127, '', (Frame(function='wait', file='b.py', line=3, native=False),))]
    """
    threads: list[tuple[int, str, list[Frame]]] = []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            threads.append((int(head[1], 16), head[2] or "", []))
        elif threads and (frame := _FRAME.fullmatch(line)):
            number = int(frame[2]) if frame[2].isdigit() else None
            threads[-1][2].append(Frame(function=frame[3], file=_shorten(frame[1]), line=number))
    return [(number, name, tuple(frames)) for number, name, frames in threads]


def _shorten(path: str) -> str:
    """A path from its package on; of a script its name."""
    short, found = _PACKAGES.subn("", path)
    return short if found else os.path.basename(path)


def join_threads(process: Process, found: Sequence[tuple[int, str, tuple[Frame, ...]]]) -> tuple[PythonThread, ...]:
    """Gives each dumped thread the kernel's number, where it is sure.

    faulthandler knows only pthread's number, an address in the thread's stack. The stack pointer of a waiting thread
    is in the same mapping, since a guard page is between two stacks. The main thread is the oldest, dumped last.
    """
    if not found:
        return ()
    stacks = _read_mappings(process.pid)
    tids: dict[int, int] = {found[-1][0]: process.pid}
    others = [tid for tid in list_tasks(process.pid) if tid != process.pid]
    for tid in others:
        words = (read_text(f"/proc/{process.pid}/task/{tid}/syscall") or "").split()
        stack = _find_mapping(stacks, int(words[-2], 16)) if len(words) >= 3 else None
        if stack is not None:
            tids |= {number: tid for number, _, _ in found[:-1] if stack[0] <= number < stack[1]}
    rest = [number for number, _, _ in found if number not in tids]
    free = [tid for tid in others if tid not in tids.values()]
    if len(rest) == len(free) == 1:
        tids[rest[0]] = free[0]
    return tuple(
        PythonThread(tid=tids.get(number), name=name, holds_gil=None, frames=frames) for number, name, frames in found
    )


def _read_mappings(pid: int) -> list[tuple[int, int]]:
    """Where each mapping of a process begins and ends, in ascending order."""
    rows = (read_bytes(f"/proc/{pid}/maps", limit=1 << 24) or b"").decode(errors="replace").splitlines()
    spans = (row.split(maxsplit=1)[0].split("-") for row in rows if "-" in row)
    return [(int(start, 16), int(end, 16)) for start, end in spans]


def _find_mapping(mappings: list[tuple[int, int]], address: int) -> tuple[int, int] | None:
    place = bisect_right(mappings, (address, sys.maxsize)) - 1
    return mappings[place] if place >= 0 and address < mappings[place][1] else None
