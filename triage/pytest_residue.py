"""A pytest plugin that says which test left what behind: ``pytest -p triage.pytest_residue``.

After each test, when its fixtures are torn down, variables, working folder, threads, child processes, ports, holders of
the GPU, shared memory and GPU memory are compared with those before it. What may go by itself gets some seconds. What a
fixture of a wider scope holds is left at the time and gone at the end: the summary tells the two apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from triage.files import write_atomic
from triage.residue import Leftovers, Settled, Snapshot, adopt_orphans, compare_snapshot, restore, take_snapshot
from triage.residue import wait_to_settle as settle

_PROPERTY = "triage_residue"
_AT_ONCE = "gone after"
_SCHEMA_VERSION = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's options."""
    group = parser.getgroup("residue", "what tests leave behind (triage)")
    group.addoption(
        "--residue-settle-s",
        type=float,
        default=2.0,
        metavar="S",
        help="seconds that what is left gets to go by itself",
    )
    group.addoption("--residue-json", type=Path, metavar="FILE", help="write what was left to FILE")
    group.addoption("--residue-fail", action="store_true", help="let a test that left something behind fail")
    group.addoption(
        "--residue-restore",
        action="store_true",
        help="put variables and folder back after each test, end its processes, remove its shared memory",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Starts to watch: in every process that runs tests, and in the one that reports."""
    adopt_orphans()
    config.pluginmanager.register(_Residue(config), "triage-residue-watch")


class _Residue:
    """Before and after every test."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._start: Snapshot | None = None
        self._told: list[dict[str, Any]] = []

    def pytest_sessionstart(self) -> None:
        self._start = take_snapshot()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        item.stash[_BEFORE] = take_snapshot()
        return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        result = yield
        before = item.stash[_BEFORE]
        settled = settle(before, settle_s=self._config.getoption("--residue-settle-s"))
        if settled.at_once:
            item.user_properties.append((_PROPERTY, _describe(settled)))
        if self._config.getoption("--residue-restore"):
            restore(before, settled.left)
        if settled.left and self._config.getoption("--residue-fail"):
            pytest.fail(f"it left behind: {'; '.join(settled.left.describe())}", pytrace=False)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In the process that reports: xdist carries the properties there."""
        if report.when == "teardown":
            held = [value for name, value in report.user_properties if name == _PROPERTY]
            self._told += [{"test": report.nodeid, **value} for value in held if isinstance(value, dict)]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        at_end = self._look_at_end()
        if (path := self._config.getoption("--residue-json")) is not None:
            told = {"schema_version": _SCHEMA_VERSION, "tests": self._told, "at_end": at_end.to_json()}
            write_atomic(path, json.dumps(told, indent=2) + "\n")
        if not self._told and not at_end:
            return
        terminalreporter.section("left behind (triage)")
        for row in self._told:
            terminalreporter.line(row["test"])
            for text in row["left"]:
                terminalreporter.line(f"    {text}")
            for text in row["settled"]:
                terminalreporter.line(f"    {text} ({_AT_ONCE} {row['waited_s']:.1f} s)")
        terminalreporter.line(
            "Still there at the end: " + ("; ".join(at_end.describe()) or "nothing, so wider fixtures held the rest")
        )

    def _look_at_end(self) -> Leftovers:
        """What the whole session left in this process. The workers of xdist are gone by then."""
        return Leftovers() if self._start is None else compare_snapshot(self._start)


_BEFORE = pytest.StashKey[Snapshot]()


def _describe(settled: Settled) -> dict[str, Any]:
    left = settled.left.describe()
    return {
        "left": left,
        "settled": [text for text in settled.at_once.describe() if text not in left],
        "waited_s": round(settled.waited_s, 2),
        "details": settled.left.to_json(),
    }
