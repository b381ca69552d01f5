import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import gradprism
from gradprism.ablation.api import open_ablation
from gradprism.ablation.figures import arm_looks
from gradprism.ablation.result import BETTER
from gradprism.core.errors import GradPrismError
from tests.ablation.made_ablations import rows, write

pytestmark = pytest.mark.slow  # they train models

HOW: dict[str, Any] = {
    "tokens": 800, "step_tokens": 100, "seeds": 2, "eval_points": 2, "learning_rate": 3e-3, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    pool = [*rows(40, 0), *rows(40, 0, kind="noise")]
    return write(folder / "pool.jsonl", pool), write(folder / "eval.jsonl", rows(12, 9))


@pytest.fixture(scope="module")
def made(files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An ablation of a pool of which one half is noise."""
    pool, evaluation = files
    arms = {"true": {"where": "kind = 'true'"}, "noise": {"where": "kind = 'noise'"}, "longest": {"by": "length"}}
    return gradprism.ablate(
        pool, str(tiny_checkpoint), arms=arms, evals={"held": str(evaluation)},
        out=tmp_path_factory.mktemp("ablation") / "out", **HOW,
    )  # fmt: skip


def test_the_arm_without_noise_wins(made: Any) -> None:
    verdicts = dict(made.effects.select("arm", "verdict").rows())
    differences = dict(made.effects.select("arm", "difference").rows())
    assert differences["true"] < 0 < differences["noise"]
    assert verdicts["true"] == BETTER
    ((_, said),) = made.sentences
    assert "true (" in said
    assert "beats random rows" in said


def test_every_arm_trained_on_the_same_tokens_in_the_same_steps(made: Any) -> None:
    tokens = made.rows.group_by("arm", "seed").agg(pl.col("n_response_tokens").sum(), pl.col("step").max())
    assert set(tokens["n_response_tokens"]) == {800}
    assert set(tokens["step"]) == {8}
    assert set(made.steps.group_by("arm", "seed").len()["len"]) == {8}


def test_losses_before_any_training_are_those_of_the_model(
    made: Any, files: tuple[Path, Path], tiny_checkpoint: Path
) -> None:
    scored = gradprism.score(str(files[1]), "loss", model=str(tiny_checkpoint), out=made.path / "scored")
    expected = scored.scores("loss")["value"].to_list()
    before = made.losses.filter(step=0, arm="random", seed=0).sort("row")
    assert (before["nll"] / before["n_tokens"]).to_list() == pytest.approx(expected, rel=1e-5)


def test_tables_figures_and_page_are_there(made: Any) -> None:
    names = {str(file.relative_to(made.path)) for file in made.path.rglob("*") if file.is_file()}
    assert {"README.md", "recipe.yaml", "ablation.json", "figures/arms.png", "figures/curves.png",
            "tables/effects.csv", "tables/effects.parquet", "arms/true/seed-1/losses.parquet"} <= names  # fmt: skip
    text = (made.path / "README.md").read_text()
    assert text.index("beats random rows") < text.index("![")
    assert "800" in text
    assert pl.read_parquet(made.path / "tables/effects.parquet").equals(made.effects)


def page_data(page: Path) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found
    return json.loads(found[1])


def test_no_two_arms_look_alike() -> None:
    arms = ["random", *(f"arm {n}" for n in range(20))]
    looks = arm_looks(arms)
    assert [*looks] == arms
    assert len({(look.colour, look.marker, look.dash) for look in looks.values()}) == len(arms)
    assert len({looks[arm].colour for arm in arms[:9]}) == 9


def test_a_report_shows_it_beside_a_run(made: Any, files: tuple[Path, Path], tiny_checkpoint: Path) -> None:
    run = gradprism.spectra(files[0], str(tiny_checkpoint), out=made.path / "run", limit=4)
    page = made.path / "both.html"
    gradprism.write_report(run, made.path, out=page)
    (shown,) = page_data(page)["ablations"]
    assert [tuple(pair) for pair in shown["sentences"]] == made.sentences
    assert [row["arm"] for row in shown["effects"]] == made.effects["arm"].to_list()
    assert shown["effects"][0]["difference"] == pytest.approx(made.effects["difference"][0], rel=1e-6)
    gradprism.write_report(run, out=page)
    assert page_data(page)["ablations"] == []
    with pytest.raises(GradPrismError, match="whose pool is no run: its page is"):
        gradprism.write_report(made, out=page)


def test_it_opens_again_and_shows_itself(made: Any) -> None:
    again = open_ablation(made.path)
    assert again.effects.equals(made.effects)
    assert again.losses.equals(made.losses)
    assert "beats random rows" in repr(again)
    assert "beats random rows" in again._repr_html_()
    with pytest.raises(GradPrismError, match="No ablation at"):
        open_ablation(made.path / "tables")


def again(files: tuple[Path, Path], checkpoint: Path, out: Path, **changes: Any) -> Any:
    options = {"arms": "longest", "evals": {"held": str(files[1])}, **HOW, "seeds": 1} | changes
    return gradprism.ablate(files[0], str(checkpoint), out=out, **options)


def test_it_goes_on_with_more_arms_and_seeds_and_trains_those_alone(
    files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = again(files, tiny_checkpoint, out)
    assert first.jobs.height == 2
    seconds = dict(zip(first.jobs["arm"], first.jobs["seconds"], strict=True))
    more = again(files, tiny_checkpoint, out, arms="longest,shortest", seeds=2)
    assert more.jobs.height == 6
    kept = more.jobs.filter(seed=0, arm="longest")["seconds"].item()
    assert kept == seconds["longest"]
    assert more.effects["seeds"].to_list() == [2, 2]


def test_a_run_may_be_given_opened(files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path) -> None:
    run = gradprism.score(files[0], "length", model=str(tiny_checkpoint), out=tmp_path / "run")
    plan = {"arms": "longest", "evals": {"held": str(files[1])}, **HOW, "seeds": 1}
    found = gradprism.ablate(run, str(tiny_checkpoint), out=tmp_path / "out", **plan)
    assert found.recipe.data == (str(run.path),)


def test_other_settings_are_refused_by_name(files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path) -> None:
    again(files, tiny_checkpoint, tmp_path / "out")
    with pytest.raises(GradPrismError, match=r"--learning-rate 0\.003 \(now 0\.0001\)"):
        again(files, tiny_checkpoint, tmp_path / "out", learning_rate=1e-4)


def test_what_fails_is_said_and_the_others_go_on(
    files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    found = again(
        files, tiny_checkpoint, tmp_path / "out", arms=["longest", "nothing=ifd", "few=ids:" + str(tmp_path / "ids")]
    )
    assert set(found.refused) == {"nothing", "few"}
    assert found.arms == ("random", "longest")
    assert any("nothing:" in problem and "ifd" in problem for problem in found.problems)


def test_a_diverging_arm_is_a_row_with_its_reason(
    files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(GradPrismError, match="No training of the arm `random` ended:\nrandom, seed 0: the loss is"):
        again(files, tiny_checkpoint, tmp_path / "out", learning_rate=1e30, schedule="constant", warmup=0.0)


def test_a_budget_beyond_the_pool_is_refused(files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=r"The arm random has .* Expected --tokens"):
        again(files, tiny_checkpoint, tmp_path / "out", tokens=10**6)


def test_metrics_of_a_run_rank_its_rows(files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path) -> None:
    run = gradprism.spectra(files[0], str(tiny_checkpoint), out=tmp_path / "run", sketch=64)
    arms = ["effective_rank:mean+given-length", "nuclear_norm:mean", "diverse"]
    found = gradprism.ablate(run.path, str(tiny_checkpoint), arms=arms, evals={"held": str(files[1])},
                             out=tmp_path / "out", **HOW | {"seeds": 1})  # fmt: skip
    assert found.arms == ("random", *arms)
    assert not found.problems
    assert found.effects["verdict"].unique().to_list() == ["unknown"]  # one seed has no variance
    taken = set(found.rows.filter(arm="nuclear_norm:mean")["row"])
    norms = run.table().filter(pl.col("row").is_in(list(taken)))
    assert norms.height == len(taken)


@pytest.mark.parametrize(
    "changes", [{"lora_rank": 4, "learning_rate": 3e-2}, {"amp": "bf16"}, {"gradient_checkpointing": True}]
)
def test_other_ways_to_train(files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path, changes: Any) -> None:
    found = again(files, tiny_checkpoint, tmp_path / "out", keep_models=True, **changes)
    assert not found.problems
    told = found.steps.filter(arm="random").sort("step")["loss"]
    assert told[-3:].mean() < told[:3].mean()
    model = tmp_path / "out/arms/random/seed-0/model"
    kept = "adapter_config.json" if "lora_rank" in changes else "config.json"
    assert (model / kept).is_file()


def test_a_recipe_replays(files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    from gradprism.cli import main

    again(files, tiny_checkpoint, tmp_path / "out")
    with pytest.raises(SystemExit) as ended:
        main(["run", str(tmp_path / "out/recipe.yaml"), "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["effects"][0]["arm"] == "longest"


def test_an_evaluation_that_is_not_finite_is_a_failed_training(
    files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """One step, whose own loss is that of the model before it: what breaks shows in the evaluation alone."""
    with pytest.raises(GradPrismError, match=r"the loss of row \d+ of --eval held is (nan|inf)"):
        again(files, tiny_checkpoint, tmp_path / "out", tokens=100, learning_rate=1e30, schedule="constant", warmup=0.0)


def test_a_folder_of_something_else_is_refused(files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path) -> None:
    run = gradprism.spectra(files[0], str(tiny_checkpoint), out=tmp_path / "run", limit=2)
    recipe = (run.path / "recipe.yaml").read_text()
    with pytest.raises(GradPrismError, match="is not a folder of an ablation"):
        again(files, tiny_checkpoint, run.path)
    assert (run.path / "recipe.yaml").read_text() == recipe
    with pytest.raises(GradPrismError, match="an ablation is written on a disk"):
        gradprism.ablate(files[0], str(tiny_checkpoint), arms="longest", evals={"held": str(files[1])},
                         out="s3://bucket/ablation", **HOW)  # fmt: skip


def test_what_an_arm_was_before_is_not_shown_as_what_it_is(
    files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    ids = tmp_path / "ids"
    ids.write_text("\n".join(f"true-0-{n}" for n in range(40)))
    first = again(files, tiny_checkpoint, tmp_path / "out", arms=f"mine=ids:{ids}")
    assert first.arms == ("random", "mine")
    ids.write_text("nobody\n")
    second = again(files, tiny_checkpoint, tmp_path / "out", arms=f"mine=ids:{ids}")
    assert second.arms == ("random",)
    assert "nobody" in second.refused["mine"]
    assert open_ablation(tmp_path / "out").arms == ("random",)


def test_models_are_kept_of_trainings_that_were_done_without(
    files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    before = again(files, tiny_checkpoint, tmp_path / "out", tokens=200)
    after = again(files, tiny_checkpoint, tmp_path / "out", tokens=200, keep_models=True)
    assert after.losses.equals(before.losses)
    assert (tmp_path / "out/arms/longest/seed-0/model/config.json").is_file()


def test_a_run_that_was_measured_otherwise_is_said(
    files: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    run = gradprism.spectra(files[0], str(tiny_checkpoint), out=tmp_path / "run", max_length=64)
    found = gradprism.ablate(run.path, str(tiny_checkpoint), arms="loss", evals={"held": str(files[1])},
                             out=tmp_path / "out", **HOW | {"seeds": 1, "tokens": 200})  # fmt: skip
    assert "measured with another max_length 64 (here 512)" in (found.path / "README.md").read_text()
