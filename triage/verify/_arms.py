"""The arms of a verification: the same command in the same place, of code with and without the change."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triage.errors import InputError
from triage.verify._attempt import ArmName
from triage.verify._git import copy_revision, find_repository, list_changed, list_uncommitted, read_revision
from triage.verify._overlay import link_packages, own_files, split_files
from triage.verify._patch import Patch, apply_patch, read_patch

OVERLAY = "{overlay}"  # in a command: the folder of the arm's overlay


@dataclass(frozen=True, kw_only=True)
class Change:
    """What the after arm has and the base has not; several may come together."""

    patch: Path | None = None
    revision: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    command: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether both arms would be the same."""
        return not (self.patch or self.revision or self.env or self.arguments or self.command)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm: the command, where it runs, and the variables that it has beside the driver's own."""

    name: ArmName
    command: tuple[str, ...]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The arms, ready to run.

    ``changed`` are the files, by arm, of which a run must open one to be touched by the change. ``description`` is what
    the receipt says of them, ``notes`` what the user should know.
    """

    arms: Mapping[ArmName, Arm]
    changed: Mapping[ArmName, tuple[Path, ...]]
    description: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def prepare_arms(
    command: Sequence[str],
    *,
    folder: Path,
    work: Path,
    change: Change,
    packages: Path | None = None,
    env: Mapping[str, str] | None = None,
    revert: bool = False,
) -> Setup:
    """Makes the copies below ``work``. Nothing of ``folder`` or its repository is written.

    In a repository each arm has a working tree of HEAD, and the command runs in the same place of it. ``packages`` is a
    folder of importable packages, or one package: then the patch goes onto an overlay of it, which comes first on the
    PYTHONPATH unless the command itself names it as `OVERLAY`. ``env`` are variables of both arms. ``revert``
    adds the arm without the change again.

    Raises `InputError` where the arms cannot be made, or would be the same.
    """
    if not command:
        raise InputError(
            "There is no command to run.", hint="Give it after two dashes: triage verify --patch F -- pytest …"
        )
    if change.is_empty:
        raise InputError(
            "Before and after are the same.",
            hint="Say what is new: --patch, --revision, --env, --args or --after-command.",
        )
    patch = read_patch(change.patch) if change.patch else None
    folder = folder.resolve()
    repository = find_repository(folder)
    names = [ArmName.BEFORE, ArmName.AFTER, *([ArmName.REVERTED] if revert else [])]
    builder = _Builder(work=work.absolute(), folder=folder, repository=repository, change=change, patch=patch)
    if packages is not None:
        builder.lay_over(names, packages)
    elif repository is None and (patch or change.revision):
        raise InputError(
            f"{folder} is in no git repository, so there is nothing to put the change onto.",
            hint="Run it in a checkout, or name an installed package: --package vllm.",
        )
    if repository is not None:
        builder.copy_repository(names)
    return builder.finish(names, tuple(command), dict(env or {}))


@dataclass(kw_only=True)
class _Builder:
    work: Path
    folder: Path
    repository: Path | None
    change: Change
    patch: Patch | None
    overlays: dict[ArmName, Path] = field(default_factory=dict)
    copies: dict[ArmName, Path] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    description: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def lay_over(self, names: Sequence[ArmName], packages: Path) -> None:
        """The overlays, patched where they are to be."""
        if self.change.revision:
            raise InputError("An installed package has no revisions.", hint="Leave --revision or --package out.")
        one = (packages / "__init__.py").exists()
        beside: tuple[str, ...] = ()
        for name in names:
            overlay = self.work / name.value / "overlay"
            overlay = self.overlays[name] = overlay if one else overlay / packages.name
            link_packages(packages, overlay / packages.name if one else overlay)
            if self.patch is not None and name is not ArmName.BEFORE:
                self.files, beside = split_files(self.patch.files, overlay)
                own_files(self.files, overlay)
                apply_patch(self.patch, overlay, exclude=beside)
                if name is ArmName.REVERTED:
                    apply_patch(self.patch, overlay, exclude=beside, reverse=True)
        if beside:
            self.notes.append(f"Left out of the patch, as no wheel holds it: {', '.join(beside)}.")
        self.description |= {"overlay_of": packages.name, "left_out": list(beside)}

    def copy_repository(self, names: Sequence[ArmName]) -> None:
        """The working trees, patched or of another revision where they are to be."""
        repository = self.repository
        if repository is None:
            return
        head = read_revision(repository)
        after = read_revision(repository, self.change.revision) if self.change.revision else head
        patch = None if self.overlays else self.patch
        if self.change.revision and after == head:
            raise InputError(f"{self.change.revision} is HEAD.", hint="Name the revision with the fix.")
        for name in names:
            copy = self.copies[name] = self.work / name.value / "checkout"
            copy_revision(repository, copy, after if name is ArmName.AFTER else head)
            if patch is not None and name is not ArmName.BEFORE:
                apply_patch(patch, copy)
                if name is ArmName.REVERTED:
                    apply_patch(patch, copy, reverse=True)
        if not self.overlays:
            self.files = patch.files if patch else ()
            if after != head:
                self.files = (*self.files, *list_changed(repository, head, after))
        self.description |= {"base_revision": head} | ({"after_revision": after} if after != head else {})
        if left := list_uncommitted(repository):
            shown = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
            self.notes.append(f"Both arms start from HEAD; what is not committed is in neither of them: {shown}.")

    def finish(self, names: Sequence[ArmName], command: tuple[str, ...], env: dict[str, str]) -> Setup:
        """The arms of all that has been made."""
        change = self.change
        command = self._check_words(command)
        after = self._check_words(tuple(change.command)) if change.command else command
        after = (*after, *change.arguments)
        if not (change.patch or change.revision) and after == command and {**env, **change.env} == env:
            raise InputError("Before and after are the same.", hint="Say what is new.")
        arms = {}
        for name in names:
            variables = env | (dict(change.env) if name is ArmName.AFTER else {})
            words = after if name is ArmName.AFTER else command
            overlay = str(self.overlays.get(name, ""))
            arms[name] = Arm(
                name=name,
                command=tuple(word.replace(OVERLAY, overlay) if overlay else word for word in words),
                folder=self._find_place(name),
                env=self._add_paths(name, variables, is_named=any(OVERLAY in word for word in words)),
            )
        patch = self.patch
        self.description |= {
            "patch": patch and {"sha256": patch.sha256, "files": list(patch.files)},
            "env": dict(change.env),
            "command": list(command),
            "after_command": list(after),
        }
        return Setup(arms=arms, changed=self._list_changed(), description=self.description, notes=tuple(self.notes))

    def _find_place(self, name: ArmName) -> Path:
        if self.repository is None:
            return self.folder
        inside = self.folder.relative_to(self.repository)
        place = self.copies[name] / inside
        if not place.is_dir():
            raise InputError(f"{inside} is not in HEAD, so the copies do not have it.", hint="Commit it first.")
        return place

    def _check_words(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """The command with a program that only the working tree has (``.venv/bin/python``) by its whole path."""
        if self.repository is None or not self.copies:
            return command
        place = self._find_place(ArmName.BEFORE)
        program = command[0]
        if "/" in program and not (place / program).exists() and (self.folder / program).exists():
            command = (str(self.folder / program), *command[1:])
        for word in command[1:]:
            path = word.partition("::")[0]
            if not path or path.startswith(("-", "/", "~")) or _exists(place / path):
                continue
            if _exists(self._find_place(ArmName.AFTER) / path):
                raise InputError(
                    f"Only the after arm has {path}: the base cannot fail a test that it does not have.",
                    hint="Commit the test on its own, and verify the fix against that.",
                )
            if _exists(self.folder / path) and (self.folder / path).is_file():
                raise InputError(
                    f"{path} is not committed, so neither arm has it.", hint="Commit it, or name it by its whole path."
                )
        return command

    def _add_paths(self, name: ArmName, env: dict[str, str], *, is_named: bool) -> dict[str, str]:
        """PYTHONPATH: the overlay, then the copy's own place of each folder that Python imports of the working tree.

        Else an editable install would give both arms the code of the working tree.
        """
        paths = [self.overlays[name]] if name in self.overlays and not is_named else []
        if self.repository is not None:
            given = env.get("PYTHONPATH", os.environ.get("PYTHONPATH", "")).split(os.pathsep)
            roots = [Path(entry) for entry in (*given, *sys.path) if entry and os.path.isabs(entry)]
            inside = [root.relative_to(self.repository) for root in roots if root.is_relative_to(self.repository)]
            paths += [copy for root in dict.fromkeys(inside) if (copy := self.copies[name] / root).is_dir()]
        if not paths:
            return env
        rest = env.get("PYTHONPATH", os.environ.get("PYTHONPATH"))
        return env | {"PYTHONPATH": os.pathsep.join([*map(str, paths), *filter(None, [rest])])}

    def _list_changed(self) -> dict[ArmName, tuple[Path, ...]]:
        """The changed files that exist in each arm; one that the change removes exists in the base alone."""
        found = {}
        for name in (ArmName.BEFORE, ArmName.AFTER):
            root = self.overlays.get(name) or self.copies.get(name)
            paths = [root / file for file in self.files] if root else []
            found[name] = tuple(path for path in paths if path.is_file())
        only_before = {p.relative_to(self.work / ArmName.BEFORE.value) for p in found[ArmName.BEFORE]}
        only_before -= {p.relative_to(self.work / ArmName.AFTER.value) for p in found[ArmName.AFTER]}
        found[ArmName.BEFORE] = tuple(self.work / ArmName.BEFORE.value / path for path in sorted(only_before))
        return found


def _exists(path: Path) -> bool:
    """Whether a word of a command names a file; a text that no file can be called does not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
