"""Programs whose class is known, each really run under `triage watch`."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest

from tests.hangs.ablation import list_ablations
from tests.hangs.corpus import Program, Watched, list_programs, watch_program, why_not_here
from triage.hangs import Ending, HangClass, Process, diagnose

PROGRAMS = list_programs()
AT_ONCE = 4
ALLOWED_UNKNOWN = 2
by_name = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, Future[Watched]]]:
    """All programs, a few at a time; the slow ones first."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wanted = [program for program in PROGRAMS if why_not_here(program) is None]
        wanted.sort(key=lambda program: "rank" not in program.name)
        yield {program.name: pool.submit(watch_program, program) for program in wanted}


@pytest.fixture
def watched(running: dict[str, Future[Watched]], program: Program) -> Watched:
    if why := why_not_here(program):
        pytest.skip(why)
    return running[program.name].result()


@by_name
def test_a_program_gets_the_class_it_is_labelled_with(program: Program, watched: Watched) -> None:
    diagnosis = watched.record.diagnosis
    told = "\n".join([watched.record.ending.value, *diagnosis.because])
    if diagnosis.hang_class is HangClass.UNKNOWN and program.label is not HangClass.UNKNOWN:
        pytest.xfail(told)  # counted below
    assert diagnosis.hang_class is program.label, told
    assert diagnosis.because


@by_name
def test_taking_evidence_away_never_leads_to_another_class(program: Program, watched: Watched) -> None:
    record = watched.record
    whole = record.diagnosis.hang_class

    def judge(evidence: object) -> HangClass:
        return diagnose(
            evidence,  # type: ignore[arg-type]
            ending=record.ending,
            returncode=record.returncode,
            progressing=whole is HangClass.SLOW_PROGRESS,
            seen_pids=_list_pids(record.evidence.samples),
        ).hang_class

    judged = {name: judge(evidence) for name, evidence in list_ablations(record.evidence)}
    assert {name: found for name, found in judged.items() if found not in {whole, HangClass.UNKNOWN}} == {}
    if whole.is_hang:
        assert judged["no samples"] is HangClass.UNKNOWN


@by_name
def test_what_is_slow_is_not_taken_for_hung_without_its_signs_of_life(program: Program, watched: Watched) -> None:
    if program.label is HangClass.SLOW_PROGRESS:
        samples = watched.record.evidence
        silent = diagnose(samples, ending=Ending.STALLED, returncode=None, progressing=False)
        assert silent.hang_class is HangClass.UNKNOWN


@by_name
def test_the_exit_code_says_whether_the_watch_ended_it(program: Program, watched: Watched) -> None:
    ended_by_watch = watched.record.ending in {Ending.STALLED, Ending.TIME_LIMIT}
    assert (watched.exit_code == 124) == ended_by_watch
    assert watched.record.exit_code == watched.exit_code
    expected = Ending.TIME_LIMIT if program.label is HangClass.SLOW_PROGRESS else Ending.STALLED
    assert watched.record.ending is (expected if ended_by_watch else Ending.EXITED)


@by_name
def test_nothing_of_it_is_left(program: Program, watched: Watched) -> None:
    seen = {(p.pid, p.start_ticks) for sample in watched.record.evidence.samples for p in sample.processes}
    assert watched.record.residue.survivors == ()
    assert [pid for pid, _ in seen if _is_alive(pid, str(program.path))] == []


def test_a_rank_that_waits_for_one_on_another_node_is_in_no_deadlock(running: dict[str, Future[Watched]]) -> None:
    """The same evidence as of two ranks of one tree, but that their connections lead elsewhere."""

    def lead_away(process: Process) -> Process:
        files = (replace(f, peer="10.0.0.7:29500") if f.peer and f.port else f for f in process.files)
        return replace(process, files=tuple(files))

    evidence = running["rank_that_left"].result().record.evidence
    samples = (replace(sample, processes=tuple(map(lead_away, sample.processes))) for sample in evidence.samples)
    elsewhere = replace(evidence, samples=tuple(samples))
    judged = diagnose(elsewhere, ending=Ending.STALLED, returncode=None, progressing=False)
    assert judged.hang_class is HangClass.UNKNOWN


def test_unknown_is_rare(running: dict[str, Future[Watched]]) -> None:
    found = [future.result() for future in running.values()]
    undecided = [
        watched.program.name
        for watched in found
        if watched.record.diagnosis.hang_class is HangClass.UNKNOWN and watched.program.label is not HangClass.UNKNOWN
    ]
    assert len(undecided) <= ALLOWED_UNKNOWN, undecided


def _is_alive(pid: int, path: str) -> bool:
    try:
        return path in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def _list_pids(samples: object) -> set[int]:
    processes: list[Process] = [process for sample in samples for process in sample.processes]  # type: ignore[attr-defined]
    return {process.pid for process in processes}
