"""An engineer's rules: what they do, and that none of them does harm to the process that tries them."""

import random

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.checkpoints import apply_rules, check_rules, parse_rule
from triage.engine.weights import Rule, RuleKind
from triage.errors import InputError

VICTIM = "a" * 400 + "b"


def make(kind: RuleKind, pattern: str, replacement: str | None) -> Rule:
    return Rule(kind=kind, pattern=pattern, replacement=replacement)


def test_a_rule_is_split_at_its_last_equals_sign():
    rule = parse_rule(r"^(?=x)(a=b)\.=\1_")
    assert (rule.pattern, rule.replacement) == (r"^(?=x)(a=b)\.", r"\1_")


@pytest.mark.parametrize("text", ["", "no sign", "=only a replacement"])
def test_a_text_that_is_no_rule_is_refused(text):
    with pytest.raises(InputError, match="rule"):
        parse_rule(text)


def test_each_kind_does_what_vllms_mapper_does_with_it():
    keys = ["model.a.model.b"]
    after = {
        kind: apply_rules(keys, [make(kind, pattern, "X")])[keys[0]]
        for kind, pattern in (
            (RuleKind.REGEX, "model"),
            (RuleKind.SUBSTR, "model"),
            (RuleKind.PREFIX, "model."),
            (RuleKind.SUFFIX, ".b"),
        )
    }
    assert after == {
        RuleKind.REGEX: "X.a.X.b",
        RuleKind.SUBSTR: "X.a.model.b",
        RuleKind.PREFIX: "Xa.model.b",
        RuleKind.SUFFIX: "model.a.modelX",
    }


def test_rules_apply_in_turn_and_none_drops_the_key():
    rules = [parse_rule("^a=b"), parse_rule("^b=c"), make(RuleKind.PREFIX, "drop", None)]
    assert apply_rules(["a.x", "drop.x"], rules) == {"a.x": "c.x", "drop.x": None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(=x", "no regular expression: missing \\)"),
        ("[=x", "no regular expression: unterminated"),
        (r"a=\3", "replacement that does not fit its pattern"),
        (r"(?P<x>a)=\g<y>", "replacement that does not fit its pattern"),
        ("a{1000000000}=x", "too much memory"),
        ("(" * 3000 + "a" + ")" * 3000 + "=x", "too much memory, or nests too deep"),
        ("(a|aa)+$=x", "takes more than 1 s on"),
        (r"^a.*=\g<0>\g<0>" + r"\g<0>" * 30, "makes a name of more than"),
    ],
)
def test_a_rule_that_does_not_compile_or_explodes_is_one_sentence(text, said):
    with pytest.raises(InputError, match=said) as caught:
        apply_rules([VICTIM], [parse_rule(text)])
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_rule_is_checked_without_any_key():
    check_rules([parse_rule("^a=b")])
    with pytest.raises(InputError, match="no regular expression"):
        check_rules([parse_rule("^a=b"), parse_rule("*=b")])


def test_a_rule_that_only_transformers_can_apply_is_refused():
    with pytest.raises(InputError, match="cannot be tried by itself"):
        apply_rules(["a"], [Rule(kind=RuleKind.RENAMING, pattern="a", replacement="b", scope="c")])


@settings(max_examples=20, deadline=None)
@given(st.text("(a|)+*\\.^$[]{}1,?", max_size=12), st.text("ab\\1g<>0", max_size=6))
def test_any_text_is_a_rule_that_is_applied_or_refused(pattern, replacement):
    try:
        [name] = apply_rules(["aaa.1"], [parse_rule(f"{pattern}={replacement}")]).values()
    except InputError:
        return
    assert name == regex.sub(pattern, replacement, "aaa.1")


def test_many_keys_keep_their_order():
    keys = [f"model.layers.{number}.w" for number in random.Random(0).sample(range(5000), 5000)]
    assert list(apply_rules(keys, [parse_rule(r"^model\.=")]).items())[:3] == [
        (key, key.removeprefix("model.")) for key in keys[:3]
    ]
