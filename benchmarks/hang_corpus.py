"""The labelled programs of the tests: none gets a wrong class, and at most two get none.

The peer is `timeout` of coreutils. It knows one class: it ended the command, or not. It is wrong where it ends a
program that only was slow, or that would have gone on.
"""

import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks._measurement import Measurement
from tests.hangs.corpus import (
    STALL_S,
    Program,
    Watched,
    list_programs,
    watch_program,
    why_not_here,
)
from triage.hangs import HangClass
from triage.processes import start_guarded

UNKNOWN_MOST = 2
_AT_ONCE = 3


def measure() -> list[Measurement]:
    """Runs every program under the watch, and the same ones under `timeout`."""
    programs = [program for program in list_programs() if why_not_here(program) is None]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        watched = list(pool.map(watch_program, programs))
        calls = list(pool.map(_call_a_hang, programs))
    wrong = sum(_find(each) not in {each.program.label, HangClass.UNKNOWN} for each in watched)
    undecided = sum(_find(each) is HangClass.UNKNOWN is not each.program.label for each in watched)
    mistaken = sum(called != program.label.is_hang for program, called in zip(programs, calls, strict=True))
    peer = f"programs of which timeout {STALL_S:g} is wrong whether they hang"
    return [
        _count(f"wrong classes among {len(programs)} labelled programs", wrong, 0, peer, mistaken),
        _count(f"undecided among {len(programs)} labelled programs", undecided, UNKNOWN_MOST, peer, mistaken),
    ]


def _count(promise: str, found: int, limit: int, peer: str, mistaken: int) -> Measurement:
    return Measurement(
        promise=promise,
        measured=found,
        limit=limit,
        unit="programs",
        spread=(found, found),
        peer=peer,
        peer_measured=mistaken,
        peer_unit="programs",
    )


def _find(watched: Watched) -> HangClass:
    return watched.record.diagnosis.hang_class


def _call_a_hang(program: Program) -> bool:
    """Whether `timeout` ends a program; what it leaves running is ended by a guard."""
    if program.label is HangClass.OOM_KILLED:  # without its group it would take all the memory there is
        return False
    with tempfile.TemporaryDirectory() as folder:
        words = ["timeout", "--kill-after", "1", str(STALL_S), *program.build(folder)]
        began = time.monotonic()
        with start_guarded(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
            command.wait()
        return time.monotonic() - began >= STALL_S
