from typing import Any

import pytest

from gradprism.ablation.pool import encoded_evals, make_pool
from gradprism.core.errors import GradPrismError
from gradprism.data.encode import make_encoder
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings, TextSettings
from tests.ablation.made_ablations import rows


def opened(made: list[dict[str, str]]) -> Any:
    return open_examples(made, ReadSettings())


def made_pool(tokenizer: Any, pool: list[dict[str, str]], evaluation: list[dict[str, str]]) -> Any:
    return make_pool(None, opened(pool), {"held": opened(evaluation)}, make_encoder(tokenizer, TextSettings()))


def test_rows_that_are_evaluated_on_are_left_out(tokenizer: Any) -> None:
    pool, evaluation = rows(12, 0), rows(5, 1)
    copied = [{**evaluation[2], "id": "copy"}, {**evaluation[3], "id": "other answer", "response": "no idea at all"},
              {**evaluation[4], "id": "capitals", "prompt": evaluation[4]["prompt"].upper()}]  # fmt: skip
    found = made_pool(tokenizer, [*pool, *copied], evaluation)
    assert found.overlap == {"held": 3}
    assert sorted(found.encoded) == list(range(12))


def test_duplicates_within_the_pool_stay(tokenizer: Any) -> None:
    pool = rows(6, 0)
    found = made_pool(tokenizer, [*pool, *({**row, "id": f"{row['id']}b"} for row in pool)], rows(3, 1))
    assert len(found.encoded) == 12


def test_a_twin_of_a_pool_row_that_is_near_an_evaluation_row_is_left_out_too(tokenizer: Any) -> None:
    evaluation = rows(2, 1)
    near = {**evaluation[0], "id": "a", "response": evaluation[0]["response"] + " and more"}
    found = made_pool(tokenizer, [near, {**near, "id": "b"}, *rows(3, 0)], evaluation)
    assert sorted(found.encoded) == [2, 3, 4]


def test_short_prompts_that_many_rows_share_are_no_overlap(tokenizer: Any) -> None:
    pool = [{"id": f"{n}", "prompt": "Continue:", "response": row["response"]} for n, row in enumerate(rows(6, 0))]
    evaluation = [{"id": "e", "prompt": "Continue:", "response": "something else that no row of the pool has said"}]
    assert len(made_pool(tokenizer, pool, evaluation).encoded) == 6


def test_a_pool_of_nothing_but_evaluation_rows_is_refused(tokenizer: Any) -> None:
    with pytest.raises(GradPrismError, match=r"None of the 5 rows of the pool can be trained on \(5 near held\)"):
        made_pool(tokenizer, rows(5, 1), rows(5, 1))


def test_evaluation_rows_without_a_response_are_refused(tokenizer: Any) -> None:
    empty = [{"id": "1", "prompt": "why?", "response": ""}]
    with pytest.raises(GradPrismError, match="--eval held: none of its 1 rows has a response"):
        encoded_evals({"held": opened(empty)}, make_encoder(tokenizer, TextSettings()))
