"""The public functions as a user meets them: signatures, help, names as one or several, and how objects show."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

import gradprism
from gradprism import GradPrismError
from gradprism.core.python_options import PythonOptions
from gradprism.core.settings import one_or_several
from gradprism.data.encode import Encoded
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings
from gradprism.figures.api import Drawn
from gradprism.prism.example_gradients import ExampleGradients
from tests.conftest import SAMPLE

PUBLIC = {name: getattr(gradprism, name) for name in gradprism.__all__}
FUNCTIONS = {name: each for name, each in PUBLIC.items() if callable(each) and name != "GradPrismError"}


def options_of(name: str) -> PythonOptions | None:
    function = FUNCTIONS[name]
    found = vars(function.__init__ if inspect.isclass(function) else function).get("options")
    return found if isinstance(found, PythonOptions) else None


WITH_OPTIONS = sorted(name for name in FUNCTIONS if options_of(name))


def test_what_has_the_options_of_a_command_says_so() -> None:
    verbs = {"GradientAnalyzer", "compare", "spectra", "score", "select", "import_paper"}
    assert {*WITH_OPTIONS} >= verbs | {"ifd", "loss", "perplexity", "length", "reward", "instag", "difficulty"}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_signatures_are_explicit_and_described(name: str) -> None:
    function = FUNCTIONS[name]
    parameters = inspect.signature(function).parameters.values()
    assert not [each for each in parameters if each.kind is each.VAR_KEYWORD and name != "compare"]
    assert all(each.annotation is not each.empty for each in parameters)
    assert inspect.getdoc(function)


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_options_and_defaults_are_those_of_the_settings(name: str) -> None:
    options = options_of(name)
    assert options is not None
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    assert options.settings.keys() <= parameters.keys()
    document = inspect.getdoc(FUNCTIONS[name].__init__ if inspect.isclass(FUNCTIONS[name]) else FUNCTIONS[name])
    for option, settings in options.settings.items():
        field, given = settings.model_fields[option], parameters[option]
        assert given.default == field.get_default(call_default_factory=True), option
        assert given.kind is given.KEYWORD_ONLY
        assert choices(field.annotation) == choices(given.annotation), option
        assert f"\n    {option}\n        " in str(document), option


def choices(annotation: Any) -> set[str]:
    """The texts that a type with a Literal in it allows."""
    if get_origin(annotation) is Literal:
        return {*get_args(annotation)}
    return {text for part in get_args(annotation) for text in choices(part)}


# The options inside a function


def made() -> tuple[Callable[..., Any], PythonOptions]:
    from gradprism.engine.settings import EngineSettings
    from gradprism.measurement.settings import SpectraRecipe

    options = PythonOptions(SpectraRecipe, ("engine",), but=["address"])
    assert {*options.settings} == {*EngineSettings.model_fields} - {"address"}

    @options
    def work(data: str, *, engine: str = "local", workers: int | None = None) -> Mapping[str, Any]:
        """Do the work."""
        return options.given(locals())

    return work, options


def test_what_was_left_out_is_told_from_what_was_given_at_its_default() -> None:
    work, _ = made()
    assert work("x") == {}
    assert work("x", engine="local", workers=None) == {"engine": "local", "workers": None}
    assert str(inspect.signature(work)).startswith("(data: str, *, engine: str = 'local', workers: int | None = None)")
    assert "Do the work.\n\nOptions:\n    engine\n        `local`: in this process" in str(work.__doc__)
    assert "cpus_per_worker" not in str(work.__doc__)


def test_a_name_that_is_no_option_gets_the_nearest() -> None:
    work, _ = made()
    with pytest.raises(GradPrismError, match="Unknown setting 'worker'; did you mean 'workers'"):
        work("x", worker=3)
    with pytest.raises(GradPrismError, match="did you mean 'max_length'"):
        gradprism.ifd([], max_lenght=3)
    with pytest.raises(GradPrismError, match="Unknown setting 'engine'"):
        gradprism.ifd([], engine="ray")


# Names


@pytest.mark.parametrize("names", ["a, b", ["a", "b"], ("a", " b", ""), "a,,b"])
def test_names_are_one_or_several(names: Any) -> None:
    assert one_or_several(names) == ("a", "b")


def test_one_name_is_no_list_of_letters() -> None:
    assert one_or_several("length") == one_or_several(["length"]) == ("length",)


# How objects show


def test_examples_show_their_size_and_not_their_texts() -> None:
    example = next(iter(open_examples(str(SAMPLE), ReadSettings())))
    assert repr(example).startswith("Example(row 0, 'photosynthesis-careful': 2 turns, ")
    assert len(repr(example)) < 120
    assert repr(example.turns[0]).startswith("Turn(user: 'Explain photosynthesis")
    assert len(repr(example.turns[1])) < 120


def test_a_figure_shows_its_files_or_why_there_are_none() -> None:
    drawn = Drawn("length", (Path("f/length.png"),), Path("f/length.csv"), "a long caption " * 20)
    assert repr(drawn) == f"Drawn(length: {Path('f/length.png')})"
    assert repr(Drawn("decay", (), None, "", "one layer")) == "Drawn(decay: one layer)"


def test_encoded_text_shows_its_size_and_not_its_ids() -> None:
    assert repr(Encoded((1,) * 2000, (True,) * 5 + (False,) * 1995, True)) == (
        "Encoded(2,000 tokens, 5 in the loss, truncated)"
    )
    gradients = ExampleGradients(loss=1.25, nll_sum=5.0)
    assert repr(gradients) == "ExampleGradients(0 spectra, 0 cosines, loss 1.25)"


def test_an_analyzer_says_what_it_measures(make_model: Callable[..., Any], tokenizer: Any) -> None:
    analyzer = gradprism.GradientAnalyzer(make_model("llama"), tokenizer, projections=["q", "v"], max_length=64)
    assert repr(analyzer).startswith("GradientAnalyzer(LlamaForCausalLM on cpu: q, v in ")
    assert "template auto, at most 64 tokens" in repr(analyzer)
    assert repr(analyzer.found).startswith("FoundProjections(q, v in ")
    assert repr(analyzer.projections[0]).startswith("Projection(model.layers.0.self_attn.q_proj: q of layer 0, ")


def test_an_analyzer_takes_a_name_or_a_loaded_model(tiny_checkpoint: Any, tokenizer: Any) -> None:
    by_name = gradprism.GradientAnalyzer(tiny_checkpoint, projections="q")
    rows = [{"prompt": "a", "completion": "b c"}]
    loaded = gradprism.GradientAnalyzer(by_name.model, tokenizer, projections="q")
    assert by_name.analyze(rows).spectra.equals(loaded.analyze(rows).spectra)


@pytest.mark.parametrize(
    ("model", "with_tokenizer", "said"),
    [
        (None, True, "given NoneType as the model. Expected a loaded one"),
        ("made", False, "given None as the tokenizer"),
    ],
)
def test_an_analyzer_says_what_it_wants(
    model: Any, with_tokenizer: bool, said: str, make_model: Callable[..., Any], tokenizer: Any
) -> None:
    with pytest.raises(GradPrismError, match=said):
        gradprism.GradientAnalyzer(make_model("llama") if model else None, tokenizer if with_tokenizer else None)
