"""The one wait of a watch, which a thread may want to end when there is nobody left who waits."""

import os
import threading

from triage.hangs._poll import Poll, list_gone


def test_a_thread_ends_the_wait_and_its_wake_up_is_used_up():
    poll = Poll()
    threading.Timer(0.1, poll.wake).start()
    assert poll.wait({}, limit_s=60)
    assert poll.wait({}, limit_s=0) == {}
    poll.close()


def test_a_wake_up_that_comes_late_is_not_written_into_another_file():
    poll = Poll()
    poll.close()
    ours, its = os.pipe()  # takes the numbers that have become free
    os.set_blocking(ours, False)
    poll.wake()
    os.close(its)
    assert os.read(ours, 1) == b""
    os.close(ours)


def test_a_pipe_whose_reader_is_gone_is_told():
    poll = Poll()
    ours, its = os.pipe()
    os.close(ours)
    assert list_gone(poll.wait({its: 0}, limit_s=60)) == [its]
    os.close(its)
    poll.close()
