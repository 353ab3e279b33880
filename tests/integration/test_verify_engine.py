"""A patch for a known case, on a historical vLLM: the keys load; needs the package index."""

import difflib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from triage import read_case
from triage.engine.history import find_versions

pytestmark = pytest.mark.engine

CASE = read_case("gemma3-legacy-keys")
FILE = "vllm/model_executor/models/transformers/base.py"
LINE = "        orig_to_new_regex = self.hf_to_vllm_mapper.orig_to_new_regex\n"
FIX = '        orig_to_new_regex[re.compile(r"^vision_tower\\.vision_model\\.")] = "vision_tower."\n'


def make_patch(folder: Path, added: str) -> Path:
    """What git diff would write of one more line in the historical mapper."""
    source = find_versions(vllm=CASE.parameters["historical_vllm"]).folders[0] / FILE
    before = source.read_text()
    assert LINE in before
    after = before.replace(LINE, LINE + added, 1)
    names = {"fromfile": f"a/{FILE}", "tofile": f"b/{FILE}"}
    text = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), **names)
    patch = folder / "fix.diff"
    patch.write_text("".join(text))
    return patch


def test_the_legacy_keys_load_under_a_historical_vllm_with_the_patch(tmp_path):
    patch = make_patch(tmp_path, FIX)
    source = find_versions(vllm=CASE.parameters["historical_vllm"]).folders[0] / FILE
    before = source.read_bytes()
    words = ["verify", CASE.id, "--patch", str(patch), "--runs", "1", "--out", str(tmp_path / "out"), "--json"]
    command = [sys.executable, "-m", "triage.cli", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
    receipt = json.loads(done.stdout)
    assert (receipt["before"]["failures"], receipt["after"]["passes"]) == (1, 1), done.stderr
    assert "no module or parameter named" in receipt["signatures"][receipt["signature"]]["line"]
    assert source.read_bytes() == before
