"""No more notebooks at a time than the machine can carry."""

import pytest

from triage.report import plan_jobs

GIB = 2**30


@pytest.mark.parametrize(
    ("asked", "machine", "count", "limit"),
    [
        (1, {"gpus": 0, "cores": 2, "memory_bytes": 24 * GIB}, 1, None),
        (4, {"gpus": 0, "cores": 2, "memory_bytes": 24 * GIB}, 2, "2 cores"),
        (8, {"gpus": 0, "cores": 16, "memory_bytes": 9 * GIB}, 2, "9.0 GiB of free memory"),
        (8, {"gpus": 1, "cores": 64, "memory_bytes": 512 * GIB}, 1, "1 GPU"),
        (8, {"gpus": 8, "cores": 64, "memory_bytes": 512 * GIB}, 8, None),
        (2, {"gpus": 0, "cores": 1, "memory_bytes": 1 * GIB}, 1, "1.0 GiB of free memory"),
    ],
)
def test_the_scarcest_of_cores_memory_and_gpus_decides(asked, machine, count, limit):
    jobs = plan_jobs(asked, **machine)
    assert (jobs.count, jobs.limit) == (count, limit)


def test_a_container_with_a_quota_is_taken_for_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("triage.report._capacity._CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(str(6 * GIB))
    (tmp_path / "memory.current").write_text(str(5 * GIB))
    (tmp_path / "memory.stat").write_text(f"anon {GIB}\nactive_file {GIB}\ninactive_file {2 * GIB}\n")
    assert plan_jobs(8).count == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.current").write_text(str(6 * GIB))
    assert plan_jobs(8, cores=64).limit == "3.0 GiB of free memory"
