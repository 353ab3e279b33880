"""``triage verify --check``: computes every figure of a receipt anew, and names the lines that were edited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from triage.errors import InputError
from triage.result import Family
from triage.verify._campaign import ATTEMPTS
from triage.verify._design import Design, Rule
from triage.verify._receipt import CHECKSUMS, build_figures, format_receipt, hash_content, hash_line, list_lines
from triage.verify._results import read_attempt

_SHOWN = 12
_HINT = "Take the receipt as triage wrote it, or run the verification again."


@dataclass(frozen=True, kw_only=True)
class CheckedReceipt:
    """A receipt of which every figure follows from its attempts; ``logs`` counts the logs that lie beside it."""

    receipt: Mapping[str, Any]
    logs: int

    @property
    def attempts(self) -> int:
        """How many attempts it holds."""
        return len(self.receipt["attempts"])


def check_receipt(path: Path) -> CheckedReceipt:
    """Reads a receipt, computes all its figures from its attempts, and compares checksums, of the logs beside it too.

    Raises one `InputError` that names each line which was edited, or each figure that does not follow. A checksum shows
    an edit, not a forger who writes it anew.
    """
    text = _read_text(path)
    receipt = _parse(path, text)
    problems = list(dict.fromkeys([*_find_edits(text, receipt), *_find_wrong_figures(path, text, receipt)]))
    logs, wrong = _compare_logs(path.parent / ATTEMPTS, receipt)
    problems += wrong
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InputError(f"{path} is not as triage wrote it: {'; '.join(problems[:_SHOWN])}{more}.", hint=_HINT)
    return CheckedReceipt(receipt=receipt, logs=logs)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).", hint="Name a receipt.json of `triage verify`.") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        receipt = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is no JSON at line {error.lineno}: {error.msg}.", hint=_HINT) from None
    if not isinstance(receipt, dict) or not {"schema_version", "attempts", "design", CHECKSUMS} <= receipt.keys():
        raise InputError(f"{path} is no receipt.", hint="Name a receipt.json of `triage verify`.")
    if receipt["schema_version"] != 1:
        raise InputError(
            f"{path} is a receipt of schema {receipt['schema_version']!r}; this triage reads 1.",
            hint="Check it with the triage that wrote it: its version is in the receipt.",
        )
    return receipt


def _find_edits(text: str, receipt: Mapping[str, Any]) -> Iterator[str]:
    """Lines whose checksum is another. Where the text was laid out anew, lines say nothing: then only its content."""
    checksums = receipt[CHECKSUMS]
    if not isinstance(checksums, dict) or not {"content", "lines"} <= checksums.keys():
        yield "its checksums are gone"
        return
    content = {key: value for key, value in receipt.items() if key != CHECKSUMS}
    if hash_content(content) == checksums["content"]:
        return
    written = str(checksums["lines"]).split()
    lines = text.splitlines()
    laid_out = text == format_receipt(receipt)
    found = [hash_line(line) for line in (list_lines(content) if not laid_out else lines[: len(list_lines(content))])]
    matcher = SequenceMatcher(a=written, b=found, autojunk=False)
    named = False
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        named = True
        if kind == "delete":
            yield f"{b - a} lines are missing before line {c + 1}"
            continue
        shown = list_lines(content)
        for number in range(c, d):
            place = number + 1 if laid_out else _find_line(lines, shown[number])
            yield f"line {place} was edited ({shown[number].strip().rstrip(',')[:120]})"
    if not named:
        yield "its content is another than its checksum says"


def _find_line(lines: list[str], wanted: str) -> int | str:
    """The line of a text that was laid out anew; its key has to do where it has been spread over several."""
    plain = wanted.strip().rstrip(",")
    key = plain.partition(":")[0]
    return next((n for n, line in enumerate(lines, 1) if plain in line or line.strip().startswith(key)), "?")


def _find_wrong_figures(path: Path, text: str, receipt: Mapping[str, Any]) -> Iterator[str]:
    """Every figure that does not follow from the attempts, with its line."""
    try:
        design = receipt["design"]
        attempts = [read_attempt(one, receipt["signatures"]) for one in receipt["attempts"]]
        wanted = receipt["wanted"]
        figures = build_figures(
            attempts,
            Design(
                rule=Rule(design["rule"]),
                runs=design["runs"],
                most=design["max_runs"],
                confidence=design["confidence"],
                improvement=design["improvement"],
            ),
            wanted=wanted["signature"],
            family=None if wanted["family"] is None else Family(wanted["family"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no receipt ({type(error).__name__}: {error}).", hint=_HINT) from None
    lines = text.splitlines()
    for key, value in json.loads(json.dumps(figures)).items():
        for name, said, computed in _compare(key, receipt.get(key), value):
            # A long part, like an attempt, is named by its line; a figure says what it should be.
            place = _locate(lines, name)
            yield f"{place}{name} is {_show(said)}, and the attempts give {_show(computed)}"


def _compare(name: str, said: Any, computed: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(computed, dict) and isinstance(said, dict):
        for key in computed:
            yield from _compare(f"{name}.{key}", said.get(key), computed[key])
    elif isinstance(computed, list) and isinstance(said, list) and len(said) == len(computed):
        for number, (one, other) in enumerate(zip(said, computed, strict=True)):
            yield from _compare(f"{name}[{number}]", one, other)
    elif not _equal(said, computed):
        yield name, said, computed


def _equal(said: Any, computed: Any) -> bool:
    if isinstance(said, float) or isinstance(computed, float):
        # Another scipy may differ in the last digits.
        return isinstance(said, int | float) and abs(said - computed) <= 1e-9 * max(1.0, abs(computed))
    return bool(said == computed)


def _locate(lines: list[str], name: str) -> str:
    """The line of a field like ``before.failures`` or ``attempts[3].outcome``, in a text as triage lays it out."""
    top, _, rest = name.partition(".")
    top, _, number = top.partition("[")
    start = next((n for n, line in enumerate(lines) if line.startswith(f' "{top}":')), None)
    if start is None:
        return ""
    if number:
        return f"line {start + 2 + int(number.rstrip(']'))}: "
    inner = rest.partition(".")[0].partition("[")[0]
    if not inner:
        return f"line {start + 1}: "
    return next((f"line {n + 1}: " for n in range(start, len(lines)) if lines[n].startswith(f'  "{inner}":')), "")


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _compare_logs(folder: Path, receipt: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many logs lie beside the receipt, and those that are others than its attempts had."""
    count, wrong = 0, []
    for attempt in receipt["attempts"]:
        name = attempt.get("log")
        log = folder / name if isinstance(name, str) and name and ".." not in name else None
        if log is None or not log.is_file():
            continue
        count += 1
        if hashlib.sha256(log.read_bytes()).hexdigest() != attempt["log_sha256"]:
            wrong.append(f"{ATTEMPTS}/{name} is not the log of attempt {attempt['index']}")
    return count, wrong
