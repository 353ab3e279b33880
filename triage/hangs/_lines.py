"""What the passing output says: phases, signs of life, the last line. It looks at what it can afford to."""

from __future__ import annotations

from collections.abc import Callable

from triage.engine.phases import FIRST, TELLING, Phase, PhaseReader, is_waiting, strip_colour
from triage.hangs._record import PhaseMark

LINE_BYTES = 4096  # of a longer line the beginning is looked at
_SHOWN_CHARS = 500  # of a line that the record quotes
_BUDGET_BYTES_PER_S = 256 * 1024.0  # how much is searched: 1 MiB takes some 5 ms
_BUDGET_BYTES = 4 * 1024 * 1024.0  # what a quiet time saves up for a burst


class Output:
    """All output of a command, whatever stream it comes by."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._reader = PhaseReader()
        self._budget_bytes = _BUDGET_BYTES
        self._filled_at_s = clock()
        self._streams: list[LineReader] = []
        self.phases: list[PhaseMark] = []
        self.bytes = 0
        self.at_s: float | None = None  # when a line came that is a sign of life
        self._last = b""

    def open_stream(self) -> LineReader:
        """The reader of one stream of the command."""
        stream = LineReader(self)
        self._streams.append(stream)
        return stream

    @property
    def phase(self) -> str | None:
        """The phase that the command is in."""
        return self.phases[-1].phase if self.phases else None

    @property
    def last_line(self) -> str | None:
        """The last line that was a sign of life, as text."""
        self.settle()
        return _quote(self._last) or None

    def settle(self) -> None:
        """Takes unfinished lines into account: dots of a progress bar, a prompt. Called from time to time."""
        for stream in self._streams:
            if stream.grew:
                stream.grew = False
                self._note_line(stream.rest)

    def spend(self, size: int) -> bool:
        """Whether so many bytes may be searched now. The phases of a command that pours are not worth a core."""
        now = self._clock()
        earned = (now - self._filled_at_s) * _BUDGET_BYTES_PER_S
        self._budget_bytes = min(_BUDGET_BYTES, self._budget_bytes + earned)
        self._filled_at_s = now
        if size > self._budget_bytes:
            return False
        self._budget_bytes -= size
        return True

    def read_lines(self, lines: bytes) -> None:
        """Whole lines, separated by newlines or carriage returns."""
        if self.spend(len(lines)) and (TELLING.search(lines) or (not self.phases and FIRST.search(lines))):
            for line in lines.replace(b"\r", b"\n").split(b"\n"):
                self._note_line(line)
        elif last := _find_last(lines):
            self._note_life(last)

    def _note_line(self, line: bytes) -> None:
        text = strip_colour(line[:LINE_BYTES].decode(errors="replace"))
        begun = self._reader.read(text)
        if begun and not self.phases:
            self._mark(Phase.IMPORT, 0.0, text)
        for phase in begun:
            self._mark(phase, self._clock(), text)
        if text and not is_waiting(text):
            self._note_life(line)

    def _note_life(self, line: bytes) -> None:
        self._last = line[:LINE_BYTES]
        self.at_s = self._clock()

    def _mark(self, phase: Phase, at_s: float, line: str) -> None:
        self.phases.append(PhaseMark(phase=phase.value, at_s=round(at_s, 3), line=line[:_SHOWN_CHARS]))


class LineReader:
    """One stream: keeps the beginning of a line until its end comes."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.rest = b""
        self.grew = False

    def feed(self, data: bytes) -> None:
        """What has passed."""
        self._output.bytes += len(data)
        cut = max(data.rfind(b"\n"), data.rfind(b"\r"))
        if cut >= 0:
            self._output.read_lines(self.rest + data[:cut] if self.rest else data[:cut])
            self.rest = b""
        self.rest += data[cut + 1 : cut + 1 + LINE_BYTES - len(self.rest)]
        self.grew = cut + 1 < len(data)

    def skip(self, size: int) -> None:
        """So many bytes passed unseen: too many, too fast."""
        self._output.bytes += size
        self.rest = b""


def _find_last(lines: bytes) -> bytes:
    """The last line that is not blank."""
    tail = lines[-2 * LINE_BYTES :].rstrip()
    return tail[max(tail.rfind(b"\n"), tail.rfind(b"\r")) + 1 :]


def _quote(line: bytes) -> str:
    return strip_colour(line.decode(errors="replace"))[:_SHOWN_CHARS]
