"""Options that commands share: defaults, required ones and hidden aliases."""

import argparse

import pytest

from pelee.commands.options import add_hidden_alias, add_inference_options, add_report_options


def test_the_old_name_of_the_input_size_is_hidden() -> None:
    parser = argparse.ArgumentParser()
    add_inference_options(parser, "pelee-voc")
    options = parser.parse_args([])
    assert (options.weights, options.input_size) == ("pelee-voc", None)
    assert (options.runtime, options.device, options.precision) == ("auto", "auto", "auto")
    assert parser.parse_args(["--input-size", "224"]).input_size == 224
    assert parser.parse_args(["--size", "224"]).input_size == 224
    shown = parser.format_help()
    assert "--input-size" in shown and "--size" not in shown.replace("--input-size", "")
    with pytest.raises(SystemExit):
        parser.parse_args(["--input-size", "0"])


def test_weights_are_required_without_a_default(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_inference_options(parser, None, input_size=False)
    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert "required: --weights" in capsys.readouterr().err
    chosen = argparse.ArgumentParser()
    add_inference_options(chosen, None, note="pelee-voc for voc")
    assert chosen.parse_args([]).weights is None
    assert "(pelee-voc for voc)" in " ".join(chosen.format_help().split())


def test_report_options_and_aliases() -> None:
    parser = argparse.ArgumentParser()
    add_report_options(parser, "write plots")
    add_hidden_alias(parser, "--report", dest="json", type=str)
    options = parser.parse_args(["--report", "-", "--output", "out"])
    assert (options.json, str(options.output)) == ("-", "out")
    assert parser.parse_args([]).json is None
