"""How a command, or a part of it, died: by a signal of its own making, or by the kernel's hand."""

from __future__ import annotations

import re
import signal

from triage.hangs._pairs import Pairs
from triage.hangs._record import Diagnosis, HangClass
from triage.hangs._sample import Evidence

_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP}
_SHELL_BASE = 128  # a shell gives death by signal N as 128+N
# mm/oom_kill.c: "Out of memory: Killed process 7 (python3)", "Memory cgroup out of memory: Killed process 7 (python3)".
_OOM_LINE = re.compile(r"[Oo]ut of memory: Killed process (\d+)")
# arch/x86/mm/fault.c: "python3[7]: segfault at 0 ip …"; arch/x86/kernel/traps.c: "traps: python3[7] trap …".
_CRASH_LINE = re.compile(r"(?:\S+\[(\d+)\]: segfault at|traps: \S+\[(\d+)\] (?:trap|general protection))")


def diagnose_exit(evidence: Evidence, *, returncode: int | None, seen_pids: frozenset[int]) -> Diagnosis:
    """The class of a command that ended by itself."""
    if returncode is None:
        return Diagnosis(hang_class=HangClass.UNKNOWN, because=("The command ended, and nobody knows how.",))
    number = _read_signal(returncode)
    if number is None:
        # What befell a part of it is told, and is no class of the command: its exit code is its own.
        parts = (*_list_crash_lines(evidence, seen_pids), *_list_oom_words(evidence, seen_pids))
        ended = f"The command ended with exit code {returncode}."
        return Diagnosis(hang_class=HangClass.NONE, because=(ended, *(parts if returncode else ())))
    name = signal.Signals(number).name
    if number in _CRASHES:
        shown = f"The command died by {name}." if returncode < 0 else f"The command's exit code is that of {name}."
        return Diagnosis(hang_class=HangClass.CRASHED, because=(shown, *_list_crash_lines(evidence, seen_pids)))
    if number != signal.SIGKILL:
        return Diagnosis(hang_class=HangClass.NONE, because=(f"Something told the command to end, by {name}.",))
    words = _list_oom_words(evidence, seen_pids)
    killed = "The command was killed (SIGKILL)."
    if words:
        return Diagnosis(hang_class=HangClass.OOM_KILLED, because=(*words, killed))
    return Diagnosis(hang_class=HangClass.UNKNOWN, because=(f"{killed} The kernel does not say that memory was why.",))


def list_lost_parts(evidence: Evidence, pairs: Pairs, seen_pids: frozenset[int]) -> tuple[str, ...]:
    """The kernel's words about processes of a tree that crashed or were killed for memory, while others live on.

    They may well be why the others wait. They decide no class of their own: a part is not the command.
    """
    alive = {process.pid for process in pairs.processes}
    known = seen_pids | {process.pid for sample in evidence.samples for process in sample.processes}
    return (*_list_crash_lines(evidence, known - alive), *_list_oom_words(evidence, known - alive))


def _read_signal(returncode: int) -> int | None:
    """The signal that an exit code tells of: its own, or one that a shell in between passed on."""
    number = -returncode if returncode < 0 else returncode - _SHELL_BASE
    if number <= 0 or number not in signal.valid_signals():
        return None
    # A plain exit code above 128 is taken for a signal only where programs really die of it.
    return number if returncode < 0 or number in _CRASHES | {signal.SIGKILL} else None


def _list_crash_lines(evidence: Evidence, pids: frozenset[int]) -> list[str]:
    """The kernel's lines about a crash of one of these processes."""
    return [
        line
        for line in evidence.kernel_log
        if (found := _CRASH_LINE.search(line)) and int(found[1] or found[2]) in pids
    ]


def _list_oom_words(evidence: Evidence, pids: frozenset[int]) -> list[str]:
    """The kernel's own words: its log, and its count of such kills.

    The count of the command's own cgroup is asked first: that of the machine holds the neighbours' too.
    """
    words = [line for line in evidence.kernel_log if (found := _OOM_LINE.search(line)) and int(found[1]) in pids]
    memory = evidence.memory or {}
    if kills := memory.get("oom_kills_in_cgroup", memory.get("oom_kills", 0)):
        words.append(f"The kernel killed {kills} process{'es' if kills > 1 else ''} for memory while it ran.")
    return words
