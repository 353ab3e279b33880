"""When a watched tree last gave a sign of life: looked at from time to time, judged by one rule."""

from __future__ import annotations

from collections.abc import Callable

from triage.hangs._lines import Output
from triage.hangs._progress import find_sign
from triage.hangs._record import Tick
from triage.hangs._sample import Sample
from triage.hangs._spin import GpuUse, SpinProbe, holds_gpu
from triage.hangs._work import Look, WorkReader

_LOOKS_PER_STALL = 8
_LOOKS_PER_RUN = 15  # a young run is looked at more often: its timeline is to have points too
_LEAST_S, _MOST_S = 0.25, 5.0
_QUIET_SHARE = 0.5  # of stall_s without output: then CPU time has to be work, not a wait for a GPU
_RECENT_MOST_S = 60.0


class Life:
    """The last sign of life, and the last one that no wait for a GPU can feign (output, phase, io)."""

    def __init__(
        self, output: Output, work: WorkReader, *, stall_s: float, take: Callable[[list[int]], Sample], now_s: float
    ) -> None:
        self._output = output
        self._work = work
        self._stall_s = stall_s
        self._probe = SpinProbe(take, stall_s=stall_s)
        self._gpu = GpuUse()
        self._looked_s = now_s
        self._told_s = 0.0
        self.pids: set[int] = set()
        self.sign = "output"
        self.at_s = now_s
        self._outward_s = now_s
        self.due_s = now_s

    def look(self, now_s: float, *, holds_still: bool = False) -> Tick:
        """Looks at the tree. ``holds_still`` is whether our own reader keeps the command from writing."""
        self._forgive(now_s)
        self._output.settle()
        look = self._work.look(now_s)
        self.pids.update(self._work.pids)
        percent = self._gpu.read_percent()
        if self._note_output():
            self._work.forget_close()
        else:
            self._note_work(look, now_s, percent)
        if holds_still:  # it waits for our reader, and that is not its fault
            self._shift(now_s, now_s - self._looked_s)
        self._looked_s = now_s
        wait_s = min(max(_LEAST_S, now_s / _LOOKS_PER_RUN), self._stall_s / _LOOKS_PER_STALL, _MOST_S)
        self.due_s = now_s + wait_s
        return Tick(
            at_s=round(now_s, 3),
            output_bytes=self._output.bytes,
            cpu_percent=round(100 * look.cpu_s / look.interval_s, 1),
            rss_bytes=look.rss_bytes,
            processes=look.processes,
            gpu_percent=percent,
        )

    def _forgive(self, now_s: float) -> None:
        """Time in which nobody looked (we were stopped, or the machine was) cannot be held against the command."""
        missed_s = now_s - self.due_s
        if missed_s > max(1.0, self.due_s - self._looked_s):
            self._shift(now_s, missed_s)

    def _shift(self, now_s: float, by_s: float) -> None:
        self.at_s = min(now_s, self.at_s + by_s)
        self._outward_s = min(now_s, self._outward_s + by_s)

    def _note_output(self) -> bool:
        """Whether there was output since the last time that is more than a waiting line."""
        at_s = self._output.at_s
        if at_s is None or at_s <= self._told_s:
            return False
        self._told_s = at_s
        marks = self._output.phases
        self._note("phase" if marks and marks[-1].at_s >= round(at_s, 3) else "output", at_s)
        return True

    def _note_work(self, look: Look, now_s: float, gpu_percent: float | None) -> None:
        sign = "cpu" if look.busy else None
        if look.busy:
            self._work.forget_close()
        elif close := self._work.look_close(now_s):
            interval_s, works = close
            own = gpu_percent if gpu_percent and any(map(holds_gpu, self._work.pids)) else None
            sign = find_sign(works, interval_s=interval_s, gpu_percent=own)
        if sign in {None, "cpu", "switches", "gpu"} and now_s - self._outward_s >= _QUIET_SHARE * self._stall_s:
            self._probe.look(self._work.pids, now_s)
        if sign == "io" or (sign is not None and not self._probe.suspects):
            self._note(sign, now_s)

    def _note(self, sign: str, at_s: float) -> None:
        self.sign, self.at_s = sign, max(at_s, self.at_s)
        if sign in {"output", "phase", "io"}:
            self._outward_s = max(at_s, self._outward_s)
            self._probe.forget()

    def is_stalled(self, now_s: float) -> bool:
        """Whether there was no sign of life for so long, or none but CPU time that is burnt in a wait for a GPU."""
        if now_s - self.at_s >= self._stall_s:
            return True
        return self._probe.spins and now_s - self._outward_s >= self._stall_s

    def is_progressing(self, now_s: float) -> bool:
        """Whether the last sign of life is recent, as far as so young or so patient a watch can tell."""
        recent_s = min(self._stall_s / 2, _RECENT_MOST_S, max(2.0, 3 * (self.due_s - self._looked_s), now_s / 4))
        return now_s - self.at_s <= recent_s and not self._probe.suspects
