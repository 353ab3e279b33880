"""`triage log`, as a shell sees it."""

import json
import subprocess
import sys

import pytest

from triage.logs import write_sample

ROOT = "HW Exception by GPU node-9 (Agent handle: 0x34a5fb20) reason :GPU Hang"


def triage(*arguments, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "triage.cli", "log", *map(str, arguments)]
    options = {"text": True, "encoding": "utf-8"} | options
    return subprocess.run(command, capture_output=True, timeout=120, check=False, **options)


def write(tmp_path, text: str, name: str = "job.log"):
    path = tmp_path / name
    path.write_text(text)
    return path


def summarise(*lines: str) -> str:
    return "\n".join(("=== short test summary info ===", *lines, f"=== {len(lines)} failed in 1s ===", ""))


def test_the_answer_has_the_fields_of_the_contract(tmp_path):
    path = write(tmp_path, f"~~~ mi300_1: V1 Core\na.py::one \n{ROOT}\nFatal Python error: Aborted\n")
    ended = triage(path, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    answer = json.loads(ended.stdout)
    (failure,) = answer["failures"]
    assert set(failure) >= {"test", "job", "family", "signature", "infra", "lines", "case", "command"}
    assert (failure["family"], failure["infra"], failure["job"]) == ("gpu_hang", True, "mi300_1: V1 Core")
    assert failure["lines"] == [{"n": 3, "text": ROOT}, {"n": 4, "text": "Fatal Python error: Aborted"}]
    assert answer["stats"]["lines"] == 4
    assert answer["stats"]["bytes"] == path.stat().st_size
    assert answer["stats"]["seconds"] > 0


def test_the_table_shows_job_test_family_place_root_and_command(tmp_path):
    ended = triage(write(tmp_path, summarise("FAILED a/x.py::t[1] - torch.OutOfMemoryError: HIP out of memory.")))
    assert ended.returncode == 0
    for word in ("a/x.py::t[1]", "out_of_memory", "HIP out of memory.", "pytest -v -s 'a/x.py::t[1]'"):
        assert word in ended.stdout


def test_hostile_lines_are_shown_and_never_run(tmp_path):
    bad = "\x1b]0;title\x07\x1b[2J<script>alert(1)</script> [bold]x[/] \u202e \x9b31m HIP error: invalid argument \x00"
    path = write(tmp_path, f"{bad}\nexited with status 1\n")
    ended = triage(path)
    assert "<script>alert(1)</script> [bold]x[/]" in ended.stdout
    assert not {"\x1b", "\x07", "\x00", "\x9b", "\u202e"} & set(ended.stdout)
    (line, _) = json.loads(triage(path, "--json").stdout)["failures"][0]["lines"]
    assert not {"\x1b", "\x07", "\x00", "\x9b", "\u202e"} & set(line["text"])


def test_several_logs_are_compared_and_each_kind_becomes_the_text_of_an_issue(tmp_path):
    write_sample(tmp_path / "week")
    ended = triage(tmp_path / "week", "--issues", tmp_path / "issues")
    assert ended.returncode == 0
    for words in (
        "17 failures of 3 kinds in 33 logs",
        "bound to the node (node-",
        "4 of 5 retries passed; 12 failed runs were not run again.",
        "triage run e5-token-count",
    ):
        assert words in ended.stdout
    texts = sorted((tmp_path / "issues").glob("*.md"))
    assert [path.name.partition("-")[0] for path in texts] == ["checkpoint_keys", "gpu_hang", "token_count"]
    assert all(path.read_text().startswith("# [CI Failure]: ") for path in texts)
    assert ended.stderr.count("wrote ") == 3


def test_a_list_of_builds_fills_in_what_a_log_does_not_say(tmp_path):
    job = {"id": f"{'0' * 8}-1111-2222-3333-{'4' * 12}", "name": "mi300_1: V1 Core", "state": "failed"}
    job |= {"started_at": "2026-04-01T00:00:00Z", "agent": {"hostname": "rack7"}}
    builds = write(tmp_path, json.dumps([{"number": 7, "jobs": [job]}]), "builds.json")
    path = write(tmp_path, f"{ROOT}\nexited with status 134\n", f"{job['id']}.log")
    answer = json.loads(triage(path, "--builds", builds, "--json").stdout)
    (run,) = answer["runs"]
    assert (run["job"], run["build"], run["pool"], run["began"][:4]) == ("mi300_1: V1 Core", "7", "mi300_1", "2026")
    assert "rack7" not in json.dumps(answer)


def test_several_logs_and_folders_are_one_answer(tmp_path):
    write(tmp_path, f"{ROOT}\n", "a.log")
    write(tmp_path, "fine\n", "b.log")
    answer = json.loads(triage(tmp_path, "--json").stdout)
    assert [(row["log"].rpartition("/")[2], row["failures"]) for row in answer["logs"]] == [("a.log", 1), ("b.log", 0)]
    assert answer["failures"][0]["log"].endswith("a.log")


def test_only_failures_with_a_case_when_asked_for(tmp_path):
    key = "ValueError: There is no module or parameter named 'x.y' in GemmaModel"
    text = summarise(f"FAILED a.py::t - {key}", "FAILED a.py::u - IndexError: x")
    (failure,) = json.loads(triage(write(tmp_path, text), "--cases", "--json").stdout)["failures"]
    assert failure["case"] == "gemma3-legacy-keys"


def test_an_empty_log_has_no_failure_and_says_so(tmp_path):
    ended = triage(write(tmp_path, ""))
    assert ended.returncode == 0
    assert "no failure in 0 lines" in ended.stdout
    assert "the log is empty" in ended.stderr
    answer = json.loads(triage(write(tmp_path, ""), "--json").stdout)
    assert (answer["failures"], answer["stats"]["lines"]) == ([], 0)


def test_rules_of_ones_own_replace_triages(tmp_path):
    rules = '[[rule]]\nid = "mine"\nfamily = "network"\npattern = "the cable"\nsource = "a/b#1"\n'
    rules = write(tmp_path, f'{rules}example = "the cable"\ncounter_example = "x"\n', "rules.toml")
    path = write(tmp_path, "who pulled the cable\nexited with status 1\n")
    (failure,) = json.loads(triage(path, "--rules", rules, "--json").stdout)["failures"]
    assert (failure["family"], failure["rule"]) == ("network", "mine")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere.log",), "nowhere.log does not exist."),
        ((), "Missing argument 'FILE...'"),
        (("/dev/null", "--rules", "nowhere.toml"), "nowhere.toml cannot be read"),
        (("bomb.xml",), "declares the entity 'lol'"),
        (("broken.xml",), "is no whole JUnit report: line 3"),
        (("folder",), "is a folder without a log"),
        (("packed.log",), "is a zip archive, not a log"),
        (("/dev/null", "--builds", "broken.xml"), "is not JSON"),
        (("-", "--report", "out"), "Standard input can be read only once"),
        (("/dev/null", "--rules", "rules.toml"), "The pattern of the rule r does not compile"),
    ],
)
def test_a_bad_input_is_one_sentence_and_exit_2(tmp_path, arguments, sentence):
    (tmp_path / "folder").mkdir()
    write(
        tmp_path,
        '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY lol "lol">]>\n<testsuites>&lol;</testsuites>\n',
        "bomb.xml",
    )
    write(tmp_path, "<testsuites>\n<testsuite>\n", "broken.xml")
    write(tmp_path, "PK\x03\x04", "packed.log")
    rule = '[[rule]]\nid = "r"\nfamily = "network"\npattern = "(a"\nsource = "a/b#1"\n'
    write(tmp_path, f'{rule}example = "a"\ncounter_example = "x"\n', "rules.toml")
    ended = triage(*arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1
