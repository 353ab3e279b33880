"""Copies with and without the change; what a user has is never written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.verify.repository import ALWAYS, COMMAND, NEVER
from triage.errors import InputError
from triage.verify import ArmName, Change, find_package, prepare_arms

BEFORE, AFTER, REVERTED = ArmName


def prepare(repository, change, **options):
    work = repository.top.parent / "work"
    return prepare_arms(options.pop("command", COMMAND), folder=repository.place, work=work, change=change, **options)


def read(setup, arm, name="setting.py"):
    return (setup.arms[arm].folder / name).read_text()


def test_the_patch_is_in_the_second_copy_and_nowhere_else(repository):
    patch = repository.make_patch("sub/setting.py", NEVER)
    before = repository.look()
    setup = prepare(repository, Change(patch=patch), revert=True)
    assert [read(setup, arm) for arm in ArmName] == [ALWAYS, NEVER, ALWAYS]
    assert repository.look() == before


def test_a_dirty_checkout_is_left_as_it_is_and_is_in_no_arm(repository):
    patch = repository.make_patch("sub/setting.py", NEVER)
    repository.write("sub/setting.py", "FAILS = None\n")
    repository.write("sub/new.py", "")
    repository.git("add", "sub/new.py")
    before = repository.look()
    setup = prepare(repository, Change(patch=patch))
    assert repository.look() == before
    assert [read(setup, arm) for arm in (BEFORE, AFTER)] == [ALWAYS, NEVER]
    assert "sub/new.py, sub/setting.py" in setup.notes[0]


def test_a_revision_a_variable_an_argument_and_a_command_are_changes_too(repository):
    head = repository.commit()
    repository.write("sub/setting.py", NEVER)
    fix = repository.commit()
    repository.git("checkout", "-q", head)
    setup = prepare(
        repository, Change(revision=fix, env={"A": "1"}, arguments=["-v"], command=[*COMMAND, "-q"]), env={"B": "2"}
    )
    before, after = setup.arms[BEFORE], setup.arms[AFTER]
    assert (read(setup, BEFORE), read(setup, AFTER)) == (ALWAYS, NEVER)
    assert (before.command, after.command) == (COMMAND, (*COMMAND, "-q", "-v"))
    assert "A" not in before.env
    assert (after.env["A"], after.env["B"], before.env["B"]) == ("1", "2", "2")


def test_a_program_of_the_working_tree_runs_from_there(repository):
    repository.write(".gitignore", "bin\n")
    repository.commit()
    (repository.place / "bin").mkdir()
    (repository.place / "bin" / "run").touch()
    setup = prepare(repository, Change(env={"A": "1"}), command=["bin/run"])
    assert setup.arms[BEFORE].command == (str(repository.place / "bin" / "run"),)


def test_what_a_build_left_in_the_working_tree_is_there_in_the_copies(repository):
    repository.write(".gitignore", "*.so\n_version.py\n")
    repository.commit()
    for name in ("native.so", "_version.py"):
        repository.write(f"sub/{name}", "built")
    setup = prepare(repository, Change(env={"A": "1"}))
    assert [read(setup, AFTER, name) for name in ("native.so", "_version.py")] == ["built", "built"]


def test_an_editable_install_of_the_working_tree_gives_each_arm_its_own_code(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository.place))
    patch = repository.make_patch("sub/setting.py", NEVER)
    setup = prepare(repository, Change(patch=patch))
    for arm in (BEFORE, AFTER):
        code = "import json, setting; print(json.dumps(setting.__file__))"
        env = dict(setup.arms[arm].env)
        out = subprocess.run([sys.executable, "-c", code], env=env, cwd="/", capture_output=True, check=True).stdout
        assert Path(json.loads(out)).is_relative_to(setup.arms[arm].folder)


# An installed package


@pytest.fixture
def packages(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "site"
    (folder / "thing" / "deep").mkdir(parents=True)
    for name, text in {"__init__": "", "a": "A = 1\n", "deep/__init__": "", "deep/b": "B = 1\n"}.items():
        (folder / "thing" / f"{name}.py").write_text(text)
    (folder / "thing" / "data.json").write_text("{}")
    monkeypatch.syspath_prepend(str(folder))
    return folder


THING = """--- a/thing/a.py
+++ b/thing/a.py
@@ -1 +1,2 @@
-A = 1
+A = 2
+NEW = True
--- a/tests/test_a.py
+++ b/tests/test_a.py
@@ -1 +1 @@
-x
+y
"""


def test_a_patch_of_an_installed_package_goes_onto_an_overlay_in_front_of_it(tmp_path, packages):
    patch = tmp_path / "thing.diff"
    patch.write_text(THING)
    before = {p: p.read_bytes() for p in packages.rglob("*") if p.is_file()}
    code = "import json, thing.a, thing.deep.b; print(json.dumps([thing.a.A, thing.deep.b.B, thing.__file__]))"
    setup = prepare_arms(
        [sys.executable, "-c", code],
        folder=tmp_path,
        work=tmp_path / "work",
        change=Change(patch=patch),
        packages=find_package("thing"),
    )
    values = {}
    for name, arm in setup.arms.items():
        done = subprocess.run(arm.command, env=dict(arm.env), cwd=tmp_path, capture_output=True, check=True)
        *values[name], file = json.loads(done.stdout)
        assert "work" in Path(file).parts
    assert values == {BEFORE: [1, 1], AFTER: [2, 1]}
    assert {p: p.read_bytes() for p in packages.rglob("*") if p.is_file() and "__pycache__" not in p.parts} == before
    assert "tests/test_a.py" in setup.notes[0]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("thing/a.py", "thing/native.cu", "holds Python files of thing only, not thing/native.cu"),
        ("thing/a.py", "docs/a.py", "changes no file of thing"),
        ("-A = 1", "-A = 7", "does not apply"),
    ],
)
def test_a_patch_that_no_overlay_can_hold_is_refused(tmp_path, packages, old, new, words):
    patch = tmp_path / "thing.diff"
    patch.write_text(THING.replace(old, new))
    with pytest.raises(InputError, match=words):
        prepare_arms(
            ["true"], folder=tmp_path, work=tmp_path / "w", change=Change(patch=patch), packages=find_package("thing")
        )
    assert (packages / "thing" / "a.py").read_text() == "A = 1\n"


# Bad input


OUTSIDE = "--- a/../evil.py\n+++ b/../evil.py\n@@ -0,0 +1 @@\n+x\n"
ABSOLUTE = "--- /etc/motd\n+++ /etc/motd\n@@ -0,0 +1 @@\n+x\n"
ELSEWHERE = "--- a/sub/setting.py\n+++ b/sub/setting.py\n@@ -1 +1 @@\n-nothing like it\n+x\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (OUTSIDE, r"outside the tree: \.\./evil\.py"),
        (ABSOLUTE, "outside the tree: /etc/motd"),
        (ELSEWHERE, "does not apply: patch failed: sub/setting.py:1"),
        ("hello\n", "is no patch"),
        ("", "is empty"),
    ],
)
def test_a_patch_that_cannot_be_put_on_is_one_sentence(repository, tmp_path, text, words):
    patch = tmp_path / "bad.diff"
    patch.write_text(text)
    before = repository.look()
    with pytest.raises(InputError, match=words) as caught:
        prepare(repository, Change(patch=patch))
    assert "\n" not in str(caught.value)
    assert repository.look() == before


def test_a_patch_through_a_link_out_of_the_tree_writes_nothing_there(repository, tmp_path):
    (tmp_path / "outside").mkdir()
    (repository.place / "link").symlink_to(tmp_path / "outside")
    repository.commit()
    patch = tmp_path / "link.diff"
    patch.write_text("--- /dev/null\n+++ b/sub/link/x.py\n@@ -0,0 +1 @@\n+x\n")
    with pytest.raises(InputError, match="beyond a symbolic link"):
        prepare(repository, Change(patch=patch))
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (Change(), {}, "are the same"),
        (Change(env={}, command=COMMAND), {}, "are the same"),
        (Change(revision="HEAD"), {}, "is HEAD"),
        (Change(revision="no-such"), {}, "has no revision 'no-such'"),
        (Change(env={"A": "1"}), {"command": []}, "no command"),
        (Change(env={"A": "1"}), {"command": [sys.executable, "untracked.py"]}, "is not committed"),
    ],
)
def test_arms_that_cannot_differ_or_cannot_run_are_refused(repository, change, options, words):
    repository.write("sub/untracked.py", "")
    with pytest.raises(InputError, match=words):
        prepare(repository, change, **options)


def test_a_test_that_only_the_patch_brings_cannot_fail_on_the_base(repository):
    patch = repository.make_patch("sub/test_new.py", "def test(): pass\n")
    with pytest.raises(InputError, match=r"Only the after arm has test_new\.py"):
        prepare(repository, Change(patch=patch), command=[sys.executable, "-m", "pytest", "test_new.py::test"])


def test_a_patch_needs_something_to_go_onto(tmp_path):
    patch = tmp_path / "fix.diff"
    patch.write_text(ELSEWHERE)
    with pytest.raises(InputError, match="in no git repository"):
        prepare_arms(COMMAND, folder=tmp_path, work=tmp_path / "w", change=Change(patch=patch))
