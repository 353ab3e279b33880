"""Commands whose whole process tree ends when they end, when they are told to, or when their owner dies.

>>> import sys
>>> with start_guarded([sys.executable, "-c", "print('hello')"]) as command:
...     command.wait(timeout_s=30)
0
"""

from triage.processes._guarded import Ending, Guarded, Orphan, start_guarded

__all__ = ["Ending", "Guarded", "Orphan", "start_guarded"]
