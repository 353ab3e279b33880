"""The tables of a report about checkpoint keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from triage.checkpoints._compare import KeyStatus, ModelDiff
from triage.checkpoints._confirm import EngineStart

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
    """One row for each checkpoint under a pair of versions: the counts by status, and what vLLM's own loader said."""
    import pandas as pd

    rows = [
        {
            "set-up": name,
            "vLLM": pair.weights.versions.vllm,
            "Transformers": pair.weights.versions.transformers,
            **{status.value: pair.diff.counts[status] for status in KeyStatus},
            "vLLM's loader": (pair.weights.load_error or "takes all").partition(". ")[0],
        }
        for name, pair in compared.items()
    ]
    return pd.DataFrame(rows)


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
