"""Snapshots of every kind, and files that somebody made to do harm."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from triage import tokens
from triage.engine.hub import find_cached, list_cached
from triage.errors import SnapshotError, TriageError
from triage.tokens._words import count_by_words

BASE = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"a": 0, "?": 1}, "unk_token": "?"},
}
REPO, OLD, NEW = "owner/model", "a" * 40, "b" * 40


def write(path: Path, **sections) -> Path:
    path.write_text(json.dumps(BASE | sections))
    return path


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


GROWING = {"type": "Sequence", "normalizers": [replace({"String": "a"}, "a" * 60)] * 6}
# Each with a text on which it does its harm.
HARMFUL = {
    "a regex that goes back and forth": ({"pre_tokenizer": split("(a+)+$")}, "a" * 40 + "!"),
    "a normalizer's regex": ({"normalizer": replace({"Regex": "(a|aa)+$"}, "b")}, "a" * 40 + "!"),
    "nested counts": ({"pre_tokenizer": split("(((a{1,1000}){1,1000}){1,1000}){1,1000}b")}, "a" * 2000),
    "a text that grows": ({"normalizer": GROWING}, "aaaa"),
    "windows that never advance": (
        {
            "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 2},
            "pre_tokenizer": {"type": "WhitespaceSplit"},
        },
        "a a a a",
    ),
}
UNREADABLE = {
    "half of a file": json.dumps(BASE)[:150],
    "no JSON": "\0\xff",
    "deep lists": '{"version":' + "[" * 100_000,
    "deep steps": json.dumps(BASE).replace(
        '"normalizer": null',
        '"normalizer": ' + '{"type":"Sequence","normalizers":[' * 5000 + '{"type":"NFC"}' + "]}" * 5000,
    ),
    "an unknown type": json.dumps(BASE | {"normalizer": {"type": "Magic"}}),
    "a map that makes Rust panic": json.dumps(
        BASE | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}
    ),
    "a regex without an end": json.dumps(BASE | {"pre_tokenizer": split("(a")}),
    "a merge of missing pieces": json.dumps(BASE | {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}),
    "chance": json.dumps(
        BASE | {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "dropout": 0.5}}
    ),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_a_harmful_snapshot_is_one_sentence_and_nothing_reaches_the_terminal(tmp_path, capfd, name):
    sections, text = HARMFUL[name]
    path = write(tmp_path / "tokenizer.json", **sections)
    snapshot = tokens.read_snapshot(path)
    with pytest.raises(SnapshotError, match=r"tokenizer\.json") as caught:
        tokens.compare_snapshots(snapshot, snapshot, [text])
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # a panic of the Rust library writes there by itself


@pytest.mark.parametrize("name", HARMFUL)
def test_a_harmful_snapshot_still_counts_a_text_that_does_no_harm(tmp_path, name):
    path = write(tmp_path / "tokenizer.json", **(HARMFUL[name][0] | {"normalizer": None, "truncation": None}))
    assert tokens.read_snapshot(path).count("a") == 1


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_is_no_tokenizer_is_one_sentence_with_its_path(tmp_path, capfd, name):
    path = tmp_path / "tokenizer.json"
    path.write_text(UNREADABLE[name], encoding="latin-1")
    with pytest.raises(SnapshotError, match=r"tokenizer\.json is no tokenizer: ") as caught:
        tokens.read_snapshots(str(path))
    assert len(str(caught.value)) < 600
    assert capfd.readouterr().err == ""


def test_a_file_beyond_all_measure_is_refused_unread(tmp_path):
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no room on the disk
    with pytest.raises(SnapshotError, match="1048576 MB"):
        tokens.read_snapshot(path)


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"added_tokens": [{"id": 7, "content": "z"}]}, "added token 'z' has the id 7 in the file and is encoded as 2"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"}}, "unknown token '\\?' is not in"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0, "?": 0}, "unk_token": "?"}}, "share one id"),
        (
            {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["a", 0.0]]}},
            "are there twice",
        ),
    ],
)
def test_what_does_not_fit_together_in_a_snapshot_is_said(tmp_path, sections, problem):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    if "added_tokens" in sections:
        sections = {"added_tokens": [flags | token for token in sections["added_tokens"]]}
    (found,) = tokens.read_snapshot(write(tmp_path / "tokenizer.json", **sections)).problems
    assert re.search(problem, found)


def test_a_vocabulary_larger_than_its_model_is_said(tmp_path):
    write(tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text('{"vocab_size": 1}')
    (found,) = tokens.read_snapshot(tmp_path).problems
    assert found == "The tokenizer has ids up to 1, the model only 1 embeddings (config.json)."
    (tmp_path / "config.json").write_text('{"vocab_size": 2}')
    assert tokens.read_snapshot(tmp_path).problems == ()


def test_a_piece_without_an_encoding_is_one_sentence(tmp_path):
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"}
    snapshot = tokens.read_snapshot(write(tmp_path / "tokenizer.json", model=model))
    assert snapshot.count("a") == 1
    with pytest.raises(SnapshotError, match="cannot encode 'b': WordLevel error"):
        snapshot.count("b")


@pytest.mark.parametrize("regex", [r" {2,}", r"\s+", r"\p{N}", r"[^\r\n]", "a*"])
def test_a_plain_pattern_needs_no_trial(tmp_path, regex):
    assert tokens.read_snapshot(write(tmp_path / "tokenizer.json", pre_tokenizer=split(regex))).risk is None


@pytest.mark.parametrize("regex", ["(a+)+", "a*a*b", r"(?<=a|bb)c", r"(a)\1", "[a&&[b]]"])
def test_a_pattern_that_can_go_back_is_tried_first(tmp_path, regex):
    snapshot = tokens.read_snapshot(write(tmp_path / "tokenizer.json", pre_tokenizer=split(regex)))
    assert f"the pre_tokenizer's regular expression {regex!r}" == snapshot.risk


def test_the_built_in_snapshots_need_no_trial():
    assert [snapshot.risk for snapshot in tokens.read_snapshots("tiny:e5-metaspace", "tiny:e5-whitespace")] == [
        None
    ] * 2


def test_a_folder_and_its_file_are_the_same_snapshot(tmp_path):
    path = write(tmp_path / "tokenizer.json")
    folder, file = tokens.read_snapshots(str(tmp_path), str(path))
    assert tokens.list_divergences(folder, file, "a b").empty
    assert (folder.folder, file.folder) == (tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("./nowhere", "nowhere does not exist"),
        ("nowhere", "nowhere does not exist"),
        ("a" * 5000, "does not exist"),
        ("owner/unheard-of", "which holds no owner/unheard-of. Add --download"),
        ("", "names no snapshot"),
        ("/dev/zero", "is not a file"),
    ],
)
def test_a_name_that_leads_nowhere_says_so(reference, sentence):
    with pytest.raises(SnapshotError) as caught:
        tokens.read_snapshots(reference)
    assert sentence in str(caught.value)


@pytest.fixture
def hub(tmp_path):
    """A Hub cache with two revisions of one model, laid out as huggingface_hub does."""
    folder = tmp_path / "hub" / "models--owner--model"
    for revision, content in ((OLD, BASE), (NEW, BASE | {"normalizer": {"type": "Lowercase"}})):
        blob = folder / "blobs" / revision
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_text(json.dumps(content))
        (folder / "snapshots" / revision).mkdir(parents=True)
        (folder / "snapshots" / revision / "tokenizer.json").symlink_to(f"../../blobs/{revision}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(NEW)
    return tmp_path / "hub"


def test_the_cache_is_listed_with_its_branches(hub):
    listed = [(cached.repo, cached.revision, cached.refs) for cached in list_cached(hub)]
    assert listed == [(REPO, OLD, ()), (REPO, NEW, ("main",))]


@pytest.mark.parametrize(
    ("revision", "found"), [(None, NEW), ("main", NEW), (OLD, OLD), ("aaaa", OLD), ("aaa", None), ("c0ffee", None)]
)
def test_a_revision_is_found_by_branch_commit_or_beginning(hub, revision, found):
    folder = find_cached(REPO, revision, cache=hub)
    assert (folder and folder.name) == found


def test_a_beginning_that_fits_two_revisions_is_refused(hub):
    snapshots = hub / "models--owner--model" / "snapshots"
    (snapshots / OLD).rename(snapshots / f"{NEW[:39]}c")
    with pytest.raises(SnapshotError, match="Name the whole revision"):
        find_cached(REPO, NEW[:10], cache=hub)


def triage_tokens(hub, *arguments):
    command = [sys.executable, "-m", "triage.cli", "tokens", *arguments]
    env = os.environ | {"HF_HUB_CACHE": str(hub), "HF_ENDPOINT": "http://127.0.0.1:9"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_two_revisions_of_the_cache_are_compared(hub):
    ended = triage_tokens(hub, f"{REPO}@{OLD[:8]}", REPO, "--text", "A", "--json")
    assert json.loads(ended.stdout)["stages"] == ["normalizer"]


def test_what_the_cache_holds_instead_is_said_and_the_network_is_asked_only_when_told(hub):
    missing = triage_tokens(hub, f"{REPO}@c0ffee", REPO, "--text", "A")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert f"which holds of {REPO} only @{OLD[:12]}, @{NEW[:12]}." in missing.stderr
    asked = triage_tokens(hub, f"{REPO}@c0ffee", REPO, "--text", "A", "--download")
    assert asked.returncode == 2
    assert f"{REPO}@c0ffee could not be fetched from the Hub" in asked.stderr
    assert "Traceback" not in asked.stderr


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def sentencepiece_model(request, tmp_path_factory):
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    words = ["the", "capital", "of", "France", "is", "Paris", "and", "Berlin", "once", "upon", "a", "time", "cats"]
    sentences = [" ".join(words[i % 7 :: 1 + i % 3]) for i in range(200)]
    model = io.BytesIO()
    trainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=50,
        model_type=request.param,
        hard_vocab_limit=False,
        user_defined_symbols=["<sep>"],
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp(request.param) / "spiece.model"
    path.write_bytes(model.getvalue())
    return path


def test_a_sentencepiece_model_encodes_as_sentencepiece_does(sentencepiece_model):
    from sentencepiece import SentencePieceProcessor

    (snapshot,) = tokens.read_snapshots(str(sentencepiece_model))
    theirs = SentencePieceProcessor(model_file=str(sentencepiece_model))
    for text in ("the capital", " the  capital ", "", " ", "Zürich 🙂 is", "a<sep> the", "ﬁve\ttimes\n", "\u3000the"):
        assert snapshot.encode(text).ids == theirs.encode(text), text


def test_the_map_of_a_sentencepiece_model_leaves_plain_words_alone(sentencepiece_model):
    (snapshot,) = tokens.read_snapshots(str(sentencepiece_model))
    texts = [f"the time of {mark}France is the time{end}" for mark in ("", *"~^'`?") for end in ("", " ", "!")]
    # Five times: words that hardly come again are not worth it. And `time` is one token, as an anchor must be.
    alike, doubtful = count_by_words(snapshot, snapshot, [*texts * 5, "the\u3000time"])
    assert alike.keys() | doubtful == set(texts)
    assert alike
    assert all(count == len(snapshot.encode(text).ids) for text, count in alike.items())


def test_a_slow_tokenizers_folder_is_converted_by_transformers(sentencepiece_model, tmp_path):
    (tmp_path / "sentencepiece.bpe.model").write_bytes(sentencepiece_model.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "XLMRobertaTokenizer"}')
    (snapshot,) = tokens.read_snapshots(str(tmp_path))
    encoding = snapshot.encode("the capital")
    assert (encoding.tokens[0], encoding.tokens[-1]) == ("<s>", "</s>")


def test_a_conversion_is_done_once(sentencepiece_model, monkeypatch):
    tokens.read_snapshots(str(sentencepiece_model))
    monkeypatch.setattr("triage.engine.conversion.run_probe", lambda *_, **__: pytest.fail("converted again"))
    tokens.read_snapshots(str(sentencepiece_model))


def test_half_of_a_sentencepiece_model_is_one_sentence(sentencepiece_model, tmp_path):
    path = tmp_path / "half.model"
    path.write_bytes(sentencepiece_model.read_bytes()[:100])
    with pytest.raises(SnapshotError, match=r"cannot convert .*half\.model"):
        tokens.read_snapshots(str(path))


def test_code_that_a_snapshot_brings_is_run_only_when_trusted(tmp_path):
    mark = tmp_path / "ran"
    (tmp_path / "vocab.txt").write_text("a\nb")
    (tmp_path / "own.py").write_text(f"open({str(mark)!r}, 'w')\nraise ImportError('its own words')")
    config = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(SnapshotError, match=r"not run unless it is trusted.*--trust-remote-code"):
        tokens.read_snapshots(str(tmp_path))
    assert not mark.exists()
    with pytest.raises(TriageError):
        tokens.read_snapshots(str(tmp_path), trust_remote_code=True)
    assert mark.exists()


OWN = """
from pathlib import Path
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

open({mark!r}, "w").close()


class Own(PreTrainedTokenizerFast):
    vocab_files_names = {{"vocab_file": "vocab.txt"}}

    def __init__(self, vocab_file=None, **more):
        words = Path(vocab_file).read_text().split()
        fast = Tokenizer(models.WordLevel({{word: n for n, word in enumerate(words)}}, unk_token="?"))
        fast.normalizer = normalizers.Lowercase()
        more.pop("tokenizer_object", None)
        super().__init__(tokenizer_object=fast, unk_token="?", **more)
"""


@pytest.mark.parametrize("beside", ["vocab.txt alone", "a tokenizer.json that says less"])
def test_a_class_that_a_folder_brings_gives_its_tokenizer_when_trusted_and_only_then(tmp_path, beside):
    mark, folder = tmp_path / "ran", tmp_path / "model"
    folder.mkdir()
    (folder / "vocab.txt").write_text("a\n?\nb")
    (folder / "own.py").write_text(OWN.format(mark=str(mark)))
    config = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if beside == "vocab.txt alone":
        with pytest.raises(SnapshotError, match=r"not run unless it is trusted.*--trust-remote-code"):
            tokens.read_snapshots(str(folder))
    else:
        (plain,) = tokens.read_snapshots(str(write(folder / "tokenizer.json").parent))
        assert plain.encode("A").tokens == ["?"]
        assert "which was not run" in plain.problems[0]
    assert not mark.exists()
    (snapshot,) = tokens.read_snapshots(str(folder), trust_remote_code=True)
    assert mark.exists()
    assert snapshot.encode("A").tokens == ["a"]
    assert snapshot.problems == ()
