"""Secrets of every kind, made up here from a seed, and ordinary values that must survive beside them."""

from __future__ import annotations

import base64
import html
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

_RANDOM = random.Random(42909)
_BASE62 = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


@dataclass(frozen=True)
class Planted:
    """A secret under a name; ``secret`` is the part of ``value`` that must not be seen."""

    name: str
    value: str
    secret: str


def _pick(alphabet: str, length: int) -> str:
    word = "".join(_RANDOM.choices(alphabet, k=length))
    return word if len(alphabet) < 17 or any(c.isdigit() for c in word) else f"{word[:-2]}7q"


def _plant(name: str, prefix: str, alphabet: str, length: int) -> Planted:
    value = prefix + _pick(alphabet, length)
    return Planted(name, value, value)


def _url_with(name: str, form: str) -> Planted:
    secret = _pick(_BASE62, 18)
    return Planted(name, form.format(secret), secret)


def _make_jwt(name: str) -> Planted:
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}), json.dumps({"sub": _pick(_HEX, 12)}), _pick(_BASE62, 24)]
    value = ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)
    return Planted(name, value, value)


def _make_pem(name: str, kind: str) -> Planted:
    body = base64.b64encode(_RANDOM.randbytes(300)).decode()
    lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
    return Planted(name, f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----", body[64:100])


# Known by the shape alone: each stands under a name that says nothing.
BY_SHAPE = (
    _plant("SETTING_A", "hf" + "_", _BASE62, 34),
    _plant("SETTING_B", "gh" + "p_", _BASE62, 36),
    _plant("SETTING_C", "gh" + "s_", _BASE62, 36),
    _plant("SETTING_D", "github" + "_pat_", _BASE62, 60),
    _plant("SETTING_E", "gl" + "pat-", _BASE62, 20),
    _plant("SETTING_F", "s" + "k-", _BASE62, 48),
    _plant("SETTING_G", "s" + "k-proj-", _BASE62, 60),
    _plant("SETTING_H", "s" + "k-ant-api03-", _BASE62, 80),
    _plant("SETTING_I", "s" + "k_live_", _BASE62, 24),
    _plant("SETTING_J", "AK" + "IA", string.ascii_uppercase + string.digits, 16),
    _plant("SETTING_K", "AS" + "IA", string.ascii_uppercase + string.digits, 16),
    _plant("SETTING_L", "xo" + "xb-", string.digits, 24),
    _plant("SETTING_M", "AI" + "za", _BASE62, 35),
    _plant("SETTING_N", "np" + "m_", _BASE62, 36),
    _plant("SETTING_O", "py" + "pi-", _BASE62, 100),
    _plant("SETTING_P", "dckr" + "_pat_", _BASE62, 27),
    _plant("SETTING_Q", "nv" + "api-", _BASE62, 64),
    _plant("SETTING_R", "gs" + "k_", _BASE62, 52),
    _plant("SETTING_S", "bk" + "ua_", _HEX, 40),
    _plant("SETTING_T", "hv" + "s.", _BASE62, 24),
    _plant("SETTING_U", "ya" + "29.", _BASE62, 60),
    _plant("SETTING_V", "dop" + "_v1_", _HEX, 64),
    _plant("SETTING_W", "SG" + ".", _BASE62, 22),
    _plant("SETTING_X", "gl" + "pat-", _BASE62 + "-_", 26),
    _make_jwt("SETTING_Y"),
    _make_pem("SETTING_Z", "RSA PRIVATE KEY"),
    _make_pem("SETTING_AA", "OPENSSH PRIVATE KEY"),
    _make_pem("SETTING_AB", "PRIVATE KEY"),
    _url_with("SETTING_AC", "https://ci:{}@git.example.org/vllm.git"),
    _url_with("SETTING_AD", "postgresql://triage:{}@db.example.org:5432/runs"),
    _url_with("SETTING_AE", "redis://:{}@cache.example.org:6379/0"),
    _url_with("SETTING_AF", "https://x-access-token:{}@github.example.org/a/b"),
    _url_with("SETTING_AG", "https://blob.example.org/w.bin?sv=2024&sig={}"),
    _url_with("SETTING_AH", "https://s3.example.org/w.bin?X-Amz-Signature={}"),
    _url_with("SETTING_AI", "https://hooks.slack.com/services/T0001/B0001/{}"),
    _url_with("SETTING_AJ", "Authorization: Bearer {}"),
    _url_with("SETTING_AK", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={}=="),
    # Random under any name.
    _plant("SETTING_AL", "", _BASE62, 32),
    _plant("SETTING_AM", "", _BASE62, 40),
    _plant("SETTING_AN", "", _BASE62, 64),
    _plant("SETTING_AO", "", _BASE62, 44),
    _plant("SETTING_AP", "", string.ascii_lowercase + string.digits, 40),
)
_SG = BY_SHAPE[22]
BY_SHAPE = (*BY_SHAPE[:22], Planted(_SG.name, f"{_SG.value}.{_pick(_BASE62, 43)}", _SG.value), *BY_SHAPE[23:])

# Known by the name alone: their values could be anything.
BY_NAME = (
    Planted("PASSWORD", "hunter2", "hunter2"),
    Planted("PGPASSWORD", "correct-horse-battery", "correct-horse-battery"),
    Planted("MYSQL_ROOT_PASSWORD", "opensesame!", "opensesame!"),
    Planted("DB_PASSWD", "winter2026", "winter2026"),
    Planted("SMTP_PWD", "mellon-friend", "mellon-friend"),
    Planted("GPG_PASSPHRASE", "swordfish-seven", "swordfish-seven"),
    Planted("VLLM_API_KEY", "local-test-1", "local-test-1"),
    Planted("OPENAI_API_KEY", "not-a-real-one", "not-a-real-one"),
    Planted("apiKey", "plainwords", "plainwords"),
    Planted("AWS_SECRET_ACCESS_KEY", "wJalr/K7MDENG+bPx", "wJalr/K7MDENG+bPx"),
    Planted("client_secret", "abcabcabc", "abcabcabc"),
    Planted("DJANGO_SECRET_KEY", "django-insecure-x", "django-insecure-x"),
    Planted("SLACK_SIGNING_SECRET", "feedfacefeed", "feedfacefeed"),
    Planted("SSH_PRIVATE_KEY", "AAAAbbbb", "AAAAbbbb"),
    Planted("ENCRYPTION_KEY", "letters-only-here", "letters-only-here"),
    Planted("AZURE_CREDENTIALS", "nothing-to-see", "nothing-to-see"),
    _plant("HF_TOKEN", "", _HEX, 40),
    _plant("HUGGING_FACE_HUB_TOKEN", "", string.ascii_lowercase + string.digits, 24),
    _plant("BUILDKITE_AGENT_ACCESS_TOKEN", "", _HEX, 32),
    _plant("WANDB_API_KEY", "", _HEX, 40),
    _plant("CODECOV_TOKEN", "", _HEX + "-", 36),
    _plant("SESSION_COOKIE", "", _BASE62, 20),
    _plant("DOCKER_AUTH", "", _BASE62, 28),
    _plant("refresh_token", "", _BASE62, 22),
    _plant("NGC_API_KEY", "", _BASE62, 84),
)

PLANTED = (*BY_SHAPE, *BY_NAME)

ORDINARY = {
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_ROCM_USE_AITER": "1",
    "VLLM_ROCM_USE_SKINNY_GEMM": "0",
    "VLLM_ROCM_CUSTOM_PAGED_ATTN": "True",
    "VLLM_ROCM_QUICK_REDUCE_QUANTIZATION": "INT4",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_ATTENTION_BACKEND": "TRITON_ATTN_VLLM_V1",
    "VLLM_KV_CACHE_LAYOUT": "NHD",
    "VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE": "163840",
    "VLLM_TEST_GROUP_NAME": "language-models-test-extended-pooling",
    "VLLM_CACHE_ROOT": "/var/cache/vllm",
    "VLLM_LOGGING_LEVEL": "DEBUG",
    "VLLM_COMMIT": "f80bd5a99c5ba5ac4b8d32a2eb7fa0be3dcf1dfe",
    "BUILDKITE_COMMIT": "16a991a0d4fd1d5a5b0d4f3e1a2b3c4d5e6f7a8b",
    "IMAGE_DIGEST": "sha256:9b74c9897bac770ffc029102a200c5de9b74c9897bac770ffc029102a200c5de",
    "BUILD_ID": "2f8b6a1c9d3e4f5061728394a5b6c7d8e9f00112",
    "BUILDKITE_JOB_ID": "0199f2c4-7d3a-4f6e-9b1c-2d3e4f5a6b7c",
    "HSA_OVERRIDE_GFX_VERSION": "9.4.2",
    "HSA_NO_SCRATCH_RECLAIM": "1",
    "HSA_ENABLE_SDMA": "0",
    "HIP_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7",
    "ROCR_VISIBLE_DEVICES": "GPU-3c1f0a2b9d8e7f60",
    "HIP_FORCE_DEV_KERNARG": "1",
    "GPU_MAX_HW_QUEUES": "2",
    "PYTORCH_ROCM_ARCH": "gfx90a;gfx942;gfx950;gfx1100;gfx1201",
    "PYTORCH_HIP_ALLOC_CONF": "expandable_segments:True,garbage_collection_threshold:0.8",
    "PYTORCH_TUNABLEOP_ENABLED": "1",
    "PYTORCH_TUNABLEOP_FILENAME": "/workspace/tunableop_results_gfx942_hipblaslt.csv",
    "HIPBLASLT_TENSILE_LIBPATH": "/opt/rocm-7.0.2/lib/hipblaslt/library",
    "TENSILE_KERNEL": "Cijk_Ailk_Bljk_HHS_BH_Bias_HA_S_SAV_UserArgs_MT128x128x64_MI16x16x1_SN_LDSB0_AFC1_AFEM1_ASEM1",
    "MIOPEN_USER_DB_PATH": "/var/cache/miopen/3.5.0.dev",
    "MIOPEN_FIND_MODE": "NORMAL",
    "NCCL_DEBUG": "INFO",
    "NCCL_MIN_NCHANNELS": "112",
    "RCCL_MSCCL_ENABLE": "0",
    "TORCH_BLAS_PREFER_HIPBLASLT": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor_root",
    "TRITON_CACHE_DIR": "/var/cache/triton",
    "OMP_NUM_THREADS": "16",
    "HF_HOME": "/var/cache/huggingface",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_TOKEN_PATH": "/var/cache/huggingface/token",
    "HF_HUB_DOWNLOAD_TIMEOUT": "60",
    "HF_HUB_OFFLINE": "1",
    "LD_LIBRARY_PATH": "/opt/rocm/lib:/usr/local/lib:/opt/rocm-7.0.2/lib/llvm/lib",
    "PYTHONHASHSEED": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "SNAPSHOT": "models--parasail-ai--GritLM-7B-vllm",
    "REVISION": "614241f622f53c4eeff9890bdc4f31cfecc418b3",
    "ARCHITECTURE": "TransformersMultiModalForCausalLM",
    "MODEL_CLASS": "Qwen2_5_VLForConditionalGeneration",
    "MODEL": "Qwen/Qwen3-30B-A3B-Instruct-2507-FP8",
    "eos_token": "<|endoftext|>",
    "pad_token": "[PAD]",
    "max_num_batched_tokens": "2048",
    "prompt_tokens": "286",
    "num_key_value_heads": "8",
    "kv_cache_dtype": "fp8_e4m3fnuz",
    "key": "model.layers.0.self_attn.q_proj.weight",
    "KEY_FILE": "/run/keys/id_ed25519",
    "API_KEY_REQUIRED": "false",
    "SYMBOL": "_ZN4vllm14LLMEngineCore12step_with_batchERKSt6vectorIiSaIiEE",
    "TEST": "tests/models/language/pooling/test_gritlm.py::test_gritlm_offline_embedding[parasail-ai/GritLM-7B-vllm]",
    "KERNEL": "void rocprim::ROCPRIM_400000_NS::detail::trampoline_kernel<float>",
    "SOURCE_DATE_EPOCH": "1732464000",
    "LIBRARY": "librocblas.so.5.0.70002",
    "WHEEL": "vllm-0.22.1+rocm722-cp312-cp312-manylinux_2_35_x86_64.whl",
    "INTEGRITY": "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    "UUID": "GPU-5bd0c7b2-9d1a-4f6e-b3a8-0c1d2e3f4a5b",
    "AGENT": "0x34a5fb20",
    "SHAPES": "float16[4096,14336]",
    "DATE": "2026-11-23T15:34:50.123456Z",
}


def _in_notebook(name: str, value: str) -> str:
    """An output of a cell that printed JSON."""
    printed = json.dumps({name: value})
    return json.dumps({"cells": [{"outputs": [{"name": "stdout", "text": [printed + "\n"]}]}]}, indent=1)


# How a value comes to stand in a record.
CONTEXTS: dict[str, Callable[[str, str], str]] = {
    "shell": lambda name, value: f"+ export {name}={value}\n",
    "log line": lambda name, value: f"INFO 11-23 15:34:50 [api_server.py:1] env: {name}: {value}\n",
    "python": lambda name, value: f"Environment variables: {{{name!r}: {value!r}, 'A': '1'}}\n",
    "json": lambda name, value: json.dumps({"deep": [{"env": {name: value, "n": 1}}]}, indent=1),
    "notebook": _in_notebook,
    "html table": lambda name, value: (
        f"<tr><td><code>{name}</code></td><td><code>{html.escape(value)}</code></td></tr>"
    ),
    "html code": lambda name, value: f"<pre>{html.escape(json.dumps({name: value}))}</pre>",
}


def write_forms(value: str) -> set[str]:
    """The ways in which a value is escaped in those contexts."""
    once = json.dumps(value)[1:-1]
    return {value, once, json.dumps(once)[1:-1], html.escape(value), html.escape(once), repr(value)[1:-1]}
