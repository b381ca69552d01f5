"""Recipes of studies that are wrong: each is refused with the place and what was expected."""

from pathlib import Path
from typing import Any

import pytest
from tests.command import run
from tests.made_studies import study_values, written_study

from gradprism import GradPrismError
from gradprism.cli.recipes import load_verb_and_recipe
from gradprism.core.settings import checked
from gradprism.engine.settings import EngineSettings
from gradprism.prism.measures import MEASURES
from gradprism.scoring.settings import ScoreRecipe
from gradprism.study.command import _command
from gradprism.study.settings import StudyRecipe
from gradprism.study.steps import steps_of

ROOT = Path(__file__).resolve().parents[2]
CONTRAST = {"length": {"first": "long", "second": "short"}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"colour": "red"}, "colour"),
        ({"models": {}}, "models"),
        ({"models": {"../up": {"model": "x"}}}, "no name of a part of a study"),
        ({"models": {"a/b": {"model": "x"}}}, "no name of a part of a study"),
        ({"models": {".hidden": {"model": "x"}}}, "no name of a part of a study"),
        ({"models": {"": {"model": "x"}}}, "no name of a part of a study"),
        ({"models": {"tiny": {"model": "x", "parameters": -1}}}, "parameters"),
        ({"models": {"tiny": {"modle": "x"}}}, "modle"),
        ({"sets": {"a\nb": {"data": "x.jsonl"}}}, "no name of a part of a study"),
        ({"sets": {"a b": {"data": "x.jsonl"}}}, "no name of a part of a study"),
        ({"sets": {"long": {"data": 7}}}, "sets.long"),
        ({"texts": {"whole": {"rows": 0}}}, "rows"),
        ({"contrasts": {"c": {"first": "long", "second": "nowhere"}}}, "no set 'nowhere'; there are long, short"),
        ({"claims": {"c": {"says": "?", "measure": "effective_rank"}}}, "expects `lower` or `higher`"),
        ({"claims": {"c": {"says": "?", "measure": "mad:nuclear_norm", "expect": "near 0"}}}, "expects `lower`"),
        ({"claims": {"c": {"says": "?", "measure": "beauty"}}}, "no measure 'beauty'; there are nuclear_norm, "),
        ({"claims": {"c": {"says": "?", "measure": "mad:separation"}}}, "no measure 'mad:separation'"),
        ({"claims": {"c": {"says": "?", "measure": "mad:mad:stable_rank"}}}, "no measure 'mad:mad:stable_rank'"),
        ({"claims": {"c": {"says": "?", "measure": ["nuclear_norm"]}}}, "claims.c.measure"),
        (
            {"claims": {"c": {"says": "?", "measure": "relative_effective_rank", "expect": "higher"}}},
            "claims.c: relative_effective_rank is relative to a null, which is not drawn; expected `prism: {null_draws",
        ),
        (
            {"claims": {"c": {"says": "?", "measure": "mad:relative_nuclear_norm", "expect": "lower"}}},
            "claims.c: relative_nuclear_norm is relative to a null",
        ),
        (
            {"claims": {"c": {"says": "?", "measure": "leading_share", "expect": "lower"}}},
            "claims.c: the comparisons leave leading_share out; expected it in `compare: {measures: [...]}`",
        ),
        ({"compare": {"measures": ["nuclear_norm"]}}, "claims.rank: the comparisons leave effective_rank out"),
        ({"claims": {"c": {"says": "?", "measure": "families", "contrasts": ["x*"]}}}, "leave `contrasts` out"),
        ({"claims": {"c": {"says": "?", "measure": "separation", "contrasts": ["x*"]}}}, "no contrast 'x*'"),
        ({"claims": {"c": {"says": "?", "measure": "adjacent_cosine", "expect": "lower"}}}, "leave it out"),
        ({"pools": {"p": {"data": "p.jsonl"}}}, "pools and scores belong together"),
        ({"scores": {"length": {"metric": "length"}}}, "pools and scores belong together"),
        ({"compare": {"against": "long"}}, "a study names its contrasts"),
        ({"engine": {"workers": 2}}, "only for the Ray engine"),
        ({"ends": 1}, "ends"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(GradPrismError) as refusal:
        checked(StudyRecipe, study_values() | changes)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    ("measure", "more"),
    [
        *((name, {}) for name in MEASURES),
        *((f"mad:{name}", {}) for name in MEASURES),
        ("relative_effective_rank", {"prism": {"null_draws": 1}}),
        ("relative_nuclear_norm", {"prism": {"null_draws": 4}}),
        ("leading_share", {"compare": {"measures": "all"}}),
        ("gradient_l2", {"compare": {"measures": "gradient_l2"}}),
    ],
)
def test_a_claim_is_on_any_measure_that_is_compared(measure: str, more: dict[str, Any]) -> None:
    claims = {"c": {"says": "?", "measure": measure, "expect": "higher"}}
    assert checked(StudyRecipe, study_values(claims=claims, **more)).claims["c"].measure == measure


def test_settings_that_one_metric_alone_has_reach_its_score() -> None:
    scores = {"s": {"metric": "length", "own": {"weight": 2}}}
    study = checked(StudyRecipe, study_values(pools={"pool": {"data": "pool.jsonl"}}, scores=scores))
    score = next(step.recipe for step in steps_of(study) if step.name == "pools/pool/scores/s")
    assert isinstance(score, ScoreRecipe)
    assert score.own == {"weight": 2}


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "verb: [study]\n", "verb: study\nmodels: {a: {model: x}\n", "\x00"])
def test_what_is_no_recipe_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GradPrismError, match="recipe"):
        load_verb_and_recipe(path)[1]


@pytest.mark.parametrize("name", ["small", "paper"])
def test_the_studies_of_the_project_can_be_read(name: str) -> None:
    recipe = load_verb_and_recipe(ROOT / "studies" / f"{name}.yaml")[1]
    assert isinstance(recipe, StudyRecipe)
    assert {model.family for model in recipe.models.values()} != {None}


def test_other_recipes_are_no_studies(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("{verb: spectra, data: [a.jsonl], checkpoint: {model: smollm2-135m}, out: run}", encoding="utf-8")
    done = run("study", path, "--dry-run", "--limit", 2)
    assert done.returncode == 2
    assert "a recipe of `gradprism spectra`. Expected a study" in done.stderr
    done = run("run", path, "--dry-run")
    assert done.returncode == 2
    assert "--dry-run" in done.stderr


def test_the_command_that_makes_a_study_again_names_what_it_was_given() -> None:
    engine = EngineSettings(engine="ray", workers=2)
    assert _command("s.yaml", "/home/me/data", ("a", "b=c"), 4, "runs/x", engine) == (
        "gradprism study s.yaml --data DIR --model a --model b=c --limit 4 --out runs/x --engine ray --workers 2"
    )
    assert _command("s.yaml", None, (), None, None, EngineSettings()) == "gradprism study s.yaml"


def test_a_wrong_recipe_ends_with_its_message_alone(tmp_path: Path) -> None:
    done = run("study", written_study(tmp_path, models={}), "--dry-run")
    assert done.returncode == 2
    assert done.stderr.startswith("gradprism: Settings not understood:")
    assert "Traceback" not in done.stderr
