"""Who is to blame where vLLM makes no configuration: the user's arguments, or a vLLM that triage does not know."""

from argparse import ArgumentParser, Namespace

import pytest

from triage.engine import _config
from triage.errors import InputError, UnsupportedVersionError


class EngineArgs:
    """As much of vLLM's class as is called."""

    @classmethod
    def from_cli_args(cls, _):
        return cls()

    def create_engine_config(self, usage_context):
        return f"a configuration for {usage_context}"


class OtherSignature(EngineArgs):
    def create_engine_config(self, context):
        return context


class BrokenModel(EngineArgs):
    def create_engine_config(self, **_):
        return None * 2  # as where a number is null in config.json


class RefusedModel(EngineArgs):
    def create_engine_config(self, **_):
        raise ValueError("no such model\n  see the manual")


def make_parser(parser):
    parser.add_argument("--model")
    return parser


def use(monkeypatch, engine_args, make_arg_parser=make_parser):
    names = {
        "AsyncEngineArgs": engine_args,
        "make_arg_parser": make_arg_parser,
        "FlexibleArgumentParser": ArgumentParser,
        "UsageContext": Namespace(OPENAI_API_SERVER="a server"),
    }
    monkeypatch.setattr(_config, "load_name", names.__getitem__)
    return _config.make_vllm_config("m", [])


def test_a_configuration_is_vllms_own(monkeypatch):
    assert use(monkeypatch, EngineArgs) == "a configuration for a server"


def test_a_changed_signature_is_not_blamed_on_the_user(monkeypatch):
    with pytest.raises(UnsupportedVersionError, match=r"another way .*usage_context"):
        use(monkeypatch, OtherSignature)
    with pytest.raises(UnsupportedVersionError, match="another way"):
        use(monkeypatch, EngineArgs, make_arg_parser=lambda: None)


@pytest.mark.parametrize(("engine_args", "words"), [(BrokenModel, "unsupported operand"), (RefusedModel, "no such mo")])
def test_what_vllm_trips_over_inside_is_the_users_model(monkeypatch, engine_args, words):
    with pytest.raises(InputError, match=f"vLLM refuses m: {words}"):
        use(monkeypatch, engine_args)


def test_an_unknown_argument_is_the_users(monkeypatch):
    use(monkeypatch, EngineArgs)
    with pytest.raises(InputError, match="does not take these engine arguments: unrecognized arguments: --nope"):
        _config.make_vllm_config("m", ["--nope"])
