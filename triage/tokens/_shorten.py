"""The shortest text that still shows something: what an attribution is worked out on."""

from __future__ import annotations

from collections.abc import Callable

_CHARACTERS = 2_000_000  # of all trials together: a few seconds of encoding


def shorten_text(text: str, shows: Callable[[str], bool], *, span: tuple[int, int] | None = None) -> str:
    """A part of the text that still shows it, from which no character can be left out, as far as time allows.

    ``span`` is where to look first, as code points. With it, the search takes about ``log2(len(text))`` trials to find
    the place and then works there; without, it is delta debugging over the whole text (Zeller's ddmin). Where much of
    the text is needed, as when a limit of 8,192 tokens is what it shows, the search ends early: it is quadratic.

    Raises `ValueError` if the whole text does not show it.

    >>> shorten_text("a long text with an x in it", lambda part: "x" in part)
    'x'
    """
    window = None if span is None else _close_in(text, shows, span)
    if window is None and not shows(text):
        raise ValueError("the whole text does not show it")
    return _minimise(text if window is None else window, shows)


def _close_in(text: str, shows: Callable[[str], bool], span: tuple[int, int]) -> str | None:
    """The first of the windows around the span, each twice as wide as the one before, that shows it."""
    start, end = span
    margin = 0
    while start - margin > 0 or end + margin < len(text):
        window = text[max(0, start - margin) : end + margin]
        if window and shows(window):
            return window
        margin = max(1, margin * 2)
    return None


def _minimise(text: str, shows: Callable[[str], bool]) -> str:
    pieces = 2
    left = max(_CHARACTERS, 4 * len(text))
    while len(text) > 1:
        size = max(1, len(text) // pieces)
        for start in range(0, len(text), size):
            shorter = text[:start] + text[start + size :]
            left -= len(shorter)
            if left < 0:
                return text
            if shorter and shows(shorter):
                text, pieces = shorter, max(pieces - 1, 2)
                break
        else:
            if size == 1:
                break
            pieces = min(len(text), pieces * 2)
    return text
