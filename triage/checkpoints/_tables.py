"""The tables of a report about checkpoint keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from triage.checkpoints._compare import KeyDiff, KeyStatus
from triage.checkpoints._confirm import EngineStart
from triage.checkpoints._fold import elide_tail
from triage.checkpoints._model import ModelDiff

if TYPE_CHECKING:
    import pandas as pd

_MODULE_PARTS = 2


def summarize_layouts(layouts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The tensors of several checkpoints by module, side by side: ``module``, and one column of counts for each.

    The last row counts tensors, and says whether all hold the same types and shapes.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"key": ["a.b.c"], "dtype": ["F32"], "shape": [(1,)]})
    >>> summarize_layouts({"new": frame})["module"].tolist()
    ['a.b', 'all tensors', 'same types and shapes as the first']
    """
    import pandas as pd

    counts = {
        name: Counter(".".join(key.split(".")[:_MODULE_PARTS]) for key in frame["key"])
        for name, frame in layouts.items()
    }
    modules = list(dict.fromkeys(module for counter in counts.values() for module in counter))
    contents = {name: Counter(zip(frame["dtype"], frame["shape"], strict=True)) for name, frame in layouts.items()}
    first = next(iter(contents.values()), Counter())
    columns = {
        name: [
            *(str(counts[name][module]) for module in modules),
            str(len(frame)),
            "yes" if contents[name] == first else "no",
        ]
        for name, frame in layouts.items()
    }
    return pd.DataFrame({"module": [*modules, "all tensors", "same types and shapes as the first"], **columns})


def tabulate_pairs(compared: Mapping[str, ModelDiff]) -> pd.DataFrame:
    """One row for each checkpoint under a pair of versions: the counts by status, and vLLM's own loader's answer."""
    import pandas as pd

    rows = [
        {
            "set-up": name,
            "vLLM": pair.weights.versions.vllm,
            "Transformers": pair.weights.versions.transformers,
            **{status.value: pair.diff.counts[status] for status in KeyStatus},
            "vLLM's loader": "takes all" if pair.weights.load_error is None else "refuses",
        }
        for name, pair in compared.items()
    ]
    return pd.DataFrame(rows)


def tabulate_misfits(diff: KeyDiff) -> pd.DataFrame:
    """What does not fit, folded: ``status``, ``keys`` (how many), ``names`` (layers as ranges, siblings in braces).

    >>> from triage.checkpoints import compare_keys
    >>> tabulate_misfits(compare_keys({"a.b.c.0.x": (), "a.b.c.1.x": ()}, {})).values.tolist()
    [['unexpected', 2, 'a.b.c.{0..1}.x']]
    """
    import pandas as pd

    rows = [(status.value, line.count, line.text) for status, line in diff.fold()]
    return pd.DataFrame(rows, columns=["status", "keys", "names"])


def tabulate_trace(compared: ModelDiff, key: str) -> pd.DataFrame:
    """`explain_key` for reading: ``step``, ``rule``, and the ``name after it`` where the rule changed it.

    The parts that no rule changes, at the end of the name, are left out.
    """
    import pandas as pd

    steps = compared.weights.trace(key)
    names = [key, *(step.after for step in steps if step.after is not None)]
    shown = dict(zip(names, elide_tail(names), strict=True))
    rows = [("", "the checkpoint's key", shown[key])]
    for number, step in enumerate(steps, start=1):
        after = shown[step.after] if step.after is not None else "(dropped)"
        rows.append((str(number), str(step.rule), after if step.changed else "unchanged"))
    return pd.DataFrame(rows, columns=["step", "rule", "name after it"])


def tabulate_start(engine: EngineStart | None) -> pd.DataFrame:
    """A real start, one row for each thing that is known of it.

    >>> tabulate_start(None).index.tolist()
    ['started']
    """
    import pandas as pd

    if engine is None:
        return pd.Series({"started": "no, as asked"}).to_frame("engine")
    known = {
        "loaded and answered": "yes" if engine.answered else "no",
        "Transformers backend": "yes" if engine.transformers_backend else "not seen in the log",
        "ready after": f"{engine.startup_s:.0f} s" if engine.startup_s is not None else "never",
        "tokens": str(engine.completion_tokens),
        "error": engine.error or "none",
    }
    return pd.Series(known).to_frame("engine")
