"""The pages of help: short, with two examples; every option is on the long one. What is missing is named at once."""

import shlex
from functools import cache
from unittest import mock

import pytest
from tests.command import run

from gradprism.cli.verbs import Verb, find_verbs

NARROW = mock.patch.dict("tests.command.SETTINGS", {"COLUMNS": "80"})
VERBS = find_verbs().values()


@cache
def options_of(verb: Verb) -> set[str]:
    """The names of the options of a verb, by its signature."""
    from cyclopts import App

    app = App(default_command=getattr(verb.load(), verb.function.rpartition(":")[2]))
    found = [argument for argument in app.assemble_argument_collection() if not argument.children]
    return {argument.name for argument in found if argument.name.startswith("--")}


@cache
def lines_of(*words: str) -> list[str]:
    with NARROW:
        done = run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_help_fits_a_screen_and_has_two_examples(verb: Verb) -> None:
    lines = lines_of(verb.name, "--help")
    assert len(lines) <= 60
    assert len(verb.examples) == 2
    for example in verb.examples:
        assert f"  {example}" in lines
        assert "  " not in example
    others = [line for line in lines if line.strip() not in verb.examples]
    assert max(map(len, others)) <= 80


@pytest.mark.slow  # every option of every verb
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_help_all_has_every_option(verb: Verb) -> None:
    page = " ".join(lines_of(verb.name, "--help-all")).split()
    assert options_of(verb) - {*page} == set()
    common = {f"--{name}" for name in verb.common}
    assert common <= options_of(verb)
    assert len(common) <= 12
    shown = " ".join(lines_of(verb.name, "--help"))
    assert all(name in shown for name in common or options_of(verb))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_examples_name_options_that_there_are(verb: Verb) -> None:
    short = {"-o": "--out", "-m": "--model", "-n": "--limit", "-t": "--template", "-q": "--quiet"}
    for example in verb.examples:
        _, name, *words = shlex.split(example)
        flags = {short.get(word, word) for word in words if word.startswith("-")}
        assert flags <= options_of(find_verbs()[name])


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        (("spectra",), "spectra needs DATA, --out and --model."),
        (("spectra", "data.jsonl"), "spectra needs --out and --model."),
        (("spectra", "data.jsonl", "--out=run"), "spectra needs --model."),
        (("spectra", "data.jsonl", "-m", "gpt2"), "spectra needs --out."),
        (("score",), "score needs --out."),
        (("show",), "show needs RUN."),
    ],
)
def test_everything_that_is_missing_is_named_with_an_example(words: tuple[str, ...], needs: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stderr == f"gradprism: {needs} For example:\n  {find_verbs()[words[0]].examples[0]}\n"


def test_an_option_without_its_value_is_named() -> None:
    assert "--out requires an argument" in run("spectra", "data.jsonl", "-m", "gpt2", "--out").stderr


def test_help_of_the_command_lists_the_verbs() -> None:
    lines = lines_of("--help")
    assert len(lines) <= 60
    for verb in VERBS:
        assert any(line.strip().startswith(verb.name) for line in lines)
