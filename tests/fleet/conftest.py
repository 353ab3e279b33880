"""One Slurm for all tests of a file, and the environment to reach it."""

import os
from collections.abc import Iterator

import pytest

from tests.fleet.cluster import Cluster, why_not


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running Slurm with two nodes; skipped, with the reason, where it is not installed."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    running = Cluster(tmp_path_factory.mktemp("slurm"))
    before = dict(os.environ)
    os.environ.update(running.environment)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        os.environ.clear()
        os.environ.update(before)
