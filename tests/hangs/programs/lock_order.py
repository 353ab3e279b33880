"""host_deadlock: two threads take two locks in opposite order."""

import threading

first, second, both = threading.Lock(), threading.Lock(), threading.Barrier(2)


def take(one: threading.Lock, other: threading.Lock) -> None:
    with one:
        both.wait()
        with other:
            pass


threading.Thread(target=take, args=(first, second)).start()
take(second, first)
