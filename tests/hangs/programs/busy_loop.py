"""slow_progress: a loop of Python that never ends."""

while True:
    pass
