"""Titles and labels of pages: no two comparisons of a page, and no two bare runs, go by the same words."""

from typing import Any

from gradprism.report.page import page_labels, page_title


def model(name: str, *groups: str, data: str = "", run: str = "run") -> dict[str, Any]:
    return {"name": name, "groups": [{"name": group, "run": run} for group in groups], "data": data}


def labels(*models: dict[str, Any]) -> list[str]:
    return [each["label"] for each in page_labels(models)]


def test_a_run_alone_goes_by_its_name_its_data_and_its_model() -> None:
    assert page_title([model("tiny", "run", data="a.jsonl")]) == "run (a.jsonl) on tiny"
    assert page_title([model("tiny", "run", data="b.jsonl")]) == "run (b.jsonl) on tiny"
    assert labels(model("tiny", "run", data="a.jsonl")) == ["run on tiny"]


def test_runs_of_two_models_have_their_own_models() -> None:
    two = [model("tiny", "run-a", data="a.jsonl"), model("large", "run-b", data="a.jsonl")]
    assert labels(*two) == ["run-a on tiny", "run-b on large"]
    assert page_title(two) == "run-a on tiny, run-b on large"


def test_models_with_the_same_groups_are_told_by_model_alone() -> None:
    two = [model("tiny", "high", "low"), model("large", "high", "low")]
    assert labels(*two) == ["tiny", "large"]
    assert page_title(two) == "high · low on tiny, large"


def test_models_with_other_groups_have_each_its_own() -> None:
    two = [model("tiny", "high", "low"), model("tiny", "long", "short")]
    assert labels(*two) == ["high · low on tiny", "long · short on tiny"]


def test_comparisons_that_are_named_alike_are_numbered() -> None:
    assert labels(*[model("tiny", "high", "low")] * 2) == ["tiny (1)", "tiny (2)"]
    assert labels(model("tiny", "run"), model("tiny", "run"), model("large", "run")) == [
        "run on tiny (1)", "run on tiny (2)", "run on large",
    ]  # fmt: skip


def test_comparisons_that_are_named_alike_go_by_their_runs_and_else_by_their_data() -> None:
    runs = [model("tiny", "high", "low", run=run) for run in ("wizard", "hermes")]
    assert labels(*runs) == ["tiny (wizard)", "tiny (hermes)"]
    assert page_title(runs) == "high · low on tiny (wizard), tiny (hermes)"
    data = [model("tiny", "run", data=data) for data in ("a.jsonl", "b.jsonl")]
    assert labels(*data) == ["run on tiny (a.jsonl)", "run on tiny (b.jsonl)"]
    assert page_title(data) == "run on tiny (a.jsonl), run on tiny (b.jsonl)"


def test_no_label_turns_the_direction_of_what_follows() -> None:
    assert labels(model("\u202etiny", "high", "low")) == ["tiny"]
