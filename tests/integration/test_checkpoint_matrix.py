"""`triage matrix` on real historical code, on a changed checkout, and on versions that cannot be had."""

import json
import os
import shutil
from pathlib import Path

import pytest

from triage.checkpoints import compare_versions
from triage.cli._app import run_app
from triage.engine.history import find_versions
from triage.engine.models import find_model
from triage.result import Verdict

pytestmark = pytest.mark.engine

KEY = "vision_tower.vision_model.embeddings.patch_embedding.weight"
LEGACY = "model.vision_tower.vision_model.embeddings.patch_embedding.weight"


def test_since_which_versions_the_published_layout_loads_row_by_row():
    """Where the key ends, whether the model has that level, and whether vLLM's own loader takes the checkpoint.

    Transformers took the level out of the tower in 5.6; vLLM followed with the scoped renaming in 0.24.
    """
    matrix = compare_versions(
        find_model("tiny:gemma3-legacy"),
        vllm=["0.21.0", "0.23.0"],
        transformers=["5.5.4", "5.6.0", "5.8.1", "5.12.0"],
    )
    table = {}
    for row in matrix.rows:
        weights = row.compared.weights
        assert weights.gaps == {}
        assert row.compared.diff.whole is (weights.load_error is None)
        level = any(name.startswith("model.vision_tower.vision_model.") for name in weights.expected)
        table[row.vllm, row.transformers] = (weights.mapped[KEY], level, row.verdict is Verdict.NOT_REPRODUCED)
    assert table == {
        (vllm, transformers): (LEGACY, transformers == "5.5.4", transformers == "5.5.4")
        for vllm in ("0.21.0", "0.23.0")
        for transformers in ("5.5.4", "5.6.0", "5.8.1", "5.12.0")
    }
    first = "First bad: vLLM 0.21.0 with Transformers 5.6.0; vLLM 0.21.0 with Transformers 5.5.4 still loads it."
    assert first in matrix.explanation
    assert "the model's class changed, no rule did. The same with vLLM 0.23.0." in matrix.explanation


def plant_checkout(source: Path, folder: Path, file: str, old: str, new: str) -> Path:
    """A checkout of vLLM in which one piece of one file reads otherwise; the rest is linked."""
    shutil.copytree(source, folder, copy_function=os.symlink, ignore=shutil.ignore_patterns("*.pyc", "*.so"))
    path = folder / "vllm" / file
    text = path.read_text(encoding="utf-8")
    assert old in text, f"the edit no longer applies to {file}"
    path.unlink()
    path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


def test_a_checkout_that_lost_a_rule_is_told_from_its_release_by_that_rule(tmp_path):
    """The release scopes the renaming; the checkout's mapper leaves all renamings of Transformers out."""
    release = find_versions(vllm="0.24.0").folders[0]
    checkout = plant_checkout(
        release,
        tmp_path / "lost-rule",
        "model_executor/models/transformers/base.py",
        "isinstance(mapping, WeightRenaming)",
        "isinstance(mapping, WeightRenaming) and False",
    )
    told: list[str] = []
    matrix = compare_versions(
        find_model("tiny:gemma3-legacy"),
        vllm=["0.24.0", str(checkout)],
        transformers=["5.12.0"],
        on_progress=told.append,
    )
    good, bad = matrix.rows
    assert (good.vllm, bad.vllm) == ("0.24.0", "lost-rule")
    assert (good.verdict, bad.verdict) == (Verdict.NOT_REPRODUCED, Verdict.REPRODUCED)
    assert bad.to_json()["unexpected"] > 0
    assert "First bad: vLLM lost-rule with Transformers 5.12.0" in matrix.explanation
    assert "which vLLM lost-rule with Transformers 5.12.0 does not have" in matrix.explanation
    assert sum(words.startswith("asking vLLM") for words in told) == 2


def test_the_matrix_names_the_rule_that_made_the_first_good_version(capsys):
    """One row cannot be had: it says so, the others go on, and the exit code is that of an open question."""
    arguments = ["matrix", "tiny:gemma3-legacy", "--vllm", "0.23.0,0.24.0", "--transformers", "5.12.0,0.0.9", "--json"]
    code = run_app(arguments)
    printed, said = capsys.readouterr()
    answer = json.loads(printed)
    rows = {(row["vllm"], row["transformers"]): row for row in answer["rows"]}
    assert rows["0.23.0", "5.12.0"]["verdict"] == "REPRODUCED"
    assert rows["0.24.0", "5.12.0"]["verdict"] == "NOT_REPRODUCED"
    assert rows["0.24.0", "5.12.0"]["matched"] == 67
    assert rows["0.23.0", "0.0.9"]["verdict"] == "INCONCLUSIVE"
    assert "has no transformers==0.0.9" in rows["0.23.0", "0.0.9"]["reason"]
    assert "First good: vLLM 0.24.0 with Transformers 5.12.0" in answer["explanation"]
    assert "within vision_tower" in answer["explanation"]
    assert "asking vLLM 0.24.0" in said
    assert code == 3


def test_a_pair_that_cannot_be_imported_is_a_row_with_its_reason(tmp_path):
    broken = tmp_path / "broken" / "vllm"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('half an installation')\n")
    matrix = compare_versions(find_model("tiny:gemma3-new"), vllm=[str(broken.parent)])
    assert matrix.rows[0].verdict is Verdict.INCONCLUSIVE
    assert "half an installation" in matrix.rows[0].reason
    assert matrix.tabulate()["verdict"].tolist() == ["INCONCLUSIVE"]


def test_what_is_no_version_is_one_sentence_and_exit_2(capsys):
    assert run_app(["matrix", "tiny:gemma3-new", "--vllm", "newest"]) == 2
    assert "'newest' is no version of vLLM" in capsys.readouterr().err
