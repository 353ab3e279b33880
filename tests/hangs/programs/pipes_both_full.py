"""host_deadlock: two processes write to each other, and neither reads before it is done."""

import os

down, up = os.pipe(), os.pipe()
theirs, own = (up, down) if os.fork() == 0 else (down, up)
with open(theirs[1], "wb") as out:
    out.write(b"x" * 1_000_000)
os.read(own[0], 1)
