"""The rules, each by its own example, and the whole set for conflicts."""

import pytest

from tests.logs.corpus import read_entries
from triage.errors import RuleError
from triage.logs import read_rules
from triage.logs._matcher import Matcher, make_matcher
from triage.result import Family

RULES = read_rules().rules
TABLE = 'id = "r"\nfamily = "unknown"\npattern = "{}"\nsource = "a/b#1"\nexample = "{}"\ncounter_example = "y"\n'


def read(tmp_path, text):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return read_rules(path)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_the_one_that_its_example_meets(rule):
    matcher = make_matcher()
    found = matcher.match_line(rule.example)
    assert found is not None
    assert found.rule.id == rule.id
    scanned: set[int] = set()
    painted = b"\x1b[1m\x1b[31m" + rule.example.replace(": ", "\x1b[0m: \x1b[35m", 1).encode() + b"\x1b[0m\r"
    for raw in (rule.example.encode(), b"[2026-04-15T18:44:57Z] " + rule.example.encode(), painted):
        scanned.clear()
        matcher.scan(raw, lambda pattern, _: scanned.add(pattern))
        assert RULES.index(rule) in scanned, raw


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_leaves_its_counter_example_alone(rule):
    found = make_matcher().match_line(rule.counter_example)
    assert found is None or found.rule.id != rule.id


def test_every_family_but_the_unknown_has_a_rule_that_is_a_root():
    assert {rule.family for rule in RULES if not rule.consequence_of} == set(Family) - {Family.UNKNOWN}


def test_every_rule_names_a_public_issue():
    for rule in RULES:
        owner, _, number = rule.source.partition("#")
        assert owner.count("/") == 1, rule.id
        assert number.isdigit(), rule.id


def test_no_two_rules_contradict_each_other_on_a_labelled_line():
    """No labelled root line is taken by a rule of another family."""
    matcher = make_matcher()
    for entry in read_entries("seen"):
        families = {
            m.rule.family.value
            for line in entry["lines"]
            if (m := matcher.match_line(f"E   {line}")) and not m.rule.weak
        }
        strong = families - {"unknown", "server_start"}
        assert strong <= {entry["family"]}, entry["id"]


def test_a_pattern_that_does_not_compile_is_one_clear_sentence(tmp_path):
    rules = read(tmp_path, "[[rule]]\n" + TABLE.format("(a", "a"))
    with pytest.raises(RuleError, match=r"The pattern of the rule r does not compile: .*\)"):
        Matcher(rules)


@pytest.mark.parametrize("pattern", ["(a)\\\\1", "(?=a)b", "a{5000}"])
def test_a_pattern_beyond_what_cannot_backtrack_is_refused(tmp_path, pattern):
    with pytest.raises(RuleError, match="The pattern of the rule r"):
        Matcher(read(tmp_path, "[[rule]]\n" + TABLE.format(pattern, "ab")))


def test_a_pattern_that_explodes_elsewhere_is_harmless(tmp_path):
    matcher = Matcher(read(tmp_path, "[[rule]]\n" + TABLE.format("(a+)+b", "aab")))
    assert matcher.match_line("a" * 100_000) is None
    hits: list[int] = []
    matcher.scan(b"a" * 1_000_000, lambda pattern, _: hits.append(pattern))
    assert hits == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[rule]]\nid = 'x'\n", "x: without family, pattern, source, example, counter_example"),
        ("[[rule]]\n" + TABLE.format("a", "a") + "weight = 3\n", "r: unknown weight"),
        ("[[rule]]\n" + TABLE.format("a", "a").replace("unknown", "nonsense"), "r: no family is called 'nonsense'"),
        (("[[rule]]\n" + TABLE.format("a", "a")) * 2, "r: two rules have this id"),
        ("rule = [", "is not TOML"),
    ],
)
def test_what_is_no_rule_is_named(tmp_path, text, said):
    with pytest.raises(RuleError) as error:
        read(tmp_path, text)
    assert said in str(error.value)


def test_all_that_is_no_rule_is_named_at_once(tmp_path):
    with pytest.raises(RuleError, match=r"(?s)a: without.*b: without"):
        read(tmp_path, "[[rule]]\nid = 'a'\n[[rule]]\nid = 'b'\n")
