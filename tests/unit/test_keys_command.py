"""`triage keys`, as a shell sees it, on checkpoints without a model."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from triage.checkpoints import answer_keys, compare_keys, fold_keys, list_sentences
from triage.checkpoints._retry import try_on_diff
from triage.checkpoints._rules import parse_rule
from triage.errors import InputError


def triage(*arguments) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "triage.cli", "keys", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def ask(*arguments):
    ended = triage(*arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def save(path: Path, **shapes: tuple[int, ...]) -> Path:
    save_file({key.replace("__", "."): np.zeros(shape, "f4") for key, shape in shapes.items()}, path)
    return path


@pytest.fixture
def pair(tmp_path):
    """A checkpoint and one in another layout: three keys renamed, one of another shape, one more, one less."""
    tower = {f"tower__model__{n}__w": (n + 1,) for n in range(3)}
    old = save(tmp_path / "old.safetensors", **tower, same=(2,), other=(3,), extra=(5, 5))
    tower = {f"tower__{n}__w": (n + 1,) for n in range(3)}
    new = save(tmp_path / "new.safetensors", **tower, same=(2,), other=(4,), absent=(7,))
    return old, new


def test_a_checkpoint_alone_is_only_read(pair):
    answer = ask(pair[0])
    assert (answer["tensors"], answer["bytes"]) == (6, 4 * (1 + 2 + 3 + 2 + 3 + 25))
    assert answer["matched"] is answer["missing_keys"] is answer["suggested_rules"] is None


def test_against_another_the_other_plays_the_model(pair):
    old, new = pair
    answer = ask(old, "--against", new)
    assert answer["matched"] == 1
    assert set(answer["missing_keys"]) == {"tower.0.w", "tower.1.w", "tower.2.w", "absent"}
    assert set(answer["unexpected_keys"]) == {"tower.model.0.w", "tower.model.1.w", "tower.model.2.w", "extra"}
    assert answer["mismatched_keys"] == [{"key": "other", "checkpoint_shape": [3], "model_shape": [4]}]
    assert answer["trace"] == []


def test_a_suggested_rule_can_be_given_back(pair):
    old, new = pair
    [rule] = ask(old, "--against", new)["suggested_rules"]
    assert (rule["fixes"], rule["breaks"]) == (3, 0)
    again = ask(
        old, "--against", new, "--rule", f"{rule['pattern']}={rule['replacement']}", "--trace", "tower.model.1.w"
    )
    assert (again["matched"], again["suggested_rules"]) == (4, [])
    assert [(tried["fixes"], tried["breaks"]) for tried in again["rules"]] == [(3, 0)]
    [step] = again["trace"]
    assert (step["before"], step["after"]) == ("tower.model.1.w", "tower.1.w")


def test_a_rule_that_breaks_keys_is_reported_with_them(pair):
    old, new = pair
    answer = ask(old, "--against", new, "--rule", "^same$=gone")
    assert answer["matched"] == 0
    assert answer["rules"][0]["broken_keys"] == ["same"]
    assert "same" in answer["missing_keys"]
    assert "same" in answer["unexpected_keys"]


def test_two_keys_cannot_share_a_name():
    shapes, expected = {"a": (1,), "b": (1,)}, {"c": (1,)}
    diff, [tried] = try_on_diff(
        compare_keys(shapes, expected), [parse_rule("^[ab]$=c")], shapes=shapes, expected=expected
    )
    assert (dict(diff.matched), dict(diff.unexpected), diff.missing) == ({"a": "c"}, {"b": "c"}, ())
    assert dict(tried.fixes) == {"a": "c"}


def test_keys_that_change_places_leave_each_other_room():
    shapes = expected = {"a.x": (1,), "b.x": (1,)}
    rule = parse_rule(r"^(?:(a)|b)\.x$=b.x")
    diff, [tried] = try_on_diff(compare_keys(shapes, expected), [rule], shapes=shapes, expected=expected)
    assert tried.breaks == ("a.x",)
    assert diff.missing == ("a.x",)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--rule", "noequals"), "The rule 'noequals' has no '='"),
        (("--rule", "(=x"), "is no regular expression: missing ) at character 1"),
        (("--rule", "(a|aa)+$=x", "--against", "{same}"), "The rule"),
        (("--trace", "nokey"), "The checkpoint holds no key 'nokey'"),
        (("--model-impl", "jax"), "--model-impl does not know 'jax'"),
        (("--against", "nowhere"), "nowhere: no such file or folder"),
        (("--confirm",), "has no config.json beside it"),
    ],
)
def test_a_bad_input_is_one_sentence_and_exit_2(pair, arguments, sentence):
    if "{same}" in arguments:  # a pattern that goes back and forth for ever needs a key that it fails on
        save(pair[0], **{"a" * 60 + "b": (1,)})
        arguments = tuple(argument.replace("{same}", str(pair[0])) for argument in arguments)
    ended = triage(pair[0], *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_text_is_folded_and_names_the_rule_to_give_back(pair):
    old, new = pair
    ended = triage(old, "--against", new)
    assert ended.returncode == 0
    assert "1 matched, 4 missing, 4 unexpected, 1 mismatched, 0 ignored" in ended.stdout
    assert "tower.model.{0..2}.w" in ended.stdout
    line = next(line for line in ended.stdout.splitlines() if line.startswith("Suggested: "))
    assert answer_keys(str(old), against=str(new), rules=[shlex.split(line)[2]]).diff.counts["matched"] == 4


def test_a_key_of_hostile_characters_does_not_reach_the_terminal(tmp_path):
    path = save(tmp_path / "model.safetensors", **{"\x1b[31mred[/]": (1,)})
    ended = triage(path)
    assert ended.returncode == 0
    assert "\x1b" not in ended.stdout


def test_ten_thousand_keys_read_as_a_few_lines():
    names = [f"{p}.{s}" for p in ("q_proj", "k_proj", "v_proj", "o_proj") for s in ("weight", "bias")]
    keys = [f"model.layers.{n}.self_attn.{name}" for n in range(60) for name in names]
    keys += [
        f"model.layers.{n}.mlp.experts.{e}.{p}.weight"
        for n in range(3, 60)
        for e in range(58)
        for p in ("up", "down", "gate")
    ]
    keys += ["model.embed_tokens.weight", "lm_head.weight"]
    lines = fold_keys(keys)
    assert len(keys) > 10_000
    assert [line.text for line in lines] == [
        "model.layers.{0..59}.self_attn.{q_proj,k_proj,v_proj,o_proj}.{weight,bias}",
        "model.layers.{3..59}.mlp.experts.{0..57}.{up,down,gate}.weight",
        "model.embed_tokens.weight",
        "lm_head.weight",
    ]
    assert sum(line.count for line in lines) == len(keys)


def test_keys_without_any_order_still_fit_a_screen_and_none_is_lost():
    keys = [f"m{n % 97}.x{n * 7919 % 1009}.{n}.y{n * 31 % 53}" for n in range(10_000)]
    lines = fold_keys(keys, max_lines=12)
    assert len(lines) <= 12
    assert sum(line.count for line in lines) == len(keys)


def test_a_key_that_no_rule_leads_anywhere_is_said(pair):
    old, new = pair
    [*_, last] = [s for s in list_sentences(answer_keys(str(old), against=str(new))) if "reach nothing" in s]
    assert "3 of 4 keys that reach nothing" in last


def test_a_trace_of_a_key_that_is_not_there_names_one_that_is(pair):
    with pytest.raises(InputError, match=r"tower\.model\.0\.w"):
        answer_keys(str(pair[0]), trace=["x.w"])


def test_a_trace_beside_another_checkpoint_says_where_each_key_ends_and_why(pair):
    old, new = pair
    keys = ["same", "other", "extra", "tower.model.0.w"]
    found = ask(old, "--against", new, *(part for key in keys for part in ("--trace", key)))["ends"]
    assert found == {
        "same": "same is loaded as same.",
        "other": "other is called other there too, but has the shape [3], not [4].",
        "extra": "extra is called extra, and nothing is called so there.",
        "tower.model.0.w": "tower.model.0.w is called tower.model.0.w, and nothing is called so there.",
    }


@pytest.mark.parametrize(
    ("rule", "mapper"),
    [
        ("prefix:tower.model.=tower.", 'orig_to_new_prefix={"tower.model.": "tower."}'),
        ("substr:.model=", 'orig_to_new_substr={".model": ""}'),
        (r"^tower\.model\.=tower.", 'orig_to_new_prefix={"tower.model.": "tower."}'),
        (r"regex:^tower\.model\.(.+)=tower.\1", r'orig_to_new_regex={re.compile(r"^tower\.model\.(.+)"): r"tower.\1"}'),
    ],
)
def test_a_rule_may_be_of_any_kind_that_vllms_mapper_has_and_is_shown_in_its_words(pair, rule, mapper):
    old, new = pair
    answer = answer_keys(str(old), against=str(new), rules=[rule]).to_json()
    assert answer["matched"] == 4
    assert answer["rules"][0]["mapper"] == mapper


def test_a_suffix_is_a_suffix(pair):
    answer = answer_keys(str(pair[0]), against=str(pair[1]), rules=["suffix:same=other2"])
    assert answer.tried[0].breaks == ("same",)


def test_mismatched_tensors_are_shown_with_both_shapes(pair):
    old, new = pair
    assert "other: [3], not [4]" in triage(old, "--against", new).stdout


def test_many_experts_do_not_keep_a_rule_from_being_found(tmp_path):
    """50,000 keys are a handful of kinds; keys without any order are left alone, and it is said."""
    names = [f"layers.{n}.experts.{e}.{p}" for n in range(20) for e in range(250) for p in ("up", "down", "gate")]
    old = save(tmp_path / "old.safetensors", **{f"moe.{name}": (1, 1) for name in names})
    new = save(tmp_path / "new.safetensors", **dict.fromkeys(names, (1, 1)))
    [found] = answer_keys(str(old), against=str(new)).checked
    assert (len(found.fixes), found.rule.pattern) == (15_000, r"^moe\.")
    chaos = save(tmp_path / "chaos.safetensors", **{f"m{n * 7919 % 10_007}x.w": (1,) for n in range(3_500)})
    answer = answer_keys(str(chaos), against=str(new))
    assert not answer.inference.rules
    assert any("No rule was looked for" in sentence for sentence in list_sentences(answer))
