"""The right message for a wrong name: what was given, what was expected, and the command that helps."""

import subprocess
from pathlib import Path

import pytest
from tests.command import run
from tests.conftest import SAMPLE

import gradprism
from gradprism.core.errors import GradPrismError
from gradprism.core.numbers import count
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings
from gradprism.runs.values import metric_values


@pytest.fixture(scope="module")
def made(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two projections."""
    out = tmp_path_factory.mktemp("made") / "run"
    return gradprism.spectra(SAMPLE, tiny_checkpoint, out=out, limit=14, max_length=200, projections="q,v").path


def refusal(*words: object) -> str:
    done: subprocess.CompletedProcess[str] = run(*words)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


VERBS_OF_RUNS = [
    ("show",), ("compare", "--by", "loss"), ("report", "--out", "page.html"), ("figures",), ("correlate",), ("check",),
    ("export", "--out", "out.jsonl"),
]  # fmt: skip


@pytest.mark.parametrize("words", VERBS_OF_RUNS, ids=lambda words: words[0])
def test_a_data_file_or_a_missing_folder_in_place_of_a_run(words: tuple[str, ...], tmp_path: Path) -> None:
    verb, *options = words
    told = refusal(verb, SAMPLE, *options)
    assert f"{SAMPLE} is not a run but a file" in told
    assert f"gradprism spectra {SAMPLE} --model MODEL --out RUN" in told
    assert f"{tmp_path / 'nowhere'} is not a run: there is no such folder" in refusal(
        verb, tmp_path / "nowhere", *options
    )


@pytest.mark.parametrize("verb", ["select --top 2 --by", "compare --by", "correlate --metric"])
def test_a_metric_that_is_not_scored_yet_says_how_to_score_it(verb: str, made: Path) -> None:
    name, *options = verb.split()
    told = refusal(name, made, *options, "reward")
    assert "It is not scored yet. Score it: gradprism score --metric reward --reward-model MODEL --out RUN" in told
    assert "--metric ifd --model MODEL --out RUN" in refusal(name, made, *options, "ifd.ppl")
    assert "Did you mean 'effective_rank:v'?" in refusal(name, made, *options, "effective_rank:w")


def test_a_measure_of_data_that_were_not_measured_says_how_to_measure_them() -> None:
    told = refusal("select", SAMPLE, "--by", "effective_rank", "--top", 2)
    assert "It is a measure of gradients. Measure them: gradprism spectra DATA --model MODEL --out RUN." in told


@pytest.mark.parametrize("verb", ["select --top 2", "compare"])
def test_one_metric_is_expected_where_several_are_given(verb: str, made: Path) -> None:
    name, *options = verb.split()
    told = refusal(name, made, *options, "--by", "loss,length")
    assert "Expected one metric: repeat the option for several, as in --by loss --by length." in told


def test_a_measure_by_its_name_alone_is_the_mean_over_projections(made: Path) -> None:
    named = {spec: metric_values(gradprism.open_run(made), f"effective_rank{spec}") for spec in ("", ":mean", "@1-2")}
    assert named[""].equals(named[":mean"])
    assert not named["@1-2"].equals(named[""])
    best = run("select", made, "--by", "effective_rank", "--top", 2, "--json")
    assert best.returncode == 0, best.stderr
    compared = run("compare", made, "--by", "effective_rank", "--quantile", 0.3, "--resamples", 199)
    assert "effective_rank at least" in " ".join(compared.stdout.split()), compared.stderr
    pairs = run("correlate", made, "--metric", "effective_rank,effective_rank:mean,loss")
    assert pairs.returncode == 0, pairs.stderr


def test_show_by_a_measure_compares_its_quarters(made: Path) -> None:
    shown = run("show", made, "--by", "effective_rank")
    assert shown.returncode == 0, shown.stderr
    assert "Effective rank by effective_rank" in shown.stdout
    for group in ("1: ", "2: ", "3: ", "4: "):
        assert group in shown.stdout
    assert "no such column; it has kind" in refusal("show", made, "--by", "flavour")


@pytest.mark.parametrize(("given", "meant"), [("bf16", "bfloat16"), ("fp16", "float16"), ("fp32", "float32")])
def test_short_names_of_types(given: str, meant: str) -> None:
    assert CheckpointSettings(model="m", dtype=given).dtype == meant  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "meant"), [("smollm2", "smollm2-135m"), ("SmolLM2-135M", "smollm2-135m"), ("gemma-270m", "gemma-3-270m")]
)
def test_a_name_like_a_built_in_one_asks_no_hub(given: str, meant: str) -> None:
    with pytest.raises(GradPrismError, match=f"Did you mean the built-in '{meant}'") as refused:
        find_checkpoint(CheckpointSettings(model=given))
    assert "hub id" in str(refused.value).partition(meant)[2]
    for other in ("gpt2", f"owner/{given}"):
        assert find_checkpoint(CheckpointSettings(model=other)).name == other


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (52.5, "52.5"), (1524.0, "1,524"), (None, "–"), (0.0, "0")])
def test_counts_are_whole_numbers(value: float | None, text: str) -> None:
    assert count(value) == text
