"""oom_killed: it takes more memory than its group may."""

held = bytearray()
while True:
    held += bytearray(1 << 22)
