"""Runs a command, and all that it starts, where ptrace is refused as in a container: ``python refuse_ptrace.py CMD…``.

A real seccomp filter answers EPERM to ptrace and process_vm_readv, for the command and every child of it.
"""

import ctypes
import os
import platform
import struct
import sys

_NUMBERS = {"x86_64": (101, 310), "aarch64": (117, 270)}
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERRNO_EPERM, _ALLOW = 0x00050001, 0x7FFF0000
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def refuse() -> None:
    """Installs the filter for this process."""
    ptrace, read_memory = _NUMBERS[platform.machine()]
    code = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, 0),  # the number of the call
            (_JUMP_IF_EQUAL, 2, 0, ptrace),
            (_JUMP_IF_EQUAL, 1, 0, read_memory),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _ERRNO_EPERM),
        )
    )
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_NO_NEW_PRIVS, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    refuse()
    os.execvp(sys.argv[1], sys.argv[1:])
