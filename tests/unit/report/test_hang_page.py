"""The page of a watched command: what it says, and that nothing in it is taken for markup."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from triage.errors import InputError
from triage.hangs import HangClass, HangRecord, NotCollected, Progress, explain_record, plot_timeline, read_record
from triage.report import judge_record, write_hang_report
from triage.result import Verdict

HANGS = "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()"
NASTY = "<script>alert(1)</script>\x00\x1b[31mred\x1b[0m"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real watch of a program that waits for its own lock."""
    from triage.hangs import watch_command

    out = tmp_path_factory.mktemp("watch")
    watch_command([sys.executable, "-c", HANGS], out=out, stall_s=1.0)
    return out


@pytest.fixture(scope="module")
def record(folder: Path) -> HangRecord:
    return read_record(folder / "hang.json")


def read_page(record: HangRecord, tmp_path: Path) -> BeautifulSoup:
    write_hang_report(record, tmp_path / "report.html")
    return BeautifulSoup((tmp_path / "report.html").read_text(encoding="utf-8"), "html.parser")


def test_the_banner_names_the_class_its_evidence_and_what_to_run_next(record: HangRecord, tmp_path: Path) -> None:
    page = read_page(record, tmp_path)
    assert "host_deadlock" in page.select_one(".cause").text
    assert record.diagnosis.because[0] in page.select_one(".cause").text
    assert "triage watch --stall-s 1 -- " in page.select_one(".next").text


def test_every_process_is_listed_and_both_stacks_are_there(record: HangRecord, tmp_path: Path) -> None:
    page = read_page(record, tmp_path)
    process = record.evidence.samples[-1].processes[0]
    assert f"({process.pid})" in page.find("caption", string=re.compile("Every process")).parent.text
    stacks = [element.text for element in page.select("details pre") if "Thread " in element.text]
    assert len(stacks) == len(record.evidence.samples)
    assert all("<module>" in text for text in stacks)


def test_the_picture_can_be_read_aloud(record: HangRecord, tmp_path: Path) -> None:
    image = read_page(record, tmp_path).find("img")
    assert image["alt"] == explain_record(record)
    assert f"{record.last_progress.age_s:.1f} s before the end" in image["alt"]
    assert image["src"].startswith("data:image/png;base64,")


def test_what_is_foreign_is_shown_as_text(record: HangRecord, tmp_path: Path) -> None:
    sample = record.evidence.samples[-1]
    process = replace(sample.processes[0], name=NASTY, stack_error=NASTY)
    thread = replace(process.threads[0], name=NASTY, frames=(replace(process.threads[0].frames[0], function=NASTY),))
    sample = replace(sample, processes=(replace(process, threads=(thread,)),))
    evidence = replace(
        record.evidence,
        samples=(sample, sample),
        kernel_log=(NASTY,),
        not_collected=(NotCollected(what=NASTY, why=NASTY),),
    )
    progress = Progress(sign="output", line=NASTY, age_s=1.0)
    page = read_page(replace(record, evidence=evidence, last_progress=progress, command=(NASTY,)), tmp_path)
    assert page.find("script") is None
    assert "<script>alert(1)</script>red" in page.text
    assert "\x00" not in page.text
    assert "\x1b" not in page.text


def test_the_page_loads_nothing_from_anywhere(record: HangRecord, tmp_path: Path) -> None:
    page = read_page(record, tmp_path)
    targets = [tag.get("src") or tag.get("href") for tag in page.select("[src], [href]")]
    assert [target for target in targets if not target.startswith(("#", "data:"))] == ["hang.json"]


def test_no_path_of_a_home_is_told(record: HangRecord, tmp_path: Path) -> None:
    write_hang_report(replace(record, command=(f"{Path.home()}/secret/run.sh",)), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{Path.home()}/" not in text
    assert "~/secret/run.sh" in text


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        (HangClass.DEVICE_BUSY, Verdict.REPRODUCED),
        (HangClass.UNKNOWN, Verdict.INCONCLUSIVE),
        (HangClass.SLOW_PROGRESS, Verdict.INCOMPLETE),
        (HangClass.OOM_KILLED, Verdict.NOT_REPRODUCED),
        (HangClass.NONE, Verdict.NOT_REPRODUCED),
    ],
)
def test_each_class_has_its_verdict(record: HangRecord, kind: HangClass, verdict: Verdict) -> None:
    assert judge_record(replace(record, diagnosis=replace(record.diagnosis, hang_class=kind))).verdict is verdict


def test_the_stall_is_marked_where_the_last_sign_of_life_was(record: HangRecord) -> None:
    began_s = record.duration_s - record.last_progress.age_s
    lines = [line for axes in plot_timeline(record).axes[1:] for line in axes.lines if len(set(line.get_xdata())) == 1]
    assert {line.get_xdata()[0] for line in lines} == {began_s}
    calm = replace(record, ending="exited", diagnosis=replace(record.diagnosis, hang_class=HangClass.NONE))
    assert not any(len(axes.patches) for axes in plot_timeline(calm).axes[1:])


def test_a_record_without_a_timeline_still_has_a_page(record: HangRecord, tmp_path: Path) -> None:
    page = read_page(replace(record, timeline=(), evidence=replace(record.evidence, samples=())), tmp_path)
    assert page.find("img") is None


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 1}', '{"schema_version": 9}', "\x00"])
def test_what_is_no_record_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hang.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"hang\.json"):
        write_hang_report(path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_record_reads_back_as_it_was(folder: Path, record: HangRecord) -> None:
    assert record.to_text() + "\n" == (folder / "hang.json").read_text(encoding="utf-8")


def test_what_a_hung_command_prints_as_it_is_ended_is_no_sign_of_life(tmp_path: Path) -> None:
    from triage.hangs import watch_command

    source = "import sys, threading\ntry:\n threading.Event().wait()\nfinally:\n print('dying', flush=True)"
    source = f"import signal\nsignal.signal(signal.SIGTERM, lambda *_: exit(1))\nprint('alive', flush=True)\n{source}"
    record = watch_command([sys.executable, "-c", source], out=tmp_path, stall_s=1.0)
    assert record.last_progress.line == "alive"
    assert record.last_progress.age_s > record.stall_s
