"""Scores in a run: resumed, refused, tried again, and what spectra already hold taken from there."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import gradprism
from gradprism.cli.recipes import load_verb_and_recipe
from gradprism.core.errors import GradPrismError
from gradprism.core.progress import NoProgress
from gradprism.metrics.registry import known_metrics
from gradprism.models.likelihood import ResponseHead

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

Rows = list[dict[str, str]]


@pytest.fixture
def rows(sample_rows: Rows) -> Rows:
    return sample_rows[:10]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the batches that the model was given."""
    batches: list[int] = []
    real = ResponseHead.nll_sums

    def counted(head: ResponseHead, batch: Any) -> list[float]:
        batches.append(len(batch.lengths))
        return real(head, batch)

    monkeypatch.setattr(ResponseHead, "nll_sums", counted)
    return batches


def written(rows: Rows, path: Path) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.slow  # several runs of a model
def test_scores_beside_spectra_take_their_half_from_them(
    tiny_checkpoint: Path, rows: Rows, tmp_path: Path, seen: list[int]
) -> None:
    data, model = written(rows, tmp_path / "data.jsonl"), str(tiny_checkpoint)
    run = gradprism.spectra(data, model, out=tmp_path / "run")
    with_both = gradprism.score(data, "ifd,loss,perplexity", model=model, out=tmp_path / "run")
    assert sum(seen) == len(rows)  # the unconditioned halves of ifd, and nothing for the others
    seen.clear()
    alone = gradprism.score(data, "ifd", model=model, out=tmp_path / "alone")
    assert sum(seen) == 2 * len(rows)
    for column in ("value", "nll_conditioned", "nll_unconditioned"):
        free, computed = with_both.scores("ifd")[column], alone.scores("ifd")[column]
        assert free.to_list() == pytest.approx(computed.to_list(), rel=1e-5)
    assert with_both.scores("loss")["value"].to_list() == pytest.approx(run.examples["loss"].to_list(), rel=1e-12)
    assert with_both.metrics == ("ifd", "loss", "perplexity")
    assert with_both.examples.equals(run.examples)


@pytest.mark.slow  # several runs of a model
@pytest.mark.parametrize("change", [{"template": "chat"}, {"max_length": 64}, {"dtype": "bfloat16"}])
def test_other_settings_take_nothing_from_the_spectra(
    tiny_checkpoint: Path, rows: Rows, tmp_path: Path, seen: list[int], change: dict[str, Any]
) -> None:
    gradprism.spectra(rows, str(tiny_checkpoint), out=tmp_path / "run")
    gradprism.score(rows, "loss", model=str(tiny_checkpoint), out=tmp_path / "run", name="other", **change)
    assert sum(seen) > 0


@pytest.mark.slow
def test_the_run_of_scores_alone_may_get_spectra_later(tiny_checkpoint: Path, rows: Rows, tmp_path: Path) -> None:
    run = gradprism.score(rows, "length", model=str(tiny_checkpoint), out=tmp_path / "run")
    assert not run.has_spectra
    assert "scores alone" in repr(run)
    assert "rows" in run._repr_html_()
    later = gradprism.spectra(rows, str(tiny_checkpoint), out=tmp_path / "run")
    assert later.has_spectra
    assert later.scores("length")["value"].to_list() == later.examples["n_response_tokens"].to_list()


def test_a_run_of_other_rows_is_refused_both_ways(tiny_checkpoint: Path, rows: Rows, tmp_path: Path) -> None:
    model = str(tiny_checkpoint)
    gradprism.score(rows, "length", model=model, out=tmp_path / "run")
    with pytest.raises(GradPrismError, match="holds other rows: 10 of"):
        gradprism.spectra(rows[:5], model, out=tmp_path / "run")
    with pytest.raises(GradPrismError, match="holds other rows"):
        gradprism.score(rows[::-1], "loss", model=model, out=tmp_path / "run")


def test_a_run_with_a_target_is_scored_as_any_other(tiny_checkpoint: Path, rows: Rows, tmp_path: Path) -> None:
    target = tmp_path / "target.jsonl"
    target.write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    model = str(tiny_checkpoint)
    run = gradprism.spectra(rows, model, out=tmp_path / "run", target=f"near={target}")
    scored = gradprism.score(rows, "ifd", model=model, out=tmp_path / "run")
    assert scored.metrics == ("ifd", "influence:near")
    assert scored.scores("ifd")["value"].null_count() == run.examples["loss"].null_count()


class Stop(NoProgress):
    """Stops after some batches."""

    def __init__(self, after: int):
        self.left = after

    def batch(self, examples: int, tokens: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_what_was_published_is_not_computed_again(
    tiny_checkpoint: Path, rows: Rows, tmp_path: Path, seen: list[int]
) -> None:
    def again(observer: Any = None) -> Any:
        return gradprism.score(
            rows, "loss", model=str(tiny_checkpoint), out=tmp_path / "run", part_rows=2, batch_tokens=1,
            observer=observer,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        again(Stop(after=5))
    assert len(list((tmp_path / "run/scores/loss").glob("part-*.parquet"))) == 2
    seen.clear()
    assert again().scores("loss").height == len(rows)
    assert sum(seen) == len(rows) - 4
    seen.clear()
    again()
    assert not seen


def test_other_settings_are_refused_and_named(tiny_checkpoint: Path, rows: Rows, tmp_path: Path) -> None:
    gradprism.score(rows, "ifd", model=str(tiny_checkpoint), out=tmp_path / "run")
    with pytest.raises(GradPrismError, match=r"--style matched \(now superfiltering\)"):
        gradprism.score(rows, "ifd", model=str(tiny_checkpoint), out=tmp_path / "run", style="superfiltering")
    run = gradprism.score(
        rows, "ifd", model=str(tiny_checkpoint), out=tmp_path / "run", style="superfiltering", name="ifd_published"
    )
    assert run.metrics == ("ifd", "ifd_published")


def test_rows_that_failed_are_scored_again_when_asked(
    tiny_checkpoint: Path, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ResponseHead.nll_sums

    def broken(head: ResponseHead, batch: Any) -> list[float]:
        if max(batch.lengths) > 150:
            raise RuntimeError("no kernel for this length")
        return real(head, batch)

    def again(**options: Any) -> Any:
        return gradprism.score(rows, "loss", model=str(tiny_checkpoint), out=tmp_path / "run", part_rows=4, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ResponseHead, "nll_sums", broken)
        first = again().scores("loss")
    failed = first.filter(status="failed")
    assert 0 < failed.height < len(rows)
    assert failed["value"].is_null().all()
    assert set(failed["reason"]) == {"RuntimeError: no kernel for this length"}
    assert again().scores("loss").equals(first)
    second = again(retry_failed=True).scores("loss")
    assert set(second["status"]) == {"ok"}
    assert second["row"].to_list() == list(range(len(rows)))


def test_without_data_that_of_the_run_is_taken(tiny_checkpoint: Path, rows: Rows, tmp_path: Path) -> None:
    data = written(rows, tmp_path / "data.jsonl")
    gradprism.spectra(data, str(tiny_checkpoint), out=tmp_path / "run", limit=4)
    run = gradprism.score(None, "length", model=str(tiny_checkpoint), out=tmp_path / "run")
    assert run.scores("length").height == 4
    with pytest.raises(GradPrismError, match="and no data"):
        gradprism.score(None, "loss", model=str(tiny_checkpoint), out=tmp_path / "run", limit=2)
    with pytest.raises(GradPrismError, match="No data is given"):
        gradprism.score(None, "length", model=str(tiny_checkpoint), out=tmp_path / "nowhere")


def test_the_recipe_beside_the_scores_replays_them(tiny_checkpoint: Path, rows: Rows, tmp_path: Path) -> None:
    from gradprism.scoring.api import run_scores

    data = written(rows, tmp_path / "data.jsonl")
    first = gradprism.score(
        data, "ifd,length", model=str(tiny_checkpoint), out=tmp_path / "one", style="superfiltering"
    )
    recipe: Any = load_verb_and_recipe(tmp_path / "one/scores/ifd/recipe.yaml")[1]
    assert recipe.metric == "ifd"
    second = run_scores(recipe.model_copy(update={"out": str(tmp_path / "two")}))
    assert second.scores("ifd").equals(first.scores("ifd"))


@pytest.mark.parametrize(
    ("metric", "options", "message"),
    [
        ("idf", {}, r"No metric 'idf'\. Did you mean 'ifd'\?"),
        ("", {}, "expected --metric, or --from FILE"),
        ("ifd", {}, "--metric ifd needs a causal language model"),
        ("reward", {}, "--metric reward needs a reward model"),
        ("ifd,loss", {"model": "m", "name": "mine"}, "expected one metric to be named"),
        ("ifd", {"model": "m", "name": "../up"}, "expected letters"),
        ("ifd", {"model": "m", "name": "ifd.ppl"}, "expected letters"),
        ("ifd", {"model": "m", "name": "loss"}, "name of another metric or measure"),
        ("ifd", {"model": "m", "name": "leading_share"}, "name of another metric or measure"),
        ("leading_share:q", {}, "leading_share:q is a spectral measure"),
        ("ifd", {"model": "m", "tempature": 1}, "did you mean 'temperature'"),
        ("ifd", {"model": "m", "price": "cheap"}, "expected two numbers"),
    ],
)
def test_what_is_asked_wrongly(metric: str, options: dict[str, Any], message: str, rows: Rows, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=message):
        gradprism.score(rows, metric, out=tmp_path / "run", **options)


def test_what_it_would_take(tiny_checkpoint: Path, rows: Rows, tmp_path: Path) -> None:
    from gradprism.scoring.api import plan_scores, score_recipe

    data = written([*rows, {"instruction": "Say nothing.", "output": ""}], tmp_path / "data.jsonl")
    recipe, _ = score_recipe(data, ["loss", "ifd"], str(tiny_checkpoint), None, tmp_path / "run", {})
    plans = plan_scores(recipe)
    run = gradprism.score(data, "loss,length", model=str(tiny_checkpoint), out=tmp_path / "other")
    tokens = run.scores("length").select("value", "n_prompt_tokens").sum().row(0)
    assert (plans["loss"].rows, plans["loss"].skipped, plans["loss"].tokens) == (len(rows), 1, sum(tokens))
    assert plans["ifd"].tokens == sum(tokens) + int(tokens[0]) + len(rows)
    assert not (tmp_path / "run").exists()


def test_every_metric_has_its_words() -> None:
    assert set(known_metrics()) == {"ifd", "instag", "difficulty", "reward", "length", "loss", "perplexity"}


def test_a_loaded_model(make_model: Callable[..., Any], tokenizer: Any, rows: Sequence[Any], tmp_path: Path) -> None:
    run = gradprism.score(rows, ["loss"], model=make_model("llama"), tokenizer=tokenizer, out=tmp_path / "run")
    assert run.scores("loss")["value"].null_count() == 0
    with pytest.raises(GradPrismError, match="Python objects"):
        gradprism.score(None, "length", model=make_model("llama"), tokenizer=tokenizer, out=tmp_path / "run")
