"""What belongs to a person or a machine stays out of records, and nothing else is touched."""

import socket

import psutil
import pytest

from triage.redaction import redact_text


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice")


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("/home/alice", "~"),
        ("MODEL=/home/alice/models/e5", "MODEL=~/models/e5"),
        ('"path": "/home/alice/x"', '"path": "~/x"'),
        ("\x1b[32m/home/alice/x.py:3\x1b[0m", "\x1b[32m~/x.py:3\x1b[0m"),
        (r"\u001b[32m/home/alice/x.py", r"\u001b[32m~/x.py"),
        ("see refleaks.html/home/alice/x.py", "see refleaks.html~/x.py"),
        ("/home/alice-2/x and /home/bob/y", "/home/(user)/x and /home/(user)/y"),
    ],
)
def test_a_home_is_a_tilde_wherever_it_stands(text, redacted):
    assert redact_text(text) == redacted


@pytest.mark.parametrize("text", ["/home/ubuntu/x", "/srv/home-alice/x", "/opt/rocm/x", "iVBORw0KGgo/home+alice/"])
def test_what_only_looks_like_it_is_left_alone(text):
    assert redact_text(text) == text


def test_the_address_of_the_host_is_taken_out_behind_an_equals_sign():
    held = [a.address for addresses in psutil.net_if_addrs().values() for a in addresses if a.family == socket.AF_INET]
    for address in held:
        if not address.startswith("127."):
            assert redact_text(f"mq_connect_ip={address} (local)") == "mq_connect_ip=(host) (local)"
    assert redact_text("http://127.0.0.1:8000") == "http://127.0.0.1:8000"


def test_a_secret_of_the_environment_is_not_recorded_but_a_switch_is(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    assert redact_text("hf_0123456789 false") == "(not recorded) false"
