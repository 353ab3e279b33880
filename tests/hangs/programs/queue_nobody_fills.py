"""host_deadlock: a thread waits for a queue that nobody fills."""

import queue

queue.Queue().get()
