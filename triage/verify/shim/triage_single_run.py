"""A pytest plugin: a failed test is not run again. Options and marks of the plugins that do so are still understood."""

import pytest

# pytest-rerunfailures, flaky, pytest-retry
_AGAIN = ("rerunfailures", "pytest_rerunfailures", "flaky", "flaky.flaky_pytest_plugin", "pytest-retry", "pytest_retry")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Takes them out once their options have been read, and declares the mark that they share."""
    config.addinivalue_line("markers", "flaky: run once, as `triage verify` counts every failure")
    for name in _AGAIN:
        plugin = config.pluginmanager.get_plugin(name)
        if plugin is not None:
            config.pluginmanager.unregister(plugin)
