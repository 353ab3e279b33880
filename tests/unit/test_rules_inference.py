"""Rules inferred from keys. Renames are planted in random trees of modules, and the rules must undo them."""

import itertools

import regex
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from triage.checkpoints import apply_rules, infer_rules, parse_rule, suggest_rules

WORDS = ["attn", "mlp", "norm", "encoder", "decoder", "tower", "vision", "text", "embed", "model", "q", "k", "v"]
STARS = ("layers", "blocks")
Name = tuple[str, ...]


def fold(name: Name) -> Name:
    return tuple("*" if part.isdigit() else part for part in name)


@st.composite
def draw_tree(draw, *, depth: int = 0) -> list[Name]:
    """The names of a model's parameters: modules, some of them lists of equal layers."""
    names: list[Name] = []
    for word in draw(st.lists(st.sampled_from([*WORDS, *STARS]), min_size=1, max_size=3, unique=True)):
        if word in STARS and depth < 2:
            below = draw(draw_tree(depth=depth + 1))
            names += [(word, str(number), *name) for number in range(draw(st.integers(2, 3))) for name in below]
        elif depth < 2 and draw(st.booleans()):
            names += [(word, *name) for name in draw(draw_tree(depth=depth + 1))]
        else:
            names += [(word, leaf) for leaf in draw(st.sampled_from([("weight",), ("weight", "bias")]))]
    return names


@st.composite
def draw_rename(draw, names: list[Name]):
    """A rename as somebody might have made it, as a function of a name."""
    name = draw(st.sampled_from([name for name in names if len(name) > 1]))
    new = draw(st.sampled_from(["zza", "zzb", "zzc"]))
    places = [index for index in range(len(name) - 1) if not name[index].isdigit()]
    index = draw(st.sampled_from(places))
    path, length, part = fold(name[: index + 1]), index + 1, name[index]
    under = lambda other: fold(other[:length]) == path  # noqa: E731
    return draw(
        st.sampled_from(
            [
                lambda other: (new, *other),
                lambda other: other[1:] if other[0] == name[0] and len(other) > 2 else other,
                lambda other: tuple(new if piece == part else piece for piece in other),
                lambda other: (*other[: length - 1], new, *other[length:]) if under(other) else other,
                lambda other: (*other[:length], new, *other[length:]) if under(other) else other,
                lambda other: (*other[: length - 1], *other[length:]) if under(other) else other,
                lambda other: (*other[:-1], f"{new}_leaf") if other[-1] == name[-1] else other,
            ]
        )
    )


class Planted:
    """A model, a checkpoint of it under other names, and what each key should be called."""

    def __init__(self, names: list[Name], renames, shape_of) -> None:
        keys = {name: name for name in names}
        for rename in renames:
            keys = {name: rename(key) for name, key in keys.items()}
        assume(len(set(keys.values())) == len(keys))
        # A layer that is renamed apart from the others has their shapes: which is which, nobody could tell.
        assume(len({(fold(name), fold(key)) for name, key in keys.items()}) == len(set(map(fold, names))))
        self.truth = {".".join(key): ".".join(name) for name, key in keys.items()}
        model = {".".join(name): shape_of(name) for name in names}
        shapes = {key: model[name] for key, name in self.truth.items()}
        assume(all(key == name for key, name in self.truth.items() if key in model))
        self.unexpected = {key: shape for key, shape in shapes.items() if key not in model}
        self.missing = {name: shape for name, shape in model.items() if name not in shapes}
        self.known = [key for key in shapes if key in model]
        assume(self.unexpected)

    def infer(self):
        return infer_rules(self.unexpected, self.missing, known=self.known)


@st.composite
def draw_planted(draw, *, renames: int, alike: bool) -> Planted:
    names = list(dict.fromkeys(draw(draw_tree())))
    assume(any(len(name) > 1 for name in names))
    planted = []
    current = names
    for _ in range(renames):
        assume(any(len(name) > 1 and any(not part.isdigit() for part in name[:-1]) for name in current))
        rename = draw(draw_rename([name for name in current if any(not part.isdigit() for part in name[:-1])]))
        planted.append(rename)
        current = [rename(name) for name in current]
    kinds = list(dict.fromkeys(map(fold, names)))
    sizes = {kind: (draw(st.integers(1, 2)),) if alike else (number,) for number, kind in enumerate(kinds)}
    return Planted(names, planted, lambda name: sizes[fold(name)])


def rename(key: str, rules) -> str:
    for suggested in rules:
        key = regex.sub(suggested.rule.pattern, suggested.rule.replacement, key)
    return key


@settings(max_examples=100, deadline=None)
@given(draw_planted(renames=1, alike=False))
def test_the_rules_undo_a_planted_rename(planted):
    rules = planted.infer().rules
    assert {key: name for rule in rules for key, name in rule.fixes.items()} == {
        key: planted.truth[key] for key in planted.unexpected
    }


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 3).flatmap(lambda count: draw_planted(renames=count, alike=False)))
def test_the_rules_undo_several_renames_at_once(planted):
    rules = planted.infer().rules
    found = {key: name for rule in rules for key, name in rule.fixes.items()}
    assert found == {key: planted.truth[key] for key in planted.unexpected}
    assert len(rules) <= len({fold(tuple(key.split("."))) for key in planted.unexpected})


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3).flatmap(lambda count: draw_planted(renames=count, alike=True)))
def test_the_rules_do_what_they_claim_and_nothing_else(planted):
    inference = planted.infer()
    claimed = [pair for rule in inference.rules for pair in rule.fixes.items()]
    fixes = dict(claimed)
    assert len(claimed) == len(fixes) == len(set(fixes.values()))
    assert all(planted.unexpected[key] == planted.missing[name] for key, name in claimed)
    for key in planted.unexpected:
        after = rename(key, inference.rules)
        assert after == fixes[key] if key in fixes else after not in {*planted.missing, *planted.known}
    assert all(rename(key, inference.rules) == key for key in planted.known)
    assert all(not rule.breaks for rule in inference.rules)
    assert fixes.keys() | inference.ambiguous.keys() | set(inference.unexplained) == planted.unexpected.keys()
    for suggested in inference.rules:
        if not suggested.after:
            assert all(rename(key, [suggested]) == name for key, name in suggested.fixes.items())


@settings(max_examples=15, deadline=None)
@given(draw_planted(renames=2, alike=False))
def test_a_suggested_rule_can_be_given_back(planted):
    rules = planted.infer().rules
    given_back = [parse_rule(f"{found.rule.pattern}={found.rule.replacement}") for found in rules]
    after = apply_rules([*planted.unexpected, *planted.known], given_back)
    assert {key: after[key] for key in planted.unexpected} == {key: planted.truth[key] for key in planted.unexpected}
    assert all(after[key] == key for key in planted.known)


@settings(max_examples=60, deadline=None)
@given(draw_planted(renames=1, alike=True))
def test_the_answer_does_not_hang_on_the_order_of_the_keys(planted):
    backwards = infer_rules(
        dict(reversed(planted.unexpected.items())),
        dict(reversed(planted.missing.items())),
        known=reversed(planted.known),
    )
    assert backwards == planted.infer()


def list_single_rules(planted: Planted):
    """Every rule of the plainest sort: a run of parts, at the beginning or anywhere, becomes another run of parts."""
    runs = {
        side: {
            ".".join(parts[i:j])
            for name in names
            for parts in [name.split(".")]
            for i, j in itertools.combinations(range(len(parts) + 1), 2)
            if not any(part.isdigit() for part in parts[i:j])
        }
        for side, names in (("old", planted.unexpected), ("new", planted.missing))
    }
    for old, new in itertools.product(runs["old"], ["", *runs["new"]]):
        for start in (r"^", r"(?<![^.])"):
            yield start + regex.escape(old) + (r"(?![^.])" if new else r"\."), new


@settings(max_examples=40, deadline=None)
@given(draw_planted(renames=2, alike=True))
def test_where_one_plain_rule_does_it_all_no_two_are_suggested(planted):
    assume(len(planted.unexpected) <= 6)
    inference = planted.infer()
    for pattern, new in list_single_rules(planted):
        compiled = regex.compile(pattern)
        after = {key: compiled.sub(new, key) for key in planted.unexpected}
        if (
            len(set(after.values())) == len(after)
            and all(planted.missing.get(name) == planted.unexpected[key] for key, name in after.items())
            and not any(compiled.search(key) for key in planted.known)
        ):
            assert len(inference.rules) <= 1
            return


def spread(*names: str, layers: int = 4, shape=(8, 8)) -> dict[str, tuple[int, ...]]:
    return {f"model.layers.{layer}.{name}.weight": shape for layer in range(layers) for name in names}


def test_a_tower_that_lost_a_level_needs_one_rule():
    old = {f"vision_tower.vision_model.encoder.layers.{n}.fc1.weight": (8, 4) for n in range(27)}
    new = {key.replace("vision_model.", ""): shape for key, shape in old.items()}
    [found] = suggest_rules(old, new, known=["language_model.norm.weight"])
    assert (found.rule.pattern, found.rule.replacement) == (r"^vision_tower\.vision_model\.", "vision_tower.")
    assert len(found.fixes) == 27


def test_tensors_of_another_shape_are_never_paired():
    inference = infer_rules({"old.a": (2, 3)}, {"new.a": (3, 2)})
    assert not inference.rules
    assert inference.unexplained == ("old.a",)
    assert "No rename rule" in inference.describe()


def test_one_wrong_shape_keeps_a_rule_from_a_whole_module():
    inference = infer_rules({"old.a": (2,), "old.b": (3,)}, {"new.a": (2,), "new.b": (4,)})
    assert [dict(rule.fixes) for rule in inference.rules] == [{"old.a": "new.a"}]
    assert rename("old.b", inference.rules) == "old.b"


def test_projections_of_equal_shape_are_told_apart_by_name_and_it_is_said():
    inference = infer_rules(spread("query", "key", "value"), spread("q_proj", "k_proj", "v_proj"))
    pairs = {key: name for rule in inference.rules for key, name in rule.fixes.items()}
    assert pairs["model.layers.3.query.weight"] == "model.layers.3.q_proj.weight"
    assert pairs["model.layers.3.value.weight"] == "model.layers.3.v_proj.weight"
    assert any("by its shape" in rule.note for rule in inference.rules)


def test_what_fits_two_names_equally_well_is_not_guessed():
    inference = infer_rules(spread("aa"), spread("b", "c"))
    assert not inference.rules
    assert set(inference.ambiguous["model.layers.0.aa.weight"]) == {
        "model.layers.0.b.weight",
        "model.layers.0.c.weight",
    }
    assert "more than one name fits" in inference.describe()


def test_a_number_that_becomes_a_word_is_a_rule_of_its_own():
    old = spread("mlp.0", shape=(8, 32)) | spread("mlp.2", shape=(32, 8))
    new = spread("mlp.fc1", shape=(8, 32)) | spread("mlp.fc2", shape=(32, 8))
    rules = suggest_rules(old, new)
    assert len(rules) == 2
    assert {rename(key, rules) for key in old} == set(new)


def test_a_rule_that_adds_a_level_leaves_names_alone_that_have_it_already():
    """Else it would break the checkpoints of the layout that the model expects."""
    old = {f"tower.{name}.w": (size,) for size, name in enumerate(("embed", "norm"), start=1)}
    new = {f"tower.model.{name}.w": (size,) for size, name in enumerate(("embed", "norm"), start=1)}
    [found] = suggest_rules(old | {"tower.head.w": (9,)}, new)
    assert found.rule.pattern == r"^tower\.(?!model\.)"
    assert rename("tower.head.w", [found]) == "tower.model.head.w"
    assert all(rename(name, [found]) == name for name in new)


def test_keys_that_load_are_not_touched_by_a_rule():
    old, new = spread("attn.q"), {f"model.{key}": shape for key, shape in spread("attn.q").items()}
    [found] = suggest_rules(old, new, known=["model.layers.0.norm.weight", "lm_head.weight"])
    assert rename("model.layers.0.norm.weight", [found]) == "model.layers.0.norm.weight"
    assert len(found.fixes) == 4


def test_a_name_that_looks_like_a_pattern_is_taken_as_it_is():
    old, new = {r"a+(b)\1.w": (2,)}, {r"\g<0>.w": (2,)}
    rules = suggest_rules(old, new)
    assert rename(r"a+(b)\1.w", rules) == r"\g<0>.w"


def test_an_equals_sign_in_a_name_survives_the_command_line():
    [found] = suggest_rules({"a=b.w": (2,)}, {"c=d.w": (2,)})
    given_back = parse_rule(f"{found.rule.pattern}={found.rule.replacement}")
    assert apply_rules(["a=b.w"], [given_back]) == {"a=b.w": "c=d.w"}


def test_two_hundred_thousand_keys_are_folded_first():
    old = {f"v.layers.{n}.experts.{e}.{w}": (8,) for n in range(100) for e in range(250) for w in "abcd"}
    new = {f"model.{key}": shape for key, shape in old.items()}
    known = [f"t.{key}" for key in old]
    [found] = suggest_rules(old, new, known=known)
    assert len(found.fixes) == 100_000
