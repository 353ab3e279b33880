"""What a notebook calls: the banner at its top, tables and pictures, the result at its end.

Outside Jupyter these functions show nothing, so that a notebook's cells can also run as a plain script.
"""

from __future__ import annotations

import base64
import io
import types
from html import escape
from typing import TYPE_CHECKING, Any

from triage.errors import TriageError
from triage.result import Result, Verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RESULT_MIME = "application/vnd.triage.result+json"
ERROR_MIME = "application/vnd.triage.error+json"
BANNER_MIME = "application/vnd.triage.banner+json"  # marks the banner, which the page draws by itself
_BANNER_ID = "triage-verdict"
_DOTS = 192  # dots per inch: sharp on a dense screen

# The colours of the banner in JupyterLab; the page has its own, from the same family.
_COLOURS = {
    Verdict.REPRODUCED: "#c2372e",
    Verdict.MECHANISM: "#8250df",
    Verdict.NOT_REPRODUCED: "#1a7f37",
    Verdict.FLAKY: "#bf5b04",
    Verdict.INFRA: "#57606a",
    Verdict.INCONCLUSIVE: "#57606a",
    Verdict.INCOMPLETE: "#9a6700",
}


def open_report(case: str) -> None:
    """Shows the verdict banner, INCOMPLETE until `conclude` is called, and makes triage's errors short.

    >>> open_report("e5-token-count")  # outside Jupyter: nothing to show
    """
    shell = find_shell()
    if shell is None:
        return
    from IPython.display import display

    shell.set_custom_exc((TriageError,), _show_error)
    banner = _draw_banner(case, Verdict.INCOMPLETE, "The notebook has not reached its last cell.", "")
    display(banner, raw=True, display_id=_BANNER_ID)


def conclude(result: Result) -> None:
    """Sets the banner at the top of the notebook to the verdict, and leaves the result for the runner to read.

    The result becomes an output of the cell (MIME type ``application/vnd.triage.result+json``); nothing is
    written to disk, so running a notebook cell by cell in JupyterLab leaves no files behind.

    >>> conclude(Result(case="c", family="unknown", verdict="FLAKY", cause="3 of 20 runs", next_command="x"))
    """
    if find_shell() is None:
        return
    from IPython.display import display, update_display

    banner = _draw_banner(result.case, result.verdict, result.cause, result.next_command)
    update_display(banner, raw=True, display_id=_BANNER_ID)
    display({**banner, RESULT_MIME: result.model_dump(mode="json")}, raw=True)


def show_figure(figure: Figure, *, alt: str) -> None:
    """Shows a matplotlib figure as a PNG with a text for those who cannot see it, and closes it.

    ``alt`` says what the picture shows, as a sentence. Raises `ValueError` if it is empty.
    """
    if not alt.strip():
        raise ValueError("alt is empty; say in a sentence what the picture shows")
    if find_shell() is None:
        return
    from IPython.display import display
    from matplotlib import pyplot

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS, bbox_inches="tight")
    pyplot.close(figure)  # else the inline backend shows it once more, without its text
    png = buffer.getvalue()
    width = int.from_bytes(png[16:20], "big") * 96 // _DOTS  # the header's width, shown at the size of the figure
    bundle = {"image/png": base64.b64encode(png).decode(), "text/plain": alt}
    display(bundle, raw=True, metadata={"image/png": {"alt": alt, "width": width}})


def show_table(frame: pd.DataFrame, *, caption: str, index: bool | None = None) -> None:
    """Shows a data frame as a table with a caption; every value is shown as text, never as markup.

    ``index`` says whether the row labels are shown; by default they are, unless they only count the rows.
    """
    if find_shell() is None:
        return
    if index is None:
        index = not _only_counts(frame.index)
    from IPython.display import display

    with _read_whole_frame():
        table = frame.to_html(index=index, border=0, escape=True, na_rep="—")
        text = frame.to_string(index=index)
    head, _, tail = table.partition(">")
    html = f"{head}><caption>{escape(caption)}</caption>{tail}"
    display({"text/html": html, "text/plain": f"{caption}\n{text}"}, raw=True)


def _only_counts(index: Any) -> bool:
    import pandas as pd

    return isinstance(index, pd.RangeIndex) and index.name is None


def _read_whole_frame() -> Any:
    import pandas as pd

    # pandas cuts cells at 50 characters, which is where two long parameter names begin to differ
    return pd.option_context("display.max_colwidth", None, "display.max_rows", 500)


def find_shell() -> Any:
    """The running IPython shell of a kernel, or None. Does not import IPython where nobody else has."""
    import sys

    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def _draw_banner(case: str, verdict: Verdict, cause: str, next_command: str) -> dict[str, Any]:
    colour = _COLOURS[verdict]
    command = f'<div style="margin-top:.5em">Next: <code>{escape(next_command)}</code></div>' if next_command else ""
    html = (
        f'<div style="border-left:6px solid {colour};padding:.6em 1em;margin:.4em 0">'
        f'<span style="color:{colour};font-weight:700;font-size:1.25em">{escape(verdict.replace("_", " "))}</span>'
        f' <span style="opacity:.7">{escape(case)}</span>'
        f'<div style="margin-top:.3em">{escape(cause)}</div>{command}</div>'
    )
    text = f"{verdict} ({case}): {cause}" + (f"\nNext: {next_command}" if next_command else "")
    return {"text/html": html, "text/plain": text, BANNER_MIME: {"case": case, "verdict": verdict.value}}


def _show_error(
    shell: Any,
    _kind: type[BaseException],
    error: TriageError,
    trace: types.TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    """IPython's hook for `TriageError`: the message and the mend first, the traceback after them."""
    from IPython.display import display

    names = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, TriageError)]
    record = {"types": names, "message": error.message, "hint": error.hint}
    html = (
        f'<div style="border-left:6px solid #c2372e;padding:.6em 1em"><b>{escape(names[0])}</b>'
        f"<div>{escape(error.message)}</div><div>{escape(error.hint)}</div></div>"
    )
    display({ERROR_MIME: record, "text/html": html, "text/plain": str(error)}, raw=True)
    shell.showtraceback((type(error), error, trace), tb_offset=tb_offset)
