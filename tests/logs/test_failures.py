"""From lines to failures: roots and consequences, jobs without a failed test, and the styles of pytest."""

import json
import shlex
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from triage.cases import find_notebook, read_cases
from triage.logs import LogReport, read_log
from triage.logs._command import plan_command
from triage.report._parameters import check_parameters, read_parameters

DEAD = "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above)"
HIP = (
    "(EngineCore pid=7) ERROR 11-20 10:00:00 [core.py:708] torch.AcceleratorError: HIP error: an illegal memory access"
)
START = "============================= test session starts =============================="
SUMMARY = "=========================== short test summary info ============================"


def read(tmp_path, text: str, *, name: str = "job.log") -> LogReport:
    path = tmp_path / name
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    return read_log(str(path), cases=read_cases())


def describe(report: LogReport) -> list[tuple[str | None, str]]:
    return [(failure.test, failure.family.value) for failure in report.failures]


def test_an_engine_that_died_of_a_hip_error_is_one_failure_of_the_hip_errors_family(tmp_path):
    report = read(
        tmp_path,
        f"""
        {START}
        a/test_x.py::test_one {HIP}
        (EngineCore pid=7) ERROR 11-20 10:00:00 [core.py:708] EngineCore encountered a fatal error.
        FAILED
        a/test_x.py::test_two FAILED
        a/test_x.py::test_three FAILED
        =================================== FAILURES ===================================
        ___________________________________ test_one ___________________________________
        E   {DEAD}
        ___________________________________ test_two ___________________________________
        E   openai.APIConnectionError: Connection error.
        __________________________________ test_three __________________________________
        E   {DEAD}
        {SUMMARY}
        FAILED a/test_x.py::test_one - {DEAD}
        FAILED a/test_x.py::test_two - openai.APIConnectionError: Connection error.
        FAILED a/test_x.py::test_three - {DEAD}
        ======================== 3 failed in 10.00s ========================
        """,
    )
    (failure,) = report.failures
    assert (failure.test, failure.family.value) == ("a/test_x.py::test_one", "gpu_fault")
    assert failure.also == ("a/test_x.py::test_two", "a/test_x.py::test_three")
    assert failure.root.n == 2
    assert {3, 9} <= {line.n for line in failure.consequences}


def test_a_consequence_alone_is_not_given_a_root(tmp_path):
    report = read(tmp_path, f"{SUMMARY}\nFAILED a/test_x.py::test_one - {DEAD}\n==== 1 failed in 1.00s ====\n")
    assert describe(report) == [("a/test_x.py::test_one", "unknown")]


def test_the_error_that_a_passed_test_expected_is_no_root_of_the_next_failure(tmp_path):
    report = read(
        tmp_path,
        f"""
        {START}
        a/test_x.py::test_dies_as_asked
        {HIP}
        PASSED
        a/test_x.py::test_two FAILED
        =================================== FAILURES ===================================
        ___________________________________ test_two ___________________________________
        E   AssertionError: assert 'a' == 'b'
        {SUMMARY}
        FAILED a/test_x.py::test_two - AssertionError: assert 'a' == 'b'
        =================== 1 failed, 1 passed in 10.00s ===================
        """,
    )
    assert describe(report) == [("a/test_x.py::test_two", "test_assertion")]


def test_several_jobs_of_one_file_keep_their_names_and_commands(tmp_path):
    job = (
        "--- {}\n+ cd /vllm-workspace/tests && pytest -v {}\n{}\n{}\nFAILED {}::t - IndexError: x\n= 1 failed in 1s =\n"
    )
    names = ("AMD: V1 Sample + Logits (mi300_1)", "mi355_1: V1 Core", ":amd: (MI355 DPX) Kernels Shard 2")
    text = "".join(job.format(name, f"f{i}.py", START, SUMMARY, f"f{i}.py") for i, name in enumerate(names))
    report = read(tmp_path, text)
    assert [(f.job, f.test) for f in report.failures] == [(name, f"f{i}.py::t") for i, name in enumerate(names)]


def test_the_shards_of_one_job_do_not_mix(tmp_path):
    a = [START, "a.py::one PASSED", "==== 1 passed in 1.00s ===="]
    b = [START, SUMMARY, "FAILED b.py::two - RuntimeError: HIP error: invalid argument", "==== 1 failed in 1.00s ===="]
    pairs = [*zip(a, b, strict=False), ("", b[3])]
    mixed = "".join(f">>Shard 0: {x}\n>>Shard 1: {y}\n" for x, y in pairs)
    assert describe(read(tmp_path, mixed)) == [("b.py::two", "gpu_fault")]


@pytest.mark.parametrize(
    ("ending", "family", "infra", "note"),
    [
        ("Exited with status -1 (agent lost)", "agent_lost", True, "exit status -1"),
        ("🚨 Error: The command exited with status 124", "timeout", True, "at a time limit"),
        ("🚨 Error: The command exited with status 137", "timeout", True, "while it made progress"),
        ("🚨 Error: The command was interrupted by a signal: terminated", "timeout", True, "ended from outside"),
        ("🚨 Error: The command exited with status 134", "unknown", False, "exit status 134"),
        ("HW Exception by GPU node-2 (Agent handle: 0x1) reason :GPU Hang", "gpu_hang", True, ""),
    ],
)
def test_a_job_that_failed_without_a_failed_test_says_how(tmp_path, ending, family, infra, note):
    (failure,) = read(tmp_path, f"{START}\na.py::one PASSED [ 10%]\na.py::two PASSED [ 20%]\n{ending}\n").failures
    assert (failure.test, failure.family.value, failure.infra) == (None, family, infra)
    assert note in failure.note


def test_a_time_out_without_a_sign_of_progress_is_not_laid_on_the_node(tmp_path):
    lines = "\n".join(f"waiting {n}" for n in range(2000))
    (failure,) = read(
        tmp_path, f"{START}\na.py::one PASSED [ 10%]\na.py::two\n{lines}\nexited with status 124\n"
    ).failures
    assert (failure.family.value, failure.infra) == ("timeout", False)
    assert "without a sign of progress" in failure.note


def test_a_log_of_the_agent_that_stops_is_a_lost_agent_but_an_excerpt_is_not(tmp_path):
    text = f"{START}\na.py::one PASSED [ 10%]\n"
    assert describe(read(tmp_path, text)) == []
    stamped = "".join(f"[2026-04-15T18:44:57Z] {line}\n" for line in text.splitlines())
    assert describe(read(tmp_path, stamped)) == [(None, "agent_lost")]


def test_a_shard_that_collected_nothing_is_a_failure_although_ci_calls_it_success(tmp_path):
    ended = "============================ no tests ran in 0.02s ============================="
    shard = f">>Shard 0: {START}\n>>Shard 0: collected 0 items\n>>Shard 0: {ended}\n"
    other = f">>Shard 1: {START}\n>>Shard 1: collected 3 items\n>>Shard 1: ==== 3 passed in 1.00s ====\n"
    (failure,) = read(tmp_path, shard + other).failures
    assert (failure.family.value, failure.root.n) == ("collection", 2)
    empty_by_luck = shard.replace("collected 0 items", "collected 9 items\n>>Shard 0: Running 0 items in this shard:")
    assert read(tmp_path, empty_by_luck + other).failures == ()


def test_a_download_that_is_tried_again_is_no_failure_of_the_network(tmp_path):
    retry = "HTTP Error 504 thrown while requesting HEAD https://huggingface.co/a/b/resolve/main/config.json"
    assert describe(read(tmp_path, f"{retry}\nRetrying in 8s [Retry 4/5].\nexited with status 3\n")) == [
        (None, "unknown")
    ]
    last = "huggingface_hub.errors.HfHubHTTPError: 504 Server Error: Gateway Time-out for url: https://huggingface.co"
    assert describe(read(tmp_path, f"{retry}\n{last}\nexited with status 3\n")) == [(None, "network")]


@pytest.mark.parametrize(
    "said",
    ["Worker exited with status 1", "exit code: -15", "it received cancellation signal", "exit status 3"],
)
def test_what_a_test_prints_of_its_processes_is_not_how_the_job_ended(tmp_path, said):
    text = f"{START}\ncollected 1 item\na.py::one\n{said}\nPASSED\n==== 1 passed in 1.00s ====\n"
    assert describe(read(tmp_path, text)) == []


def test_an_excerpt_with_pytests_error_alone_is_a_failure(tmp_path):
    assert describe(read(tmp_path, "E   AssertionError: score mismatch - actual=0.1\n")) == [
        (None, "numeric_tolerance")
    ]
    assert describe(read(tmp_path, "AssertionError is the name of an exception\n")) == []
    assert describe(read(tmp_path, "collected 0 items\n")) == [(None, "collection")]


def test_without_a_section_the_root_is_what_the_summary_says_and_not_the_test(tmp_path):
    texts = [
        f"{SUMMARY}\nFAILED a.py::{name} - IndexError: x - y\n= 1 failed in 1s =\n" for name in ("one", "two[a - b]")
    ]
    found = [read(tmp_path, text).failures[0] for text in texts]
    assert [f.root.text for f in found] == ["IndexError: x - y"] * 2
    assert len({f.signature for f in found}) == 1


# --- pytest itself writes these

SUITE = """
import pytest

def test_fine(): pass

@pytest.mark.xfail
def test_known(): raise RuntimeError("HIP error: invalid argument")

def test_counts():
    prompt_tokens = 285
    assert prompt_tokens == 286

@pytest.mark.parametrize("name", ["a b", "c/d-[e]"])
def test_keys(name): raise ValueError("There is no module or parameter named 'mlp_AR' in TransformersForCausalLM")

@pytest.fixture
def server(): raise RuntimeError("Server failed to start in time.")

class TestServer:
    def test_it(self, server): pass
"""
WANTED = {
    "test_suite.py::test_counts": "token_count",
    "test_suite.py::test_keys[a b]": "checkpoint_keys",
    "test_suite.py::test_keys[c/d-[e]]": "checkpoint_keys",
    "test_suite.py::TestServer::test_it": "server_start",
}


def run_pytest(tmp_path, *options, suite=SUITE) -> bytes:
    (tmp_path / "test_suite.py").write_text(suite)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", ".", *options]
    return subprocess.run([*command, "test_suite.py"], cwd=tmp_path, capture_output=True, check=False).stdout


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-v",),
        ("-v", "-s"),
        ("-q",),
        ("--color=yes", "-v"),
        ("-n", "2", "-v"),
        ("--tb=short",),
        ("--tb=native",),
        ("--tb=long", "-vv"),
        ("-rA",),
        ("-ra", "-v"),
    ],
    ids=" ".join,
)
def test_the_failed_tests_of_pytest_are_found_in_every_style(tmp_path, options):
    log = tmp_path / "out.log"
    log.write_bytes(run_pytest(tmp_path, *options))
    found = {f.test: f.family.value for f in read_log(str(log)).failures}
    if "--tb=native" in options:  # no rewritten assertion is shown: the count is any assertion
        found["test_suite.py::test_counts"] = found["test_suite.py::test_counts"].replace(
            "test_assertion", "token_count"
        )
    assert found == WANTED, log.read_text()


@pytest.mark.parametrize("options", [("--tb=line",), ("--tb=no",), ("-r", "N", "-v")], ids=" ".join)
def test_a_style_that_leaves_things_out_still_counts_the_failures(tmp_path, options):
    log = tmp_path / "out.log"
    log.write_bytes(run_pytest(tmp_path, *options))
    found = read_log(str(log)).failures
    assert len(found) == len(WANTED), log.read_text()


def test_failures_that_pytest_counts_and_does_not_name_are_one_of_the_job(tmp_path):
    log = tmp_path / "out.log"
    log.write_bytes(run_pytest(tmp_path, "--no-summary"))
    (failure,) = read_log(str(log)).failures
    assert failure.test is None
    assert "pytest names no test: 3 failed, 1 passed, 1 xfailed, 1 error" in failure.note


def test_a_test_that_passes_when_it_is_tried_again_is_no_failure(tmp_path):
    pytest.importorskip("pytest_rerunfailures")
    suite = "import os\ndef test_flaky():\n    first = not os.path.exists('seen')\n    open('seen', 'w').close()\n"
    suite += "    print('HIP error: invalid argument')\n    assert not first\n"
    log = tmp_path / "out.log"
    log.write_bytes(run_pytest(tmp_path, "-v", "-s", "--reruns", "2", suite=suite))
    assert b"RERUN" in log.read_bytes()
    assert read_log(str(log)).failures == ()


def test_a_missing_module_is_found_while_pytest_collects(tmp_path):
    log = tmp_path / "out.log"
    log.write_bytes(run_pytest(tmp_path, suite="import schemathesis_gone\n"))
    assert describe(read_log(str(log))) == [("test_suite.py", "missing_dependency")]


def test_junit_xml_says_the_same(tmp_path):
    run_pytest(tmp_path, "--junitxml=report.xml")
    report = read_log(str(tmp_path / "report.xml"))
    found = {f.test: f.family.value for f in report.failures}
    assert found == WANTED
    lines = (tmp_path / "report.xml").read_text().split("\n")
    for failure in report.failures:
        assert "<failure" in lines[failure.root.n - 1] or "<error" in lines[failure.root.n - 1] or failure.root.n > 1


def test_the_error_is_taken_from_pytests_own_line_and_not_from_the_source_that_it_shows(tmp_path):
    suite = """
    def start(finished):
        if finished:
            raise ValueError("There is no module or parameter named 'a.b' in C")
        raise RuntimeError(
            "Engine core initialization failed. "
            f"See root cause above. {finished}")

    def test_it(): start({})
    """
    log = tmp_path / "out.log"
    log.write_bytes(run_pytest(tmp_path, suite=textwrap.dedent(suite)))
    (failure,) = read_log(str(log)).failures
    assert failure.root.text == "RuntimeError: Engine core initialization failed. See root cause above. {}"
    assert failure.family.value == "server_start"


RAISED = "(EngineCore pid=7) ERROR 11-20 10:00:00 [core.py:708] AttributeError: 'Runner' object has no attribute 'x'"
FAILED_START = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"


def test_what_the_engine_raised_is_the_root_although_no_rule_knows_it(tmp_path):
    other = RAISED.replace("'x'", "'before'")
    report = read(
        tmp_path,
        f"""
        {START}
        a.py::test_before
        {other}
        PASSED
        a.py::test_it
        {RAISED}
        FAILED
        =================================== FAILURES ===================================
        ___________________________________ test_it ___________________________________
        E   {FAILED_START}
        {SUMMARY}
        FAILED a.py::test_it - {FAILED_START}
        =================== 1 failed, 1 passed in 10.00s ===================
        """,
    )
    (failure,) = report.failures
    assert (failure.root.n, failure.root.text) == (6, "AttributeError: 'Runner' object has no attribute 'x'")
    assert (failure.family.value, failure.rule) == ("server_start", "engine-did-not-start")


def test_a_failed_validation_is_its_message_and_an_empty_exception_its_next_line(tmp_path):
    suite = """
    import numpy, pydantic

    class Config(pydantic.BaseModel):
        max_model_len: int

    def test_validation(): Config(max_model_len="long")
    def test_numbers(): numpy.testing.assert_allclose([1.0, 2.0], [1.1, 2.0], rtol=1e-3)
    """
    log = tmp_path / "out.log"
    log.write_bytes(run_pytest(tmp_path, suite=textwrap.dedent(suite)))
    roots = {failure.test.rpartition("::")[2]: failure.root.text for failure in read_log(str(log)).failures}
    assert roots == {"test_validation": "max_model_len", "test_numbers": "Not equal to tolerance rtol=0.001, atol=0"}


# --- from a failure to the command


def test_the_command_of_a_known_case_is_complete(tmp_path):
    line = "ValueError: There is no module or parameter named 'model.vision_tower.vision_model' in Transformers"
    test = "models/multimodal/generation/test_common.py::test_single_image_models[gemma3-transformers-test_case0]"
    (failure,) = read(tmp_path, f"{SUMMARY}\nFAILED {test} - {line}\n==== 1 failed in 1.00s ====\n").failures
    assert failure.case == "gemma3-legacy-keys"
    assert failure.command.startswith("triage run gemma3-legacy-keys -p traced_key=vision_tower.vision_model.")
    assert failure.captures["key"] == "model.vision_tower.vision_model"


def test_limits_and_length_of_the_server_fill_the_warm_up_case(tmp_path):
    test = "models/multimodal/generation/test_qwen2_5_vl.py::test_it"
    launch = "Launching RemoteOpenAIServer with: vllm serve Qwen/Qwen2.5-VL-3B-Instruct --max-model-len 8192 "
    launch += "--limit-mm-per-prompt '{\"image\": 2}'"
    hang = "HW Exception by GPU node-2 (Agent handle: 0x1) reason :GPU Hang"
    (failure,) = read(tmp_path, f"{START}\n{test} \n{launch}\n{hang}\nexited with status 134\n").failures
    assert failure.case == "qwen25vl-video-warmup"
    assert failure.command == (
        "triage run qwen25vl-video-warmup -p 'implicit_limits={\"image\": 2}' -p max_model_len=8192"
    )
    assert failure.captures["model"] == "Qwen/Qwen2.5-VL-3B-Instruct"


def test_every_printed_parameter_is_one_that_the_notebook_takes(tmp_path):
    captures = {"max_model_len": "8192", "limit_mm_per_prompt": json.dumps({"image": 2}), "key": "model.vision_tower"}
    (failure,) = read(tmp_path, f"{SUMMARY}\nFAILED x.py::t - IndexError: x\n= 1 failed in 1s =\n").failures
    for case in read_cases():
        known = replace(failure, test=case.test.split()[0] + "::t " + case.test, family=case.family, captures=captures)
        plan = plan_command(known, "", read_cases())
        found = next(other for other in read_cases() if other.id == plan.case)
        assert (found.test, found.family) == (case.test, case.family)  # a follow-up has the test of the first
        words = shlex.split(plan.command)
        given = [word for word in words if "=" in word]
        parameters = read_parameters(find_notebook(case.notebook))
        checked = check_parameters(parameters, values=case.parameters, texts=given, place=case.id)
        assert {word.partition("=")[0] for word in given} <= set(checked)


def test_a_server_fills_the_command_of_its_own_test_and_of_no_other(tmp_path):
    launch = "Launching RemoteOpenAIServer with: vllm serve {} --max-model-len {}"
    failed = "".join(f"FAILED a.py::{name} - IndexError: x\n" for name in ("one", "two", "three"))
    lives = f"a.py::one \n{launch.format('a/one', 111)}\nFAILED\na.py::two \n{launch.format('a/two', 222)}\nFAILED\n"
    report = read(tmp_path, f"{START}\n{lives}a.py::three \nFAILED\n{SUMMARY}\n{failed}= 3 failed in 1s =\n")
    assert [f.captures.get("max_model_len") for f in report.failures] == ["111", "222", None]


def test_counts_are_captured_from_either_wording(tmp_path):
    texts = ("where_prompt_tokens: expected 285 or 286 prompt_tokens, got 284", "x = 5")
    where = " +  where 285 = RerankUsage(prompt_tokens=285).prompt_tokens"
    lines = f"E   AssertionError: {texts[0]}\n"
    (failure,) = read(tmp_path, lines).failures
    assert (failure.captures["expected"], failure.captures["counted"]) == ("285 or 286", "284")
    (failure,) = read(tmp_path, f"E   assert 285 == 286\nE   {where}\n").failures
    assert (failure.family.value, failure.captures["served"]) == ("token_count", "285")


def test_the_model_of_the_job_makes_a_second_command_and_not_the_first(tmp_path):
    line = "ValueError: There is no module or parameter named 'model.visual' in Qwen2VLForConditionalGeneration"
    launch = "Launching RemoteOpenAIServer with: vllm serve Qwen/Qwen2.5-VL-3B-Instruct"
    report = read(
        tmp_path, f"{START}\na.py::t\n{launch}\nFAILED\n{SUMMARY}\nFAILED a.py::t - {line}\n= 1 failed in 1s ="
    )
    (failure,) = report.failures
    assert failure.command == "triage run gemma3-legacy-keys"
    assert failure.with_model == "triage run gemma3-legacy-keys -p checkpoint=Qwen/Qwen2.5-VL-3B-Instruct"


def test_a_test_is_run_as_its_job_runs_it(tmp_path):
    job = (
        "(command rocm-smi || true) && export VLLM_TEST_GROUP_NAME=mi300_2-x && export VLLM_TEST_A=1 && "
        "cd /vllm-workspace/ && uv pip install --system 'gpt-oss[eval]==0.0.5' && pytest -v tests/other -m 'not slow' "
        "&& VLLM_TEST_B=1 pytest -v -s tests/compile --shard-id=$BUILDKITE_PARALLEL_JOB && pip install later"
    )
    test = "tests/compile/test_async_tp.py::test_it[True-dtype0]"
    (failure,) = read(tmp_path, f"+ {job}\n{SUMMARY}\nFAILED {test} - IndexError: x\n= 1 failed in 1s =\n").failures
    assert failure.command == (
        "export VLLM_TEST_A=1 && cd /vllm-workspace/ && uv pip install --system "
        f"'gpt-oss[eval]==0.0.5' && VLLM_TEST_B=1 pytest -v -s '{test}'"
    )
    assert failure.job == "mi300_2-x"


def test_without_a_case_the_command_is_the_test_itself(tmp_path):
    (failure,) = read(tmp_path, f"{SUMMARY}\nFAILED a/x.py::t[b c] - IndexError: x\n= 1 failed in 1s =\n").failures
    assert (failure.case, failure.command) == (None, "cd /vllm-workspace/tests && pytest -v -s 'a/x.py::t[b c]'")
