"""What the library raises. Every error says what happened and where; its `hint` says what to do next.

::

    TriageError
    ├── InputError            the caller's input: a case, a parameter, a file      (exit 2)
    │   ├── UnknownCaseError
    │   ├── ParameterError
    │   ├── CheckpointError
    │   ├── SnapshotError
    │   ├── LogError
    │   └── RuleError
    └── MachineError           the machine: a missing package, a dead server        (exit 3)
        ├── MissingDependencyError
        ├── UnsupportedVersionError
        ├── EngineError
        └── StorageError
"""


class TriageError(Exception):
    """The root of all errors that triage raises on purpose.

    ``hint`` is the mend: one sentence or a command, never empty at the leaves.

    >>> str(InputError("No case is called 'e6'.", hint="Run `triage cases`."))
    "No case is called 'e6'. Run `triage cases`."
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class InputError(TriageError):
    """The input cannot be used as it is: nothing was run, nothing was written."""

    exit_code = 2


class UnknownCaseError(InputError):
    """No case of the catalogue has this id."""


class ParameterError(InputError):
    """Notebook parameters that do not exist or have the wrong type; lists all of them."""


class CheckpointError(InputError):
    """A model folder or checkpoint file that is missing, empty or broken."""


class SnapshotError(InputError):
    """A tokenizer snapshot that is missing or cannot be read."""


class LogError(InputError):
    """A log that is missing, cannot be read, or is not what its name says."""


class RuleError(InputError):
    """A rule for logs that does not compile, contradicts its own example, or is not a rule."""


class MachineError(TriageError):
    """The machine, not the input, stands in the way."""


class MissingDependencyError(MachineError):
    """A package that this operation needs is not installed."""


class UnsupportedVersionError(MachineError):
    """The installed version of vLLM keeps a name somewhere triage does not know."""


class EngineError(MachineError):
    """A vLLM server or probe died, or did not become ready in time."""


class StorageError(MachineError):
    """Output could not be written: a full disk, a read-only folder."""
