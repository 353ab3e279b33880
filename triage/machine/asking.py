"""Asking without being kept: threads and commands that have a limit, and are left behind where they do not keep it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")
_KILL_WAIT_S = 0.3

_left_behind: list[subprocess.Popen[bytes]] = []  # in state D: nobody can end them, and Python must not warn of it


@dataclass(frozen=True, kw_only=True)
class Answers(Generic[_Key, _Answer]):
    """What came in time, and which did not, with the reason."""

    given: dict[_Key, _Answer]
    missing: dict[_Key, str]


class Asking(Generic[_Key, _Answer]):
    """Questions that are being asked in daemon threads, at most ``at_once`` at a time, in their order."""

    def __init__(self, questions: Mapping[_Key, Callable[[], _Answer]], *, limit_s: float, at_once: int = 64) -> None:
        self._given: dict[_Key, _Answer] = {}
        self._failed: dict[_Key, str] = {}
        self._keys = list(questions)
        self._waiting = list(questions.items())[::-1]
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s
        self._changed = threading.Condition()
        self._over = False
        for _ in range(min(at_once, len(questions))):
            threading.Thread(target=self._work, name="triage-probe", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._over or not self._waiting:
                    return
                key, question = self._waiting.pop()
            try:
                answer = question()
            except Exception as error:  # noqa: BLE001 - evidence is had or not: no probe may take the others with it
                with self._changed:
                    self._failed[key] = f"{type(error).__name__}: {error}"
                    self._changed.notify()
            else:
                with self._changed:
                    self._given[key] = answer
                    self._changed.notify()

    def wait(self) -> Answers[_Key, _Answer]:
        """Until all have answered, or the limit has passed, counted from the beginning of the asking."""
        with self._changed:
            while len(self._given) + len(self._failed) < len(self._keys):
                left = self._deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            self._over = True
            late = [key for key in self._keys if key not in self._given and key not in self._failed]
            why = f"no answer within {self._limit_s:.1f} s"
            return Answers(given=dict(self._given), missing=self._failed | dict.fromkeys(late, why))


def ask_all(
    questions: Mapping[_Key, Callable[[], _Answer]], *, limit_s: float, at_once: int = 64
) -> Answers[_Key, _Answer]:
    """Calls functions side by side, at most ``at_once`` of them together, and waits ``limit_s`` at the longest.

    A late one is left behind in its daemon thread: a read of /proc can wait for a lock that a hung process holds. An
    exception becomes the reason of that one question.

    >>> answers = ask_all({"a": lambda: 1, "b": lambda: 1 // 0}, limit_s=5)
    >>> answers.given, answers.missing["b"].partition(":")[0]
    ({'a': 1}, 'ZeroDivisionError')
    """
    return Asking(questions, limit_s=limit_s, at_once=at_once).wait()


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a command said. ``text`` is None where it is of no use, and ``why`` then says the reason."""

    text: str | None
    why: str | None = None
    late: bool = False


def run_tool(
    command: Sequence[str | Path], *, limit_s: float, on_late: Callable[[], None] | None = None, any_code: bool = False
) -> Output:
    """Runs a command and gives its output, within its limit, whatever it does.

    It has a session of its own, which is killed as a whole when it is late; a command that does not even end then
    (state D) is left behind and said. ``on_late`` is called after that. With ``any_code`` a failed command's output
    counts too.

    >>> run_tool(["echo", "yes"], limit_s=30).text
    'yes\\n'
    >>> run_tool(["sleep", "60"], limit_s=0.1).why
    'sleep gave no answer within 0.1 s and was killed'
    """
    name = os.path.basename(command[0])
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
    except OSError as error:
        return Output(text=None, why=f"{name} cannot be started: {error.strerror}")
    try:
        data, said = process.communicate(timeout=max(0.05, limit_s))
    except subprocess.TimeoutExpired:
        fate = _kill(process)
        if on_late:
            on_late()
        return Output(text=None, why=f"{name} gave no answer within {limit_s:.1f} s and {fate}", late=True)
    text = data.decode(errors="backslashreplace")
    if process.returncode and not any_code:
        reason = _last_words(said) or _last_words(data) or "nothing said"
        return Output(text=None, why=f"{name} ended with {process.returncode}: {reason}")
    return Output(text=text)


def _kill(process: subprocess.Popen[bytes]) -> str:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=_KILL_WAIT_S)
    except subprocess.TimeoutExpired:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        if process.poll() is None:
            _left_behind.append(process)
            return f"outlived SIGKILL: it was left behind as pid {process.pid}"
    return "was killed"


def _last_words(data: bytes) -> str:
    """The first line of an error; the rest is a backtrace."""
    lines = [line.strip() for line in data.decode(errors="replace").splitlines() if line.strip()]
    causes = [line for line in lines if line[:2] in {"0:", "1:", "2:"} and "::" not in line]
    return " · ".join(lines[:1] + causes)[:300]
