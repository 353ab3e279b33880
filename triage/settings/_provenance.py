"""Where the software of a box comes from: container image, kernel, vLLM's commit, models in the Hub cache."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import psutil

from triage.engine.hub import find_hub_cache
from triage.machine.asking import run_tool
from triage.redaction import redact_text
from triage.settings._record import HubModel

_IMAGE_VARIABLES = (
    "BUILDKITE_PLUGIN_DOCKER_IMAGE",
    "DOCKER_IMAGE",
    "CONTAINER_IMAGE",
    "IMAGE_NAME",
    "APPTAINER_CONTAINER",
)
_IMAGE_NOTES = "app/versions.txt"  # what vLLM's and AMD's images write of the commits they were built from
_GIT_LIMIT_S = 1.0
_COMMIT = re.compile(r"__commit_id__ = commit_id = ['\"]([0-9a-zA-Z]+)['\"]")


def read_machine(environ: Mapping[str, str], *, root: Path = Path("/")) -> dict[str, str]:
    """Kernel, C library, processor, memory, Python and container, by name."""
    system = _read_pairs(root / "etc/os-release", separator="=")
    found = {
        "container": _find_container(root),
        "container_image": next((environ[name] for name in _IMAGE_VARIABLES if environ.get(name)), None),
        "cpu": _read_pairs(root / "proc/cpuinfo", separator=":").get("model name"),
        "cpus": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "machine": platform.machine(),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.0f}",
        "os": system.get("PRETTY_NAME"),
        "python": platform.python_version(),
        "python_compiler": platform.python_compiler(),
        "shm_gib": _measure_shm(root),
    }
    notes = _read_pairs(root / _IMAGE_NOTES, separator=":")
    found |= {f"image.{name}": value for name, value in notes.items()}
    return {name: redact_text(value) for name, value in sorted(found.items()) if value}


def _find_container(root: Path) -> str | None:
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    return "apptainer" if (root / ".singularity.d").exists() else None


def _measure_shm(root: Path) -> str | None:
    try:
        room = os.statvfs(root / "dev/shm")
    except OSError:
        return None
    return f"{room.f_blocks * room.f_frsize / 2**30:.1f}"


def _read_pairs(path: Path, *, separator: str) -> dict[str, str]:
    """Lines of a name and a value; the first of a name counts."""
    found: dict[str, str] = {}
    try:
        lines = path.read_text(errors="replace").splitlines()[:400]
    except OSError:
        return found
    for line in lines:
        name, between, value = line.partition(separator)
        if between and value.strip():
            found.setdefault(name.strip(), value.strip().strip('"'))
    return found


def read_source() -> dict[str, str]:
    """Where the installed vLLM was built from: its commit, and of a checkout also whether it was changed."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        return {}
    package = Path(spec.origin).parent
    found = {"path": redact_text(str(package))}
    if (package.parent / ".git").exists():
        git = ["git", "-C", str(package.parent)]
        commit = run_tool([*git, "rev-parse", "HEAD"], limit_s=_GIT_LIMIT_S).text
        changed = run_tool([*git, "status", "--porcelain", "--untracked-files=no"], limit_s=_GIT_LIMIT_S).text
        if commit:
            found["commit"] = commit.strip()
        if changed is not None:
            found["changed_files"] = str(len(changed.splitlines()))
        return found
    return found | _read_recorded_commit(package)


def _read_recorded_commit(package: Path) -> dict[str, str]:
    """What the build wrote down: setuptools-scm's file, or pip's note of a URL."""
    try:
        if match := _COMMIT.search((package / "_version.py").read_text(errors="replace")):
            return {"commit": match[1]}
    except OSError:
        pass
    for note in package.parent.glob("vllm*.dist-info/direct_url.json"):
        try:
            held = json.loads(note.read_text())
        except (OSError, ValueError):
            continue
        commit = held.get("vcs_info", {}).get("commit_id") if isinstance(held, dict) else None
        if commit:
            return {"commit": str(commit)}
    return {}


def read_hub(environ: Mapping[str, str]) -> dict[str, HubModel]:
    """The models of the Hub cache with their commits, from the names in its folders; no blob is looked at."""
    cache = find_hub_cache(environ)
    found = {}
    for folder in sorted(cache.glob("models--*")):
        name = folder.name.removeprefix("models--").replace("--", "/", 1)
        refs = {ref.relative_to(folder / "refs").as_posix(): ref for ref in sorted((folder / "refs").rglob("*"))}
        found[name] = HubModel(
            refs={name: path.read_text(errors="replace").strip() for name, path in refs.items() if path.is_file()},
            revisions=tuple(sorted(path.name for path in (folder / "snapshots").glob("*"))),
        )
    return found
