"""Which environment variables are recorded, and who reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from triage.redaction import redact_variables

_GROUPS: Mapping[str, re.Pattern[str]] = {
    "vllm": re.compile(r"VLLM_"),
    "rocm": re.compile(
        r"HIP|HSA_|HCC_|ROC|RCCL_|NCCL_|MIOPEN_|AMD_|AMDGPU|GPU_|KFD_|TENSILE_|AITER_|CK_|HIPBLASLT_|ROCBLAS_|RSMI_"
    ),
    "torch": re.compile(r"TORCH|PYTORCH_|TRITON_|CUDA|CUBLAS_|OMP_|MKL_|KMP_|GOMP_|OPENBLAS_|ATEN_|LIBTORCH"),
    "hf": re.compile(r"HF_|HUGGING|TRANSFORMERS_|TOKENIZERS_|SAFETENSORS_|DATASETS_"),
    "ci": re.compile(r"BUILDKITE|CI$|GITHUB_|SLURM"),
    "paths": re.compile(r"(LD_\w+|PYTHON\w*|PATH|VIRTUAL_ENV|CONDA_\w+|TMPDIR|\w*CACHE\w*|\w+_HOME)$"),
}
# A shell's own, and what a desktop or a terminal adds: no test reads them.
_SESSION = re.compile(
    r"(_|PWD|OLDPWD|SHLVL|TERM\w*|COLORTERM|LS_COLORS|LESS\w*|PS\d|PROMPT\w*|HIST\w*|EDITOR|PAGER|MAIL|DISPLAY|WINDOWID|"
    r"SSH_\w+|XDG_\w+|DBUS_\w+|GPG_\w+|TMUX\w*|STY|VSCODE_\w+|GIT_ASKPASS|JPY_\w+|BASH_FUNC\w*.*|SUDO_\w+)$"
)


def read_variables(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """The variables that a test may read, redacted, by name; and their names by group.

    >>> variables, groups = read_variables({"HSA_ENABLE_SDMA": "0", "SHLVL": "1", "CI": "true"})
    >>> variables, groups
    ({'CI': 'true', 'HSA_ENABLE_SDMA': '0'}, {'rocm': ('HSA_ENABLE_SDMA',), 'ci': ('CI',)})
    """
    kept = {name: environ[name] for name in sorted(environ) if not _SESSION.match(name)}
    grouped: dict[str, list[str]] = {group: [] for group in (*_GROUPS, "other")}
    for name in kept:
        grouped[find_group(name)].append(name)
    return redact_variables(kept), {group: tuple(names) for group, names in grouped.items() if names}


def find_group(name: str) -> str:
    """Who reads a variable: ``vllm``, ``rocm``, ``torch``, ``hf``, ``ci``, ``paths``, or ``other``.

    >>> find_group("HSA_NO_SCRATCH_RECLAIM"), find_group("HF_HOME"), find_group("LC_ALL")
    ('rocm', 'hf', 'other')
    """
    return next((group for group, pattern in _GROUPS.items() if pattern.match(name)), "other")
