"""0 of at least 60 planted secrets are left, and 0 of at least 60 ordinary values are lost; the peer is detect-secrets.

detect-secrets finds lines for a human to look at, and is asked to find too much: in free text its entropy detectors
take words and commits for secrets, and a value under a plain password name is found only where it is quoted. Cutting
out what it finds would cost more ordinary values than it would save secrets, so it measures here and works nowhere.
"""

from detect_secrets.core.scan import scan_line
from detect_secrets.settings import default_settings

from benchmarks._measurement import Measurement
from tests.redaction.corpus import CONTEXTS, ORDINARY, PLANTED, Planted, write_forms
from triage.redaction import redact_text


def measure() -> list[Measurement]:
    """Every secret and every value in every context: one that is wrong in one of them counts as wrong."""
    left = sum(any(_shows(planted, redact_text(text)) for text in _write(planted)) for planted in PLANTED)
    lost = sum(
        any(redact_text(write(*item)) != write(*item) for write in CONTEXTS.values()) for item in ORDINARY.items()
    )
    with default_settings():
        peer_left = sum(any(_shows(planted, _cut_found(text)) for text in _write(planted)) for planted in PLANTED)
        peer_lost = sum(
            any(_cut_found(write(*item)) != write(*item).rstrip("\n") for write in CONTEXTS.values())
            for item in ORDINARY.items()
        )
    return [
        _count(f"of {len(PLANTED)} planted secrets left in one of {len(CONTEXTS)} contexts", left, peer_left),
        _count(f"of {len(ORDINARY)} ordinary values lost in one of {len(CONTEXTS)} contexts", lost, peer_lost),
    ]


def _write(planted: Planted) -> list[str]:
    return [write(planted.name, planted.value) for write in CONTEXTS.values()]


def _shows(planted: Planted, text: str) -> bool:
    return any(form in text for form in write_forms(planted.secret))


def _cut_found(text: str) -> str:
    """What is left when everything that detect-secrets finds is taken out, line by line."""
    kept = []
    for line in text.splitlines():
        left = line
        for found in scan_line(line):
            left = left.replace(found.secret_value or "\0", "")
        kept.append(left)
    return "\n".join(kept)


def _count(promise: str, found: int, peer_found: int) -> Measurement:
    return Measurement(
        promise=promise,
        measured=found,
        limit=0,
        unit="values",
        spread=(found, found),
        peer="what detect-secrets finds, cut out",
        peer_measured=peer_found,
        peer_unit="values",
    )
