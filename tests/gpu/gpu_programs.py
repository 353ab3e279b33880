"""Programs that hang on a GPU, or seem to, for a bounded time. Each says where it is before it waits.

Every one of them lets the GPU go after about a minute by itself, so that a lost test harms no machine.
"""

# A kernel that spins on a flag that nobody sets, for a bounded count. How long a turn takes is measured first, so that
# it lasts about a minute on any GPU.
SPIN = """
import os, time
import torch, triton
import triton.language as tl

@triton.jit
def spin(flag, limit):
    count = 0
    while (tl.atomic_add(flag, 0) == 0) & (count < limit):
        count += 1

flag = torch.zeros(1, dtype=torch.int32, device="cuda")
for turns in (1000, 200_000):  # the first compiles it
    began = time.perf_counter()
    spin[(1,)](flag, turns)
    torch.cuda.synchronize()
limit = min(2**31 - 1, int(200_000 * 60 / (time.perf_counter() - began)))
os.write(1, b"ready\\n")
spin[(1,)](flag, limit)
torch.cuda.synchronize()
"""

# A stream whose next step is a function of the host that does not return: the GPU has nothing to do, and the host
# waits for the stream. cudaLaunchHostFunc and hipLaunchHostFunc take (stream, function, argument).
IDLE = """
import ctypes, os, time
import torch

torch.cuda.init()
held = torch.zeros(1 << 28, dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
names = ("hip", "libamdhip64") if torch.version.hip else ("cuda", "libcudart")
paths = {line.split()[-1] for line in open("/proc/self/maps") if names[1] in line}
runtime = ctypes.CDLL(sorted(paths)[0])
libc = ctypes.CDLL(None)  # its sleep runs in the runtime's thread, without Python
stream = torch.cuda.Stream()
launch = getattr(runtime, names[0] + "LaunchHostFunc")
launch.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
time.sleep(3)  # until the use of the start-up has left the figures
os.write(1, b"ready\\n")
assert launch(stream.cuda_stream, ctypes.cast(libc.sleep, ctypes.c_void_p), 60) == 0
stream.synchronize()
"""

# Memory that SIGKILL must free: the watch ends the program at its limit while a kernel still runs.
HOLD = SPIN.replace("flag = torch", 'held = torch.zeros(4 << 30, dtype=torch.uint8, device="cuda")\nflag = torch')
