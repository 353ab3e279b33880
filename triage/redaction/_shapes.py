"""What a secret looks like, whatever it is called: the issuers' own prefixes, and long random strings."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

# Each issuer documents its prefix so that scanners can find it. A word character in front makes it another word.
_ISSUED = (
    r"hf_[A-Za-z0-9]{16,}",
    r"api_org_[A-Za-z0-9]{16,}",
    r"gh[pousr]_[A-Za-z0-9]{16,}",
    r"github_pat_\w{20,}",
    r"gl(?:pat|dt|rt|cbt|ptt|ft|agent|soat)-[\w-]{16,}",
    r"sk-(?=[A-Za-z_-]*\d)[\w-]{16,}",
    r"[sprw]k_(?:live|test)_[A-Za-z0-9]{10,}",
    r"whsec_[A-Za-z0-9+/=]{16,}",
    r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[0-9A-Z]{12,}",
    r"xox[abeoprs]-[\w-]{10,}",
    r"xapp-[\w-]{10,}",
    r"AIza[\w-]{30,}",
    r"ya29\.[\w-]{20,}",
    r"GOCSPX-[\w-]{20,}",
    r"npm_[A-Za-z0-9]{30,}",
    r"pypi-[\w-]{16,}",
    r"dckr_(?:pat|oat)_[\w-]{16,}",
    r"nvapi-[\w-]{16,}",
    r"gsk_[A-Za-z0-9]{20,}",
    r"xai-[A-Za-z0-9]{20,}",
    r"r8_[A-Za-z0-9]{20,}",
    r"bk(?:ua|aj|pt|ct|at)_[A-Za-z0-9]{16,}",
    r"dop_v1_[a-f0-9]{32,}",
    r"hv[sbr]\.[\w-]{20,}",
    r"sntry[su]_[\w+/=-]{20,}",
    r"tskey-[\w-]{16,}",
    r"lin_api_\w{20,}",
    r"ATATT3[\w=-]{20,}",
    r"SG\.[\w-]{16,}\.[\w-]{16,}",
    r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{20,}",
    r"AGE-SECRET-KEY-1[A-Z0-9]{20,}",
    r"eyJ[\w-]{8,}\.(?:eyJ)?[\w-]{8,}\.[\w-]*",
)
ISSUED = re.compile(rf"(?<![A-Za-z0-9_]){'(?:' + '|'.join(_ISSUED) + ')'}")
# A key in PEM armour, its lines broken by newlines or by their escapes, whole or cut off.
PEM = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----(?:[A-Za-z0-9+/=:,.\s\\\"'-]|&#?\w+;){0,20000}?"
    r"(?:-----END (?P=kind)-----|(?=\n\s*\n)|\Z|(?=[<{}]))"
)
# The password of a URL, and what its query is signed with.
URL_PASSWORD = re.compile(r"(?P<keep>\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>\\]{0,200}):[^\s/@\"'<>\\]{1,400}(?=@)")
URL_TOKEN = re.compile(r"(?P<keep>\b[a-z][a-z0-9+.-]{1,20}://)[A-Za-z0-9_-]{20,400}(?=@)")
URL_QUERY = re.compile(
    r"(?P<keep>(?:[?&]|&amp;|\\u0026)(?:sig|signature|x-amz-[a-z-]+|x-goog-[a-z-]+|access_token|auth_token|token|api_?key|"
    r"key|password|secret|code)=)[^\s&\"'<>\\]{6,}",
    re.IGNORECASE,
)
WEBHOOK = re.compile(
    r"(?P<keep>https://(?:hooks\.slack\.com/(?:services|workflows|triggers)|[\w.]*discord(?:app)?\.com/api/webhooks|"
    r"[\w-]+\.webhook\.office\.com/[\w]+)/)[\w@/-]{10,}"
)
BEARER = re.compile(r"(?P<keep>\bBearer\s+)(?=[^\s\"'<>]*\d|[^\s\"'<>]{20})[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
BASIC = re.compile(
    r"(?P<keep>\bAuthorization(?:\\*[\"']|&\w+;|\s)*[:=](?:\\*[\"']|&\w+;|\s)*(?:Basic|Digest|Token|ApiKey)\s+)"
    r"[A-Za-z0-9._~+/=:-]{6,}",
    re.IGNORECASE,
)
CONNECTION = re.compile(
    r"(?P<keep>\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|SharedSecret)=)[A-Za-z0-9+/=%_-]{10,}"
)

# What may be random and is public: pictures, digests with their name, keys that one gives away.
_RUN = re.compile(r"(?<![A-Za-z0-9+/_.@-])[A-Za-z0-9+/_-]{24,200}={0,2}(?![A-Za-z0-9+/_=-])")
_PUBLIC = ("sha256-", "sha384-", "sha512-", "iVBOR", "R0lGOD", "/9j/", "PHN2Zy", "AAAAB3NzaC1", "AAAAC3NzaC1", "_Z")
_PIECE = re.compile(r"[A-Za-z0-9]+")
_HEX = re.compile(r"[0-9a-fA-F-]+")
_HEX_SECRET = re.compile(r"(?:[0-9a-f]{32,}|[0-9A-F]{32,})")
_HEX_PUBLIC_NAME = re.compile(
    r"sha|commit|rev|hash|digest|uuid|guid|checksum|build|version|tag|image|branch|id\b|_id|change|etag|snapshot|job",
    re.IGNORECASE,
)
_UUID = re.compile(r"(?:[A-Za-z]{2,8}-)?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_CAMEL = re.compile(r"[A-Z][a-z]{2,}")
_CAMEL_SHARE = 0.55
_ORDERED = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+\d*|\d+")
_PIECE_CHARS = 16
_PLAIN_CHARS = 22  # a piece of one case needs more to be told from a word with a number
_BITS = 3.2
_RATIO = 0.26


def find_random(text: str) -> list[tuple[int, int]]:
    """Where long random strings stand; digests in hexadecimal are none, since commits and build ids look alike.

    >>> find_random("SETTING=q9Xv2LmT7bRz4KpW8sYd3NfG")
    [(8, 32)]
    >>> find_random("TransformersMultiModalForCausalLM f80bd5a99c5ba5ac4b8d32a2eb7fa0be3dcf1dfe")
    []
    """
    return [match.span() for match in _RUN.finditer(text) if is_random(match[0])]


def is_random(run: str) -> bool:
    """Whether a run of letters and digits is too disorderly to be a word, a path or the name of a kernel."""
    if run.startswith(_PUBLIC) or _HEX.fullmatch(run) or _UUID.fullmatch(run):
        return False
    pieces = _PIECE.findall(run)
    if any(_is_disorderly(piece) for piece in pieces):
        return True
    # base64 has separators of its own: what they part is no word, and few of the pieces are short.
    parted = len(pieces) <= 2 + len(run) // 10 and not any(_is_word(piece) for piece in pieces)
    return parted and _is_disorderly("".join(pieces))


def is_random_hex(name: str, value: str) -> bool:
    """Whether a value is a random number in hexadecimal under a name that does not say digest, commit or id.

    >>> is_random_hex("DD_APP", "0123456789abcdef0123456789abcdef"), is_random_hex("BUILDKITE_COMMIT", "ab" * 20)
    (True, False)
    """
    return _HEX_SECRET.fullmatch(value) is not None and not _HEX_PUBLIC_NAME.search(name) and len(set(value)) > 6


def _is_word(piece: str) -> bool:
    """Four and more letters or digits in an order that people write: ``gfx942``, ``Cijk``, ``Instruct``, ``2507``."""
    return len(piece) > 3 and _ORDERED.fullmatch(piece) is not None


def _is_disorderly(piece: str) -> bool:
    """Classes of characters change at nearly every step in a random string; in words they follow a pattern."""
    if len(piece) < _PIECE_CHARS or _HEX.fullmatch(piece):
        return False
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in piece]
    needed = _PIECE_CHARS if len(set(kinds)) == 3 else _PLAIN_CHARS
    if len(piece) < needed or "d" not in kinds:
        return False
    if sum(map(len, _CAMEL.findall(piece))) / len(piece) >= _CAMEL_SHARE:  # the name of a class
        return False
    # A capital at the beginning of a word is order: it does not count.
    steps = sum(a != b and (a, b) != ("u", "l") for a, b in pairwise(kinds))
    return steps / (len(piece) - 1) >= _RATIO and _measure_bits(piece) >= _BITS


def _measure_bits(text: str) -> float:
    """Shannon's entropy of the characters, in bits for each."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)
