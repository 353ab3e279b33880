"""A capture with everything: what collect_env says, and the libraries after a whole import of vLLM."""

import pytest

from triage.settings import capture_environment

pytestmark = pytest.mark.engine


def test_the_attachments_and_the_libraries_of_vllm_itself_are_there() -> None:
    capture = capture_environment(attach=True)
    assert "vLLM" in capture.attachments["vllm.collect_env"]
    assert "PyTorch version" in capture.attachments["torch.utils.collect_env"]
    held = [library.path for library in capture.libraries.values() if library.path and "/vllm/" in library.path]
    assert held, "vLLM brought no library of its own"
    assert not {part.what for part in capture.not_collected} - {"gpu"}
