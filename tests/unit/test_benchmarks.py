"""The benchmarks themselves; their figures are not tested, which would test the machine."""

import subprocess
import sys
from importlib import import_module

from benchmarks.__main__ import find_benchmarks


def test_every_benchmark_says_what_it_promises_and_measures_it():
    names = find_benchmarks()
    assert {"import_time", "help_time", "report_overhead"} <= set(names)
    for name in names:
        module = import_module(f"benchmarks.{name}")
        assert module.__doc__
        assert callable(module.measure)


def test_a_measurement_beyond_its_limit_is_a_broken_promise():
    from benchmarks._measurement import Measurement

    fields = {"promise": "p", "limit": 1.0, "unit": "s", "spread": (0, 2), "peer": "q", "peer_measured": 1.0}
    assert Measurement(measured=1.0, **fields).ok
    assert not Measurement(measured=1.1, **fields).ok


def test_an_unknown_benchmark_is_bad_usage():
    command = [sys.executable, "-m", "benchmarks", "nonsense"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "help_time, import_time" in ended.stderr
