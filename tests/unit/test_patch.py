"""Patches that are proposed: git applies them, and the mapper then holds the rules."""

import re
import subprocess

import pytest

from triage.checkpoints._patch import patch_backend, patch_class
from triage.engine.weights import Rule, RuleKind

FILE = "vllm/model_executor/models/m.py"
CLASS = '''\
"""A model."""

import torch


class Other:
    hf_to_vllm_mapper = WeightsMapper(orig_to_new_prefix={"x": "y"})


class M:
    supports = True

    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            # as saved since 4.52
            "model.tower.": "tower.",
        },
    )
'''
BACKEND = '''\
import regex as re


class Base:
    def _create_hf_to_vllm_mapper(self):
        """The mapper."""
        orig_to_new_regex = {}
        # Standardise base model prefix
        orig_to_new_regex[re.compile("^a")] = "b"

        # The end
        self.hf_to_vllm_mapper = WeightsMapper(
            orig_to_new_regex=orig_to_new_regex,
        )

    def load(self):
        pass
'''


class WeightsMapper:
    """Stands for vLLM's: holds what it is given."""

    def __init__(self, **fields):
        self.fields = fields


def apply(folder, source: str, diff: str) -> str:
    """The source after ``git apply``."""
    path = folder / FILE
    path.parent.mkdir(parents=True)
    path.write_text(source)
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "-C", folder, "apply", "-"], input=diff, text=True, check=True)
    return path.read_text()


def make(kind: RuleKind, pattern: str, replacement: str | None) -> Rule:
    return Rule(kind=kind, pattern=pattern, replacement=replacement)


PREFIX = make(RuleKind.PREFIX, "old.", "new.")
REGEX = make(RuleKind.REGEX, r"^(layers\.\d+\.)moe\.", r"\1mlp.")


@pytest.mark.parametrize(
    ("rules", "fields"),
    [
        ([PREFIX], {"orig_to_new_prefix": {"model.tower.": "tower.", "old.": "new."}}),
        ([make(RuleKind.SUFFIX, ".g", None)], {"orig_to_new_suffix": {".g": None}}),
        ([REGEX], {"orig_to_new_regex": {re.compile(REGEX.pattern): REGEX.replacement}}),
    ],
)
def test_a_class_that_has_a_mapper_gets_the_rules_behind_its_own(tmp_path, rules, fields):
    source = CLASS.replace("import torch\n", "") if rules != [REGEX] else CLASS
    patched = apply(tmp_path, source, patch_class(source, FILE, "M", rules))
    assert ("import regex as re" in patched) is (rules == [REGEX])
    names = {"WeightsMapper": WeightsMapper}
    exec(patched.replace("import regex as re", "import re").replace("import torch", ""), names)
    assert names["M"].hf_to_vllm_mapper.fields == {"orig_to_new_prefix": {"model.tower.": "tower."}, **fields}
    assert names["Other"].hf_to_vllm_mapper.fields == {"orig_to_new_prefix": {"x": "y"}}


def test_the_backend_gets_them_behind_all_others(tmp_path):
    patched = apply(tmp_path, BACKEND, patch_backend(BACKEND, FILE, [REGEX]))
    names = {"WeightsMapper": WeightsMapper}
    exec(patched.replace("import regex as re", "import re"), names)
    base = names["Base"]()
    base._create_hf_to_vllm_mapper()
    assert list(base.hf_to_vllm_mapper.fields["orig_to_new_regex"].values()) == ["b", REGEX.replacement]


@pytest.mark.parametrize(
    "source",
    ["class M:\n    pass\n", "class M:\n    hf_to_vllm_mapper = WeightsMapper(orig_to_new_prefix={})\n", "x = 1\n"],
)
def test_a_class_whose_mapper_cannot_be_read_gets_no_diff(source):
    assert patch_class(source, FILE, "M", [PREFIX]) is None
    assert patch_backend(source, FILE, [REGEX]) is None
