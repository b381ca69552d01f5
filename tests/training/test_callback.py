"""A training goes on as it would without the callback, and what is measured is what `gradprism.spectra` measures."""

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from transformers import TrainerCallback

import gradprism
from gradprism import GradPrismError, SpectraCallback
from tests.training.tiny_training import curve, logged, same_weights, trainer_of, with_lora

pytestmark = pytest.mark.slow  # trainers, each with a model of its own

Rows = Sequence[dict[str, str]]
WAYS: dict[str, Callable[[Rows], SpectraCallback]] = {
    "rows": lambda rows: SpectraCallback(rows[:3], every=2, projections="q,v"),
    "batch": lambda rows: SpectraCallback(every=2, projections="q,v"),
    "live": lambda rows: SpectraCallback(every=2, live=True, projections="q,v"),
}
TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"gradient_accumulation_steps": 2},
    "checkpointed": {"gradient_checkpointing": True},
    "reentrant": {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
    "bf16": {"bf16": True},
}


class Witness(TrainerCallback):
    """Notes all that a callback beside it might leave changed, in the events in which that one works.

    Before the update hooks are left out: those of a batch that is being measured are there until it is.
    """

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.on_pre_optimizer_step(args, state, control, model)
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        self.seen.append([(path, len(getattr(m, kind))) for path, m in model.named_modules() for kind in kinds])

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.seen.append((state.global_step, dict(vars(control)), *self.state_of(model)))

    def state_of(self, model: torch.nn.Module) -> Any:
        parameters = [(name, p.requires_grad, p._version, None if p.grad is None else p.grad.double().sum().item())
                      for name, p in model.named_parameters()]  # fmt: skip
        modules = [(path, module.training, sorted(vars(module))) for path, module in model.named_modules()]
        settings = torch.is_autocast_enabled("cpu"), torch.get_float32_matmul_precision(), torch.is_grad_enabled()
        rng = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
        return parameters, modules, settings, torch.get_num_threads(), rng


QUICK = {("rows", "plain"), ("batch", "accumulated"), ("live", "bf16"), ("live", "lora"), ("live", "checkpointed")}


@pytest.mark.parametrize(
    ("way", "training"),
    [
        pytest.param(way, training, marks=() if (way, training) in QUICK else pytest.mark.exhaustive)
        for way in WAYS
        for training in (*TRAININGS, "lora")
    ],
)
def test_losses_and_weights_are_bit_equal_with_and_without(
    way: str, training: str, make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    def trained(*callbacks: TrainerCallback) -> Any:
        model = make_model("llama", attention_dropout=0.1)
        if training == "lora":
            torch.manual_seed(2)
            model = with_lora(model, lora_dropout=0.1)
        options = {"learning_rate": 1e-2} if training == "lora" else TRAININGS[training]
        trainer = trainer_of(model, tokenizer, sample_rows, tmp_path, callbacks, **options)
        trainer.train()
        return trainer

    before, after = Witness(), Witness()
    without, watched = trained(), trained(before, WAYS[way](sample_rows), after)
    assert curve(watched) == curve(without)
    assert len(curve(without)) == 5
    assert same_weights(watched.model, without.model)
    for found, left in zip(before.seen, after.seen, strict=True):
        for one, other in zip(found, left, strict=True):
            assert one == other
    steps = gradprism.open_steps(tmp_path / "spectra")
    assert list(steps.runs) == [0, 2, 4] if way == "rows" else [0, 2]
    assert [entry["step"] for entry in logged(watched)] == list(steps.runs)


def test_rows_are_measured_as_spectra_does_with_the_weights_of_the_step(
    make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    model = make_model("llama")
    before = gradprism.spectra(sample_rows[:5], model, tokenizer=tokenizer, projections="q,v", max_length=200)
    callback = SpectraCallback(sample_rows, every=3, limit=5, projections="q,v", max_length=200, out=tmp_path / "own")
    trainer = trainer_of(model, tokenizer, sample_rows, tmp_path, [callback])
    trainer.train()
    after = gradprism.spectra(sample_rows[:5], trainer.model, tokenizer=tokenizer, projections="q,v", max_length=200)
    steps = gradprism.open_steps(tmp_path / "own")
    assert list(steps.runs) == [0, 3, 4]
    for step, run in ((0, before), (4, after)):
        assert_frame_equal(steps.runs[step].spectra, run.spectra)
        assert_frame_equal(steps.runs[step].examples, run.examples)
        assert gradprism.check(steps.runs[step].path).is_whole
    assert steps.runs[4].record["model"]["training"]["step"] == 4
    table = steps.table()
    assert table["n"].to_list() == [run.counts.ok for run in steps.runs.values()]
    assert table["effective_rank"][0] == pytest.approx(before.layer_means["effective_rank"].mean())
    assert table["loss"].to_list() == pytest.approx([entry["spectra/loss"] for entry in logged(trainer)])
    own = after.layer_means.filter(projection="v")["nuclear_norm"].mean()
    assert logged(trainer)[-1]["spectra/nuclear_norm/v"] == pytest.approx(own)
    assert steps.layer_means.filter(step=4).drop("step").equals(after.layer_means)
    assert repr(steps).startswith(f"{tmp_path / 'own'}: 3 steps, 0 to 4")


def test_what_is_logged_reaches_all_that_a_trainer_reports_to(
    make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    class Report(TrainerCallback):
        def __init__(self) -> None:
            self.got: list[tuple[int, set[str]]] = []

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            self.got.append((state.global_step, {*logs}))

    report = Report()
    trainer = trainer_of(make_model("llama"), tokenizer, sample_rows, tmp_path,
                         [report, SpectraCallback(sample_rows[:2], every=2, projections="q")], steps=2)  # fmt: skip
    trainer.train()
    assert [step for step, names in report.got if "spectra/effective_rank/q" in names] == [0, 2]
    assert [step for step, names in report.got if "loss" in names] == [1, 2]


def test_a_resumed_training_continues_its_steps(
    make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    def trained(rows: Rows = sample_rows[:2], resume: str | None = None, out: str = "out", steps: int = 4) -> Any:
        callback = SpectraCallback(rows, every=1, projections="q")
        kept = {"save_strategy": "steps", "save_steps": 2, "steps": steps}
        trainer = trainer_of(make_model("llama"), tokenizer, sample_rows, tmp_path / out, [callback], **kept)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = gradprism.open_steps(trained().args.output_dir + "/spectra")
    folder = whole.path
    kept = (folder / "step-000002" / "run.json").read_bytes()
    before = whole.table()
    with pytest.raises(GradPrismError, match=r"holds 5 steps of another training \(to step 4\), and this one begins"):
        trained()
    with pytest.raises(GradPrismError, match="measured with other settings or rows:\n  the data: other rows"):
        trained(sample_rows[2:4], str(tmp_path / "out" / "checkpoint-2"))
    with pytest.warns(UserWarning, match="goes on from step 2: 2 later steps were moved into"):
        trained(resume=str(tmp_path / "out" / "checkpoint-2"), steps=3)
    resumed = gradprism.open_steps(folder)
    assert list(resumed.runs) == [0, 1, 2, 3]
    assert (folder / "step-000002" / "run.json").read_bytes() == kept
    assert sorted(path.name for path in (folder / "replaced").iterdir()) == ["step-000003", "step-000004"]
    assert_frame_equal(resumed.table().head(3), before.head(3))
    assert gradprism.check(resumed.runs[3].path).is_whole


def test_a_failure_ends_a_training_at_its_first_step_and_no_later(
    make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    class Obstacle(TrainerCallback):
        """Puts a file where a step's run would be."""

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            (tmp_path / "spectra" / "step-000002").write_text("in the way")

    obstacle = [SpectraCallback(sample_rows[:2], every=2, projections="q"), Obstacle()]
    trainer = trainer_of(make_model("llama"), tokenizer, sample_rows, tmp_path, obstacle)
    with pytest.warns(UserWarning, match="step 2 was not measured: .*step-000002 is no folder"):
        trainer.train()
    assert list(gradprism.open_steps(tmp_path / "spectra").runs) == [0, 4]
    unreadable = SpectraCallback([{"unknown": "column"}], out=tmp_path / "other")
    with pytest.raises(GradPrismError, match="Do not know how to read rows with the columns 'unknown'"):
        trainer_of(make_model("llama"), tokenizer, sample_rows, tmp_path, [unreadable]).train()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "every=0. Expected a whole number, 1 or more"),
        ({"limit": True}, "limit=True. Expected a whole number"),
        ({"rows": [], "live": True}, "live=True reads rows of the batches"),
        ({"layers": [1]}, "layers chooses what live=True reads"),
        ({"max_length": 9}, "max_length has no effect: batches are as the trainer has tokenised them"),
        ({"live": True, "sketch": 8}, "sketch has no effect: live=True has no pass of its own"),
        ({"dtype": "float32"}, "Given dtype together with a model that is loaded already"),
        ({"evry": 3}, "Unknown setting 'evry'; did you mean 'every'"),
    ],
)
def test_options_that_do_nothing_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(GradPrismError, match=said):
        SpectraCallback(**options)


def test_a_callback_without_a_trainer_or_a_tokenizer_says_what_it_needs(
    make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    callback = SpectraCallback(sample_rows[:2], projections="q")
    assert repr(callback) == "SpectraCallback(rows, every 100 steps)"
    with pytest.raises(GradPrismError, match="called outside of a trainer"):
        callback.on_train_begin(None, None, None)
    trainer = trainer_of(make_model("llama"), tokenizer, sample_rows, tmp_path, [callback], steps=1)
    trainer.processing_class = None
    with pytest.raises(GradPrismError, match="the trainer has no tokenizer"):
        trainer.train()
    given = SpectraCallback(sample_rows[:2], projections="q", tokenizer=tokenizer)
    trainer = trainer_of(make_model("llama"), tokenizer, sample_rows, tmp_path, [given], steps=1)
    trainer.processing_class = None
    trainer.train()
    assert list(gradprism.open_steps(tmp_path / "spectra").runs) == [0, 1]


def test_a_folder_without_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=r"holds no steps of a training: there is no training\.json"):
        gradprism.open_steps(tmp_path)


def test_the_page_and_the_figures_take_the_folder(
    make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    callback = SpectraCallback(sample_rows[:4], every=2, projections="q,v", max_length=300)
    trainer_of(make_model("llama"), tokenizer, sample_rows, tmp_path, [callback]).train()
    folder = tmp_path / "spectra"
    steps = gradprism.open_steps(folder)
    drawn = gradprism.draw_figures(folder, out=tmp_path / "figures", formats="png")
    assert [one.name for one in drawn] == ["steps", "steps-layers"]
    numbers = pl.read_csv(drawn[0].csv)
    assert numbers.filter(measure="loss")["mean"].to_list() == pytest.approx(steps.table()["loss"].to_list())
    ranks = (
        steps.layer_means.filter(projection="v").group_by("step", maintain_order=True).agg(pl.mean("effective_rank"))
    )
    own = numbers.filter(measure="effective_rank", line="v")
    assert own["step"].to_list() == [0, 2, 4]
    assert own["mean"].to_list() == pytest.approx(ranks["effective_rank"].to_list())
    of_layer = steps.layer_means.filter(layer=3).group_by("step", maintain_order=True).agg(pl.mean("nuclear_norm"))
    layers = pl.read_csv(drawn[1].csv).filter(measure="nuclear_norm", line="layer 3")
    assert layers["mean"].to_list() == pytest.approx(of_layer["nuclear_norm"].to_list())
    for given in (folder, steps):
        page = gradprism.write_report(given).path
        assert page == folder / "report.html"
        found = re.search(
            r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL
        )
        assert found
        along = json.loads(found[1])["steps"]
        shown = [row["mean"] for row in along["projections"] if (row["measure"], row["line"]) == ("loss", "mean")]
        assert shown == pytest.approx(steps.table()["loss"].to_list(), rel=1e-3)
        assert {row["line"] for row in along["layers"]} == set(pl.read_csv(drawn[1].csv)["line"])
    with pytest.raises(GradPrismError, match="Expected --out"):
        gradprism.draw_figures(folder)
