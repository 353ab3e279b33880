"""`triage keys` beside a real model: vLLM's own mapper and loader decide."""

import pytest

from triage.checkpoints import ModelImpl, answer_keys

pytestmark = pytest.mark.engine

KEY = "vision_tower.vision_model.post_layernorm.weight"


def test_the_model_beside_a_checkpoint_is_asked_and_a_rule_that_harms_is_seen():
    answer = answer_keys(
        "tiny:gemma3-legacy",
        model_impl=ModelImpl.TRANSFORMERS,
        rules=[r"^model\.vision_tower\.post_layernorm\.=model.nowhere."],
        trace=[KEY],
        impact="gemma3,llava",
    )
    assert answer.model.diff.whole
    assert answer.model.weights.load_error is None
    found = answer.to_json()
    assert found["matched"] == found["tensors"] - 2
    assert found["rules"][0]["broken_keys"] == [KEY.replace("weight", "bias"), KEY]
    assert found["trace"][0]["before"] == KEY
    assert found["trace"][-1]["after"] == "model.nowhere.weight"
    assert [step["after"] for step in found["trace"][:-1]][-1] == "model.vision_tower.post_layernorm.weight"
    assert [(rule["fixes"], rule["breaks"]) for rule in found["suggested_rules"]] == [(2, 0)]
    assert found["model"]["load_error"] is None
    assert found["ends"] == {KEY: f"{KEY} is called model.nowhere.weight, and nothing is called so there."}
    effects = {row["architecture"]: (row["verdict"], row["broken"]) for row in found["impact"]}
    assert effects["gemma3"][0] == effects["llava"][0] == "broken"
    assert "proposal" not in found, "a rule that breaks keys is no patch"
