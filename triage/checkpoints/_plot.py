"""The picture of a key diff: the tree of modules, cut where a whole branch shares one fate."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from triage.checkpoints._compare import KeyDiff, KeyStatus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by hue, by lightness and by the word beside the bar (Okabe and Ito's palette).
_COLOURS = {
    KeyStatus.MATCHED: "#56B4E9",
    KeyStatus.MISMATCHED: "#E69F00",
    KeyStatus.UNEXPECTED: "#D55E00",
    KeyStatus.MISSING: "#999999",
    KeyStatus.IGNORED: "#F0E442",
}
_MAX_ROWS = 30
_NAME_PT = 8.0
_LAYER_PART = re.compile(r"\.\d+(?=\.|$)")


@dataclass(frozen=True)
class Branch:
    """One line of the tree: a module's name, how deep it stands, and its keys by status."""

    name: str
    depth: int
    counts: Mapping[KeyStatus, int]


@dataclass
class _Node:
    counts: Counter[KeyStatus] = field(default_factory=Counter)
    children: dict[str, _Node] = field(default_factory=dict)


def grow_tree(diff: KeyDiff, *, max_rows: int = _MAX_ROWS) -> list[Branch]:
    """The modules of a checkpoint as the lines of a tree, layer numbers folded to ``*``; missing names are the model's.

    A branch is opened where its keys do not share one fate, as deep as ``max_rows`` lines allow, and one level further
    at the top where none of them is matched.

    >>> from triage.checkpoints import compare_keys
    >>> diff = compare_keys({"a.x": (), "a.y": (), "b.0.x": (), "b.1.x": ()}, {"a.x": ()})
    >>> [(branch.name, branch.depth) for branch in grow_tree(diff)]
    [('a', 0), ('x', 1), ('y', 1), ('b.*.x', 0)]
    """
    root = _Node()
    for status, keys in (
        (KeyStatus.MATCHED, diff.matched),
        (KeyStatus.MISMATCHED, [entry.key for entry in diff.mismatched]),
        (KeyStatus.UNEXPECTED, diff.unexpected),
        (KeyStatus.IGNORED, diff.ignored),
        (KeyStatus.MISSING, diff.missing),
    ):
        for key in keys:
            _plant(root, key, status)
    for max_depth in range(8, 0, -1):
        rows = list(_list_branches(root, depth=0, max_depth=max_depth))
        if len(rows) <= max_rows:
            break
    return rows[:max_rows]


def _plant(root: _Node, key: str, status: KeyStatus) -> None:
    node = root
    for part in _LAYER_PART.sub(".*", key).replace(".*", "\0*").split("."):
        node = node.children.setdefault(part.replace("\0", "."), _Node())
        node.counts[status] += 1


def _list_branches(node: _Node, *, depth: int, max_depth: int) -> Iterator[Branch]:
    for name, child in node.children.items():
        while len(child.children) == 1:  # a chain of modules with nothing beside is one line
            ((step, child),) = child.children.items()  # noqa: PLW2901
            name += f".{step}"  # noqa: PLW2901
        yield Branch(name, depth, child.counts)
        mixed = len(child.counts) > 1
        if depth + 1 < max_depth and (mixed or (depth == 0 and KeyStatus.MATCHED not in child.counts)):
            yield from _list_branches(child, depth=depth + 1, max_depth=max_depth)


def plot_keys(diffs: Mapping[str, KeyDiff]) -> Figure:
    """Draws the key tree of each diff, by title, one above the other: a bar for each branch, coloured by fate.

    >>> from triage.checkpoints import compare_keys
    >>> plot_keys({"now": compare_keys({"a": ()}, {"a": ()})}).axes[0].get_title(loc="left")
    'now'
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    trees = {title: grow_tree(diff) for title, diff in diffs.items()}
    width = max((3 * branch.depth + len(branch.name) for tree in trees.values() for branch in tree), default=0)
    heights = [len(tree) + 2.0 for tree in trees.values()]
    figure = Figure(figsize=(10, 0.3 * sum(heights) + 0.6), layout="constrained")
    axes = figure.subplots(len(trees), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axis, (title, tree) in zip(axes, trees.items(), strict=True):
        axis.set_title(title, loc="left", fontsize=10)
        _draw_tree(axis, tree, width=width)
    axes[-1].set_xlabel("keys")
    seen = [status for status in _COLOURS if any(status in branch.counts for tree in trees.values() for branch in tree)]
    figure.legend(
        handles=[Patch(color=_COLOURS[status], label=status.value) for status in seen],
        loc="outside upper right",
        ncols=len(seen) or 1,
        frameon=False,
    )
    return figure


def _draw_tree(axis: Axes, tree: list[Branch], *, width: int) -> None:
    """``width``: the characters that the widest name of all trees takes."""
    for row, branch in enumerate(tree):
        left = 0
        for status, colour in _COLOURS.items():
            if count := branch.counts.get(status, 0):
                axis.barh(row, count, left=left, color=colour, height=0.7)
                left += count
        words = ", ".join(f"{branch.counts[status]} {status}" for status in _COLOURS if branch.counts.get(status))
        axis.annotate(words, (left, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks([])
    for row, branch in enumerate(tree):  # tick labels hang on the right, where the indent would not show
        shift = (3 * branch.depth - width - 1) * _NAME_PT * 0.602  # the advance of the monospaced font
        axis.annotate(
            branch.name,
            (0, row),
            xytext=(shift, 0),
            textcoords="offset points",
            annotation_clip=False,
            va="center",
            fontsize=_NAME_PT,
            family="monospace",
        )
    axis.invert_yaxis()
    axis.margins(x=0.2)
    axis.spines[["top", "right"]].set_visible(False)
