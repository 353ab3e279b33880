"""Throws damaged headers at triage and at safetensors and compares what they say: ``python tests/fuzz_headers.py``.

Every kind of answer that was not met before is kept, as small as it can be made, in ``tests/data/headers``, which
`test_checkpoint_headers_corpus` replays. Exits 1 at a disagreement that `explain_stricter` does not know.
"""

import argparse
import hashlib
import json
import random
import re
import struct
import sys
import tempfile
import time
from pathlib import Path

from safetensors import SafetensorError, safe_open

from triage.checkpoints import read_headers
from triage.checkpoints._scan import Scanner
from triage.checkpoints._strict import read_strictly
from triage.checkpoints._tensor import Tensor
from triage.errors import CheckpointError

CORPUS = Path(__file__).parent / "data" / "headers"
LARGEST_CASE_BYTES = 700

Verdict = tuple[bool, str]

WORDS = [
    b'"a":', b'"b":', b'"__metadata__":', b'"dtype":', b'"shape":', b'"data_offsets":', b'"F32"', b'"BF16"', b'"F4"',
    b'"F33"', b'"I8"', b'"f32"', b"[2]", b"[]", b"[0]", b"[2,3]", b"[-2]", b"[2.0]", b"[1e0]", b"[true]", b"[null]",
    b"[18446744073709551615]", b"[18446744073709551616]", b"[9223372036854775808,0]", b"[4294967296,4294967296]",
    b"[0,8]", b"[8,0]", b"[8,16]", b"[4,12]", b"[0,8,9]", b"[0]", b"[-0,8]", b"[00,8]", b"[0,08]", b"null", b"true",
    b"{}", b"[]", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0061", b"\\ud800", b"\\ud83d\\ude00", b"\\n",
    b" ", b"\n", b"\t", b"\r", b"\x00", b"\x1f", b"\x7f", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1E400", b"9" * 400, b"0.5", b"-1", b'"x":1,', b'"x":[[[[[]]]]],',
    b"[" * 130 + b"]" * 130, b'{"format":"pt"}', b'{"a":1}', b'{"a":"b","a":"c"}', b'{"F32":null}',
    b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}', b'["F32",[2],[0,8]]', b"/**/", b"'a'",
]  # fmt: skip
NAMES = ["a", "b", "c", "", "layers.0.é", "__metadata__", "dtype", "a b", "\U0001f600", "a\nb", 'q"', "back\\slash"]
TYPES = ["F32", "F16", "BF16", "I8", "BOOL", "F4", "F6_E2M3", "F8_E8M0", "C64", "U64", "F33"]
BITS = {"F32": 32, "F16": 16, "BF16": 16, "I8": 8, "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F8_E8M0": 8, "C64": 64, "U64": 64}


def ask_safetensors(path: Path) -> Verdict:
    """Whether safetensors opens the file, and the kind of its complaint."""
    try:
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118
                file.get_slice(key).get_shape()
    except (SafetensorError, OSError, OverflowError, ValueError) as error:
        return False, classify(str(error))
    return True, "opens"


def ask_triage(path: Path) -> Verdict:
    """Whether triage reads the file, and the kind of its complaint."""
    try:
        read_headers(path)
    except CheckpointError as error:
        return False, classify(error.message.removeprefix(str(path)))
    return True, "reads"


def classify(message: str) -> str:
    """A complaint without the names and numbers in it."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\[.*\]|[0-9]+", "", message).rstrip(".")[:80]


def explain_stricter(path: Path) -> str | None:
    """Why triage refuses on purpose what safetensors takes; None where there is no such reason."""
    _, complaint = ask_triage(path)
    content = path.read_bytes()
    if complaint.endswith(" twice"):
        return "a duplicate key, of which safetensors keeps the last in silence"
    if "does not begin with" in complaint:
        return "space before the brace with which the format begins"
    if "does not hold dtype, shape and data_offsets" in complaint and re.search(rb":\s*\[\s*\"", content):
        return "an entry that is a list instead of an object"
    if "has the unknown dtype" in complaint and re.search(rb'\{\s*"[A-Z0-9_]+"\s*:\s*null', content):
        return "a dtype that is an object instead of a text"
    return None


def check_scanner(content: bytes) -> str | None:
    """Where the fast reader answers, the strict one must answer the same."""
    length = int.from_bytes(content[:8], "little")
    raw, data_bytes = content[8 : 8 + length], len(content) - 8 - length
    scanned: dict[str, Tensor] = {}
    if not raw.startswith(b"{") or data_bytes < 0 or not Scanner().scan(raw, scanned, data_bytes=data_bytes):
        return "the scanner leaves something behind" if scanned else None
    try:
        strict = read_strictly(Path("case"), raw, data_bytes=data_bytes)
    except CheckpointError as error:
        return f"the scanner reads what the strict reader refuses: {error.message}"
    return None if list(scanned.items()) == list(strict.items()) else "the two readers differ"


def find_disagreement(path: Path) -> str | None:
    """What is wrong with the answers to one file; None where all is well."""
    taken, complaint = ask_safetensors(path)
    read, words = ask_triage(path)
    if read and not taken:
        return f"triage reads what safetensors refuses ({complaint})"
    if taken and not read and explain_stricter(path) is None:
        return f"triage refuses what safetensors reads ({words})"
    return check_scanner(path.read_bytes())


def make_case(rng: random.Random) -> bytes:
    """A file that is whole, or nearly."""
    header: dict[str, object] = {}
    if rng.random() < 0.3:
        header["__metadata__"] = rng.choice([{"format": "pt"}, {}, {"x": 'q"}'}, {"a": 1}, None, [], "x"])
    position = 0
    for name in rng.sample(NAMES, rng.randint(0, 4)):
        dtype = rng.choice(TYPES) if rng.random() < 0.5 else "F32"
        shape = [rng.choice([0, 1, 2, 3, 8]) for _ in range(rng.randint(0, 3))]
        size = 1
        for length in shape:
            size *= length
        size = size * BITS.get(dtype, 8) // 8
        entry = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        if rng.random() < 0.05:
            entry = dict(rng.sample(list(entry.items()), 3))
        header[name] = entry
        position += size
    style = rng.choice([(",", ":"), (",", ":"), (", ", ": ")])
    raw = json.dumps(header, separators=style, ensure_ascii=rng.random() < 0.5).encode() + b" " * rng.choice([0, 0, 3])
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        raw = mutate(raw, rng)
    length = (
        len(raw) if rng.random() < 0.95 else rng.choice([0, 1, len(raw) - 1, len(raw) + 1, 2**63, 2**64 - 1, 10**8])
    )
    data = max(0, position + (rng.choice([-1, 1, 8]) if rng.random() < 0.1 else 0))
    return struct.pack("<Q", max(0, length)) + raw + b"\0" * data


def mutate(raw: bytes, rng: random.Random) -> bytes:
    """One change: a word more, a word for another, a piece twice, a piece less, a byte."""
    place = rng.randint(0, len(raw))
    end = min(len(raw), place + rng.choice([1, 1, 2, 5, 20]))
    tokens = [m.span() for m in re.finditer(rb'"[^"]*"|[0-9]+|\[[^\]]*\]|[{}:,]', raw)] or [(place, end)]
    first, last = rng.choice(tokens)
    return rng.choice(
        [
            lambda: raw[:first] + rng.choice(WORDS) + raw[last:],
            lambda: raw[:first] + rng.choice(WORDS) + raw[first:],
            lambda: raw[:last] + raw[first:],
            lambda: raw[:first] + raw[last:],
            lambda: raw[:place] + rng.choice(WORDS) + raw[place:],
            lambda: raw[:place] + raw[end:],
            lambda: raw[:place] + bytes([rng.randrange(256)]) + raw[end:],
        ]
    )()


def main() -> None:
    """Runs for a while, keeps what is new, and says what disagreed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--most", type=int, default=300, help="files in the corpus")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    kept = {path: describe(path) for path in sorted(CORPUS.glob("*.safetensors"))}
    seen = set(kept.values())
    began, cases, wrong = time.monotonic(), 0, 0
    kinds: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.safetensors"
        while time.monotonic() < began + arguments.seconds:
            content = make_case(rng)
            path.write_bytes(content)
            cases += 1
            if problem := find_disagreement(path):
                if problem not in kinds:
                    kinds.add(problem)
                    print(problem, content[:400], file=sys.stderr, flush=True)
                wrong += 1
            kind = describe(path)
            if kind not in seen and len(content) <= LARGEST_CASE_BYTES and len(seen) < arguments.most:
                seen.add(kind)
                (CORPUS / f"{hashlib.sha256(content).hexdigest()[:12]}.safetensors").write_bytes(content)
    print(f"{cases} cases in {arguments.seconds:.0f} s, {wrong} disagreements of {len(kinds)} kinds, {len(seen)} kept")
    sys.exit(bool(wrong))


def describe(path: Path) -> tuple[Verdict, Verdict]:
    """The kind of answer that both give."""
    return ask_safetensors(path), ask_triage(path)


if __name__ == "__main__":
    main()
