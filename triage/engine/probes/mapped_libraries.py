"""Run as ``python mapped_libraries.py REQUEST ANSWER``: which shared libraries a process maps, by name.

In a process of its own, since a library that is loaded stays loaded, and one that does not fit may end its loader.
"""

import ctypes
import importlib
import json
import os
import re
import sys
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

_NAME = re.compile(r"(?P<name>lib.+?|_\w+?)(-[0-9a-f]{8,})?(\.abi3|\.cpython-[\w-]+)?\.so(\.(?P<version>[\w.]+))?")
_SYSTEM = ("lib-dynload", "/gconv/", "/locale/")


def list_mapped(pid: str) -> list[str]:
    """The files of a process's mappings that are shared libraries, without Python's own extensions."""
    paths: dict[str, None] = {}
    for line in Path(f"/proc/{pid}/maps").read_text(errors="backslashreplace").splitlines():
        path = line.split(maxsplit=5)[-1]
        if path.startswith("/") and ".so" in os.path.basename(path) and not any(part in path for part in _SYSTEM):
            paths[path] = None
    return sorted(paths)


def read_build_id(path: str) -> str | None:
    """The linker's note in an ELF file; None without one."""
    try:
        with open(path, "rb") as file:
            section = ELFFile(file).get_section_by_name(".note.gnu.build-id")
            notes = section.iter_notes() if section is not None else ()
            return next((note["n_desc"] for note in notes if note["n_type"] == "NT_GNU_BUILD_ID"), None)
    except (OSError, ELFError, ValueError, AttributeError):
        return None


def describe(paths: list[str]) -> dict[str, dict[str, str | None]]:
    """By name; two copies of one library in one process stand under the names of their files."""
    found: dict[str, dict[str, str | None]] = {}
    for path in paths:
        match = _NAME.fullmatch(os.path.basename(os.path.realpath(path)))
        if match is None:
            continue
        name = f"{match['name']}.so"
        name = name if name not in found else f"{name} ({os.path.basename(path)})"
        found[name] = {"version": match["version"], "build_id": read_build_id(path), "path": path}
    return dict(sorted(found.items()))


def read_own_versions(paths: list[str]) -> dict[str, str]:
    """What libraries that are loaded here say of themselves; none of these calls needs a GPU."""
    told = {}
    for path in paths:
        name = os.path.basename(path).partition(".so")[0]
        try:
            version = _ASKERS[name](ctypes.CDLL(path)) if name in _ASKERS else None
        except (OSError, AttributeError, ValueError):
            continue
        if version:
            told[f"{name}.so"] = version
    return told


def _ask_rccl(library: ctypes.CDLL) -> str:
    number = ctypes.c_int()
    library.ncclGetVersion(ctypes.byref(number))
    major, rest = divmod(number.value, 10_000)  # NCCL_VERSION_CODE, since 2.9
    return f"{major}.{rest // 100}.{rest % 100}"


def _ask_miopen(library: ctypes.CDLL) -> str:
    numbers = [ctypes.c_size_t() for _ in range(3)]
    library.miopenGetVersion(*map(ctypes.byref, numbers))
    return ".".join(str(number.value) for number in numbers)


def _ask_rocblas(library: ctypes.CDLL) -> str:
    text = ctypes.create_string_buffer(128)
    library.rocblas_get_version_string(text, ctypes.c_size_t(len(text)))
    return text.value.decode()


_ASKERS = {"librccl": _ask_rccl, "libnccl": _ask_rccl, "libMIOpen": _ask_miopen, "librocblas": _ask_rocblas}


def main(asked: str, answered: str) -> None:
    """Loads, reads the mappings, and only then asks the libraries themselves: one that crashes takes nothing away."""
    request = json.loads(Path(asked).read_text())
    pid = request["pid"]
    try:
        if request["with_import"]:
            for module in ("torch", "vllm", "vllm._custom_ops"):  # the last brings vLLM's kernels
                importlib.import_module(module)
        for path in request["load"]:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        paths = list_mapped("self" if pid is None else str(pid))
    except (OSError, ImportError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        subject = "torch's libraries cannot be loaded" if pid is None else f"Process {pid} cannot be read"
        _answer(answered, {"error": f"{subject} ({reason})."})
        return
    libraries = describe(paths)
    _answer(answered, {"libraries": libraries})
    if pid is None:
        for name, version in read_own_versions(paths).items():
            libraries[name]["version"] = version
        _answer(answered, {"libraries": libraries})


def _answer(path: str, answer: dict[str, object]) -> None:
    Path(f"{path}.new").write_text(json.dumps(answer))
    os.replace(f"{path}.new", path)


if __name__ == "__main__":
    main(*sys.argv[1:3])
