"""A line that says that long work is going on; it leaves nothing behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from triage.report._notebook import find_shell

PROGRESS_VARIABLE = "TRIAGE_PROGRESS"  # "0": nobody is watching, the notebook is being executed for its report
_EVERY_S = 1.0


@contextmanager
def show_progress(what: str) -> Iterator[None]:
    """Shows ``what`` and the seconds that have gone by, in the running cell, until the block ends.

    The line is empty afterwards, also where the block was interrupted. Outside Jupyter, and in a notebook that
    ``triage run`` executes, there is none.

    >>> with show_progress("vLLM is starting"):  # outside Jupyter: nothing to show
    ...     pass
    """
    if find_shell() is None or os.environ.get(PROGRESS_VARIABLE) == "0":
        yield
        return
    from IPython.display import display

    began = time.monotonic()
    handle = display({"text/plain": f"{what} …"}, raw=True, display_id=True)
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(_EVERY_S):
            handle.update({"text/plain": f"{what} … {time.monotonic() - began:.0f} s"}, raw=True)

    thread = threading.Thread(target=tick, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        handle.update({"text/plain": ""}, raw=True)
