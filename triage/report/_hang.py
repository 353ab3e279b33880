"""The page of a watched command: what became of it, the evidence, its timeline, and every stack of both samples."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from markupsafe import Markup

from triage.errors import TriageError
from triage.files import write_atomic
from triage.hangs import (
    HangClass,
    HangRecord,
    Process,
    Sample,
    Thread,
    explain_record,
    parse_record,
    plot_timeline,
    read_record,
)
from triage.redaction import join_command, redact_result, redact_text
from triage.report._body import Block, Body
from triage.report._markup import clean_text, make_anchor
from triage.report._render import render_body
from triage.result import Evidence, Family, Result, Verdict

_DOTS = 192
_SHOWN_FRAMES = 4
_KEPT_LINES = 400
_OPEN_LINES = 30  # a longer log would hide what comes after it
_SPACE = "\N{NO-BREAK SPACE}"

_VERDICTS = {
    HangClass.UNKNOWN: Verdict.INCONCLUSIVE,
    HangClass.SLOW_PROGRESS: Verdict.INCOMPLETE,
    HangClass.NONE: Verdict.NOT_REPRODUCED,
    HangClass.CRASHED: Verdict.NOT_REPRODUCED,
    HangClass.OOM_KILLED: Verdict.NOT_REPRODUCED,
}
_FAMILIES = {
    HangClass.DEVICE_BUSY: Family.GPU_HANG,
    HangClass.DEVICE_IDLE_WAIT: Family.GPU_HANG,
    HangClass.OOM_KILLED: Family.OUT_OF_MEMORY,
    HangClass.HOST_DEADLOCK: Family.TIMEOUT,
    HangClass.SHUTDOWN_HANG: Family.TIMEOUT,
    HangClass.SLOW_PROGRESS: Family.TIMEOUT,
}
_WORDS = {
    HangClass.NONE: "it did not hang",
    HangClass.SLOW_PROGRESS: "slow, and still at work",
    HangClass.HOST_DEADLOCK: "each waits for another, and no GPU is involved",
    HangClass.DEVICE_BUSY: "the GPU runs and never retires",
    HangClass.DEVICE_IDLE_WAIT: "the host waits for a GPU that is idle",
    HangClass.SHUTDOWN_HANG: "the program is done, its threads or children keep it",
    HangClass.CRASHED: "it crashed",
    HangClass.OOM_KILLED: "the kernel killed it for memory",
    HangClass.UNKNOWN: "the evidence does not decide",
}
# What makes the next run tell more. AMD_SERIALIZE_KERNEL (HIP's debugging guide) makes the launch wait for its kernel,
# so that the stack names it; HSA_ENABLE_INTERRUPT=0 (ROCr's environment variables) polls instead of waiting for an
# interrupt, so that a lost one shows; PYTHONFAULTHANDLER prints Python's stack when it crashes.
_SETTINGS = {
    HangClass.DEVICE_BUSY: "AMD_SERIALIZE_KERNEL=3",
    HangClass.DEVICE_IDLE_WAIT: "HSA_ENABLE_INTERRUPT=0",
    HangClass.CRASHED: "PYTHONFAULTHANDLER=1",
}


def write_hang_report(record: HangRecord | Path, path: Path) -> Result:
    """Writes the page of a record, or of a ``hang.json``, and returns the result that it shows.

    Raises `InputError` for a file that is no record, and `StorageError` where the page cannot be written.
    """
    if isinstance(record, Path):
        record = read_record(record)
    result = redact_result(judge_record(record))
    record = parse_record(json.loads(redact_text(record.to_text())))
    page = render_body(_make_body(record), result=result, beside=("hang.json",), index=None)
    write_atomic(path, page)
    return result


def judge_record(record: HangRecord) -> Result:
    """The record as a result: a hang is the symptom, a crash or an end is none.

    The record's text is shown as it is; whoever keeps the result redacts it.
    """
    kind = record.diagnosis.hang_class
    first = record.diagnosis.because[0] if record.diagnosis.because else "nothing was observed."
    return Result(
        case="triage watch",
        family=_FAMILIES.get(kind, Family.UNKNOWN),
        verdict=_VERDICTS.get(kind, Verdict.REPRODUCED),
        cause=f"`{kind}` ({_WORDS[kind]}): {_plain(first)}",
        next_command=_plan_next(record),
        evidence=tuple(_list_evidence(record)),
        versions=record.versions,
        started=_read_time(record.started),
        duration_s=record.duration_s,
    )


def _plan_next(record: HangRecord) -> str:
    """The command to run next: the same one under the watch, set so that it tells more."""
    kind = record.diagnosis.hang_class
    command = _plain(join_command(record.command))
    if kind is HangClass.NONE:
        return command
    timeout_s = None if record.timeout_s is None else record.timeout_s * (2 if kind is HangClass.SLOW_PROGRESS else 1)
    limit = "" if timeout_s is None else f" --timeout-s {timeout_s:g}"
    setting = f"{_SETTINGS[kind]} " if kind in _SETTINGS else ""
    return f"{setting}triage watch --stall-s {record.stall_s:g}{limit} -- {command}"


def _list_evidence(record: HangRecord) -> Iterator[Evidence]:
    for number, line in enumerate(record.diagnosis.because, start=1):
        yield Evidence(statement=f"Reason {number}", observed=_plain(line))
    progress = record.last_progress
    sign = f"{progress.sign}, {progress.age_s:.1f} s before the end"
    yield Evidence(statement="The last sign of life", observed=sign)
    if progress.line:
        yield Evidence(statement="The last line", observed=_plain(progress.line))
    yield Evidence(statement="The phase", observed=record.phase or "none of vLLM's was recognised")
    code = "none of its own" if record.returncode is None else str(record.returncode)
    yield Evidence(statement="Its exit code", observed=f"{code}; the watch exits with {record.exit_code}")
    for sample in record.evidence.samples:
        if sample.gpu is not None:
            yield Evidence(statement=f"GPU at {sample.at_s:.1f} s", observed=_say_gpu(sample))


def _say_gpu(sample: Sample) -> str:
    if sample.gpu is None or not sample.gpu.readings:
        return "no figures"
    told = []
    for reading in sample.gpu.readings:
        used = "unknown" if reading.utilisation_percent is None else f"{reading.utilisation_percent:.0f} %"
        held = "" if reading.vram_used_bytes is None else f", {reading.vram_used_bytes / 2**30:.1f} GiB in use"
        told.append(f"GPU {reading.index}: {used}{held}")
    holders = ", ".join(f"{holder.name} (pid {holder.pid})" for holder in sample.gpu.holders)
    return _plain("; ".join(told) + (f"; held by {holders}" if holders else "") + f" ({sample.gpu.source})")


def _make_body(record: HangRecord) -> Body:
    """The blocks of the page; a section that has nothing to show is left out."""
    sections = [
        ("Timeline", _draw_timeline(record)),
        ("Processes", _draw_processes(record)),
        *((f"Stacks at {sample.at_s:.1f} s", _draw_stacks(sample)) for sample in record.evidence.samples),
        ("Kernel log", _draw_text(record.evidence.kernel_log, "The kernel's lines while the command ran")),
        ("Not collected", _draw_missing(record)),
        ("What is left", _draw_residue(record)),
    ]
    shown = [(title, html) for title, html in sections if html]
    lead = Markup("<p>The command: <code>{}</code></p>").format(_plain(join_command(record.command)))
    return Body(
        title=f"{record.diagnosis.hang_class.replace('_', ' ').capitalize()}: {_WORDS[record.diagnosis.hang_class]}",
        lead=lead,
        blocks=tuple(
            Block(html=Markup('<h2 id="{}">{}</h2>\n{}').format(make_anchor(title), title, html))
            for title, html in shown
        ),
        headings=tuple((2, title, make_anchor(title)) for title, _ in shown),
    )


def _draw_timeline(record: HangRecord) -> Markup:
    if not record.timeline:
        return Markup()
    buffer = io.BytesIO()
    plot_timeline(record).savefig(buffer, format="png", dpi=_DOTS, bbox_inches="tight")
    png = buffer.getvalue()
    return Markup('<figure><img src="data:image/png;base64,{}" alt="{}" width="{}"></figure>').format(
        base64.b64encode(png).decode(), _plain(explain_record(record)), int.from_bytes(png[16:20], "big") * 96 // _DOTS
    )


def _draw_processes(record: HangRecord) -> Markup:
    """Every process once, as it was seen last."""
    last = {(p.pid, p.start_ticks): p for sample in record.evidence.samples for p in sample.processes}
    header = ("Process", "Parent", "State", "Waits in", "CPU", "Memory", "Innermost calls of the main thread")
    rows = [
        (
            f"{process.name} ({process.pid})",
            str(process.ppid),
            process.state,
            _say_wait(process),
            f"{process.cpu_s:.1f}{_SPACE}s",
            f"{process.rss_bytes / 2**20:,.0f}{_SPACE}MiB",
            _say_calls(process),
        )
        for process in last.values()
    ]
    return _draw_table("Every process of the tree, as it was seen last", header, rows)


def _say_wait(process: Process) -> str:
    main = process.threads[0] if process.threads else None
    return (main.syscall or main.wchan or "—") if main else "—"


def _say_calls(process: Process) -> str:
    frames = process.threads[0].frames if process.threads else ()
    calls = [str(frame) for frame in frames if not frame.native][:_SHOWN_FRAMES] or [
        str(f) for f in frames[:_SHOWN_FRAMES]
    ]
    return " ← ".join(calls) or process.stack_error or "—"


def _draw_stacks(sample: Sample) -> Markup:
    pieces = []
    for process in sample.processes:
        text = "\n\n".join(_write_thread(thread) for thread in process.threads if thread.frames)
        if not text and not process.stack_error:
            continue
        source = process.stack_source or process.stack_error or "no stack"
        pieces.append(
            Markup('<details class="log"><summary>{}: {}</summary><pre>{}</pre></details>').format(
                f"{_plain(process.name)} ({process.pid})",
                _plain(source),
                _plain(text or str(process.stack_error), whole=True),
            )
        )
    return Markup("\n").join(pieces)


def _write_thread(thread: Thread) -> str:
    told = [f"state {thread.state}", *(word for word in (thread.syscall, thread.wchan) if word)]
    if thread.holds_gil:
        told.append("holds the GIL")
    head = f"Thread {thread.tid} {thread.name} ({', '.join(told)})"
    return "\n".join([head, *(f"    {'' if f.native else '* '}{f}" for f in thread.frames)])


def _draw_text(lines: Sequence[str], summary: str) -> Markup:
    if not lines:
        return Markup()
    text = "\n".join(lines[-_KEPT_LINES:])
    is_open = Markup(" open" if len(lines) <= _OPEN_LINES else "")
    return Markup('<details class="log"{}><summary>{}</summary><pre>{}</pre></details>').format(
        is_open, f"{summary}: {len(lines)}", _plain(text, whole=True)
    )


def _draw_missing(record: HangRecord) -> Markup:
    rows = [(item.what, item.why) for item in record.evidence.not_collected]
    return _draw_table("What could not be had, and why", ("What", "Why"), rows)


def _draw_residue(record: HangRecord) -> Markup:
    residue = record.residue
    shm = None if residue.shm is None else [f"{path}: {size:,} bytes" for path, size in residue.shm.items()]
    vram = None if residue.vram_bytes is None else [f"{residue.vram_bytes / 2**20:,.0f} MiB more than before"]
    rows = [
        ("Processes that its command left behind", _join([f"{left.name} ({left.pid})" for left in record.orphans])),
        ("Processes that outlived the kill", _join([f"{left.name} ({left.pid})" for left in residue.survivors])),
        ("Shared memory", _join(shm)),
        ("Ports still taken", _join(None if residue.ports is None else [str(port) for port in residue.ports])),
        ("GPU memory", _join(vram)),
    ]
    return _draw_table("What the command left on the machine", ("What", "Left"), rows)


def _join(words: Sequence[str] | None) -> str:
    return "not readable" if words is None else ", ".join(words) or "none"


def _draw_table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    if not rows:
        return Markup()
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in header)
    body = Markup("\n").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            _plain(row[0]), Markup("").join(Markup("<td>{}</td>").format(_plain(cell)) for cell in row[1:])
        )
        for row in rows
    )
    return Markup(
        '<div class="scroll"><table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(caption, head, body)


def _plain(text: str, *, whole: bool = False) -> str:
    """Foreign text without colours and control characters; on one line unless ``whole``."""
    cleaned = clean_text(text)
    return cleaned if whole else re.sub(r"[ \t\r\n]+", " ", cleaned).strip()


def _read_time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


if __name__ == "__main__":  # a process of its own: a page that fails must not take the watch with it
    try:
        write_hang_report(Path(sys.argv[1]), Path(sys.argv[2]))
    except TriageError as error:
        sys.exit(str(error))
