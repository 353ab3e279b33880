"""A rule placed in vLLM's mapper of every vision-language architecture that Transformers can build without weights."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from triage.engine._probe import ask_process
from triage.engine.history import VersionPair
from triage.engine.weights import Rule
from triage.errors import EngineError, InputError
from triage.files import find_cache, make_folder, write_atomic

_PROBES = Path(__file__).with_name("probes")
_PROBE = _PROBES / "try_rules.py"
_SOURCES = {
    "vllm": ("model_executor/models/utils.py", "model_executor/models/transformers/base.py"),
    "transformers": ("conversion_mapping.py", "core_model_loading.py"),
}
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


class Placement(StrEnum):
    """Where in the mapper a rule stands. ``AFTER_RENAMINGS`` is where vLLM #42909 put its own."""

    FIRST = "first"
    AFTER_RENAMINGS = "after_renamings"
    LAST = "last"


@dataclass(frozen=True, kw_only=True)
class Position:
    """A change of the mapper that is to be tried.

    The rules apply to a model that has ``when_module`` and has not ``unless_module``, where these are given. With
    ``scoped`` there are no rules: Transformers' own renaming, which knows its scope, takes the place of what this
    version of vLLM made of its patterns.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    placement: Placement = Placement.AFTER_RENAMINGS
    when_module: str | None = None
    unless_module: str | None = None
    scoped: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """A key, and the names that it is loaded under before and after (None: dropped)."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a position does to one layout of an architecture's checkpoint.

    ``layout`` is ``saved`` (what ``save_pretrained`` writes), ``legacy`` (with the module levels that Transformers'
    conversion mapping removes) or ``modules`` (as the modules are named). ``loads`` counts the keys that reach a
    parameter of their shape without the position; ``changed``, ``broken`` and ``fixed`` count keys, ``examples`` holds
    some of the broken ones, else of the fixed, else of the changed.
    """

    architecture: str
    model_class: str
    layout: str
    position: str
    keys: int
    loads: int
    changed: int
    broken: int
    fixed: int
    examples: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """All outcomes under one pair of versions, and why the other architectures could not be built."""

    versions: VersionPair
    outcomes: tuple[Outcome, ...]
    unbuilt: Mapping[str, str]


def try_positions(
    positions: Sequence[Position],
    *,
    versions: VersionPair,
    architectures: Sequence[str] | None = None,
    timeout_s: float = 300.0,
) -> Trial:
    """Places each position in the mapper of each architecture (None: of all) and names its checkpoints' keys anew.

    Every model is built on the meta device in a child process; vLLM makes its own mapper for it. One that does not
    build, or takes the process with it, is listed with the reason. Answers are cached, but for checkouts.

    Raises `InputError` for an architecture that Transformers does not have and `EngineError` where the pair of versions
    cannot be asked at all. Upstream: ``MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES`` of Transformers, and vLLM's
    ``vllm/model_executor/models/transformers/base.py``, ``_create_hf_to_vllm_mapper``.

    ::

        try_positions([Position(name="wide", rules=(rule,))], versions=find_versions(), architectures=["gemma3"])
    """
    if len({position.name for position in positions}) < len(positions):
        raise InputError("Two positions have the same name.", hint="Name each differently.")
    asked = [_describe(position) for position in positions]
    cached = _find_cached(versions, asked, architectures)
    if cached is not None and cached.is_file():
        rows = json.loads(cached.read_text(encoding="utf-8"))
    else:
        rows = _ask(asked, versions, architectures, timeout_s)
        if cached is not None:
            make_folder(cached.parent)
            write_atomic(cached, json.dumps(rows))
    return Trial(
        versions=versions,
        outcomes=tuple(outcome for row in rows if "layouts" in row for outcome in _read_row(row)),
        unbuilt={row["architecture"]: row["reason"] for row in rows if "reason" in row},
    )


def _describe(position: Position) -> dict[str, Any]:
    return {
        "name": position.name,
        "rules": [[rule.kind.value, rule.pattern, rule.replacement] for rule in position.rules],
        "placement": position.placement.value,
        "when_module": position.when_module,
        "unless_module": position.unless_module,
        "scoped": position.scoped,
    }


def _find_cached(versions: VersionPair, asked: Any, architectures: Sequence[str] | None) -> Path | None:
    """None for a checkout, whose files may change under the same name."""
    cache = find_cache()
    if any(not folder.is_relative_to(cache) for folder in versions.folders):
        return None
    names = None if architectures is None else sorted(architectures)
    question = json.dumps([versions.vllm, versions.transformers, sys.version, asked, names])
    digest = hashlib.sha256(question.encode())
    for source in (_PROBE, _PROBES / "vision_models.py", *_list_sources()):
        digest.update(source.read_bytes())
    return cache / "impact" / f"{digest.hexdigest()[:24]}.json"


def _list_sources() -> list[Path]:
    """What an answer of the installed pair rests on most; an editable install changes under one version."""
    found = []
    for package, names in _SOURCES.items():
        spec = find_spec(package)
        for home in spec.submodule_search_locations or () if spec else ():
            found += [path for name in names if (path := Path(home, name)).is_file()]
    return found


def _ask(asked: Any, versions: VersionPair, wanted: Sequence[str] | None, timeout_s: float) -> list[dict[str, Any]]:
    """A row for each architecture, from as many processes as it takes: a death costs the architecture it came with."""
    with tempfile.TemporaryDirectory(prefix="triage-impact-") as name:
        progress = Path(name, "progress.jsonl")
        if wanted is None:
            wanted = list(_run(asked, versions, (), progress, timeout_s)["architectures"])
        left = list(dict.fromkeys(wanted))
        rows: dict[str, dict[str, Any]] = {}
        while left:
            progress.unlink(missing_ok=True)
            death: EngineError | None = None
            try:
                answer = _run(asked, versions, left, progress, timeout_s)
            except EngineError as error:
                death = error
            else:
                if unknown := [name for name in left if name not in answer["architectures"]]:
                    raise InputError(
                        f"Transformers {versions.transformers} has no vision-language model {', '.join(unknown)}.",
                        hint=f"It has {', '.join(list(answer['architectures'])[:8])} and others.",
                    )
            begun = _read_progress(progress, rows)
            if death is not None:
                if begun is None or begun in rows:
                    raise death
                rows[begun] = {"architecture": begun, "model_class": "", "reason": death.message[:300]}
            left = [name for name in left if name not in rows]
    return list(rows.values())


def _read_progress(progress: Path, rows: dict[str, dict[str, Any]]) -> str | None:
    """Adds what was finished to the rows; returns what was begun last."""
    begun = None
    for line in progress.read_text(encoding="utf-8").splitlines() if progress.is_file() else ():
        row = json.loads(line)
        begun = row.get("begin", begun)
        if "architecture" in row:
            rows[row["architecture"]] = row
    return begun


def _run(asked: Any, versions: VersionPair, names: Sequence[str], progress: Path, timeout_s: float) -> Any:
    answer = ask_process(
        [sys.executable, "-P", "-W", "ignore", str(_PROBE)],
        {"architectures": list(names), "positions": asked, "progress": str(progress)},
        env=versions.environment(_OFFLINE),
        timeout_s=timeout_s,
        subject=f"{versions.label}, asked to try rules,",
        hint="The two versions may not fit together: try another pair.",
    )
    for package in ("vllm", "transformers"):
        folder = next((folder for folder in versions.folders if (folder / package).is_dir()), None)
        if folder is not None and not Path(answer[f"{package}_file"]).is_relative_to(folder):
            raise EngineError(
                f"{package} was to come from {folder}, but Python took {answer[f'{package}_file']}.",
                hint=f"An editable install of {package} hides it: use a Python without one.",
            )
    return answer


def _read_row(row: Mapping[str, Any]) -> list[Outcome]:
    outcomes = []
    for layout in row["layouts"]:
        for position, found in layout["positions"].items():
            sort = next((sort for sort in ("broken", "fixed") if found[sort]["count"]), "changed")
            outcomes.append(
                Outcome(
                    architecture=row["architecture"],
                    model_class=row["model_class"],
                    layout=layout["layout"],
                    position=position,
                    keys=layout["keys"],
                    loads=layout["loads"],
                    changed=found["changed"]["count"],
                    broken=found["broken"]["count"],
                    fixed=found["fixed"]["count"],
                    examples=tuple(
                        Change(key=key, before=before, after=after) for key, before, after in found[sort]["examples"]
                    ),
                )
            )
    return outcomes


def find_native_file(model_class: str, versions: VersionPair) -> str | None:
    """The file of vLLM that defines its own class for an architecture, by its registry; None where it has none.

    The registry is read as text: importing it takes seconds and settles settings. Upstream:
    ``vllm/model_executor/models/registry.py``.
    """
    registry = read_source("vllm/model_executor/models/registry.py", versions) or ""
    found = re.search(rf'"{re.escape(model_class)}":\s*\(\s*"(\w+)"', registry)
    return f"vllm/model_executor/models/{found[1]}.py" if found else None


def read_source(file: str, versions: VersionPair) -> str | None:
    """The text of a file of vLLM's (``vllm/…``) under a pair of versions; None where it has none of that name."""
    roots = [folder for folder in versions.folders if (folder / "vllm").is_dir()]
    spec = find_spec("vllm") if not roots else None
    roots += [Path(home).parent for home in spec.submodule_search_locations or ()] if spec else []
    try:
        return (roots[0] / file).read_text(encoding="utf-8") if roots else None
    except OSError:
        return None
