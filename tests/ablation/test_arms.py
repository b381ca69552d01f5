from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradprism.ablation import arms as arms_room
from gradprism.ablation.arms import TrainRow, steps_of_arm
from gradprism.ablation.pool import Pool, make_pool
from gradprism.ablation.settings import Arm, TrainSettings, read_arm
from gradprism.core.errors import GradPrismError
from gradprism.data.encode import Encoded, make_encoder
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings, TextSettings
from tests.ablation.made_ablations import rows, write


@pytest.fixture(scope="module")
def pool(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    path = write(tmp_path_factory.mktemp("pool") / "pool.jsonl", rows(40, 0, words=(3, 30)))
    return make_pool(None, open_examples((str(path),), ReadSettings()), {}, make_encoder(tokenizer, TextSettings()))


def arm(text: str) -> tuple[str, Arm]:
    name, values = read_arm(text)
    return name, Arm(**values)


@pytest.mark.parametrize("text", ["random", "longest", "shortest", "ids"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_every_arm_has_exactly_the_tokens_and_steps_asked_for(
    pool: Pool, tmp_path: Path, text: str, epochs: int
) -> None:
    if text == "ids":
        (tmp_path / "ids").write_text("\n".join(f"true-0-{n}" for n in range(30)))
        text = f"ids:{tmp_path / 'ids'}"
    train = TrainSettings(tokens=997, step_tokens=150, epochs=epochs)
    for seed in (0, 1):
        steps, _ = steps_of_arm(*arm(text), pool, train, seed)
        taken = [each for step in steps for each in step]
        assert len(steps) == train.steps
        assert all(steps)
        assert sum(each.encoded.n_response_tokens for each in taken) == 997
        assert sum(each.cut for each in taken) <= 2 * epochs


def test_masks_are_those_of_the_encoded_rows_but_for_the_row_that_is_cut(pool: Pool) -> None:
    steps, _ = steps_of_arm(*arm("random"), pool, TrainSettings(tokens=700, step_tokens=100), 3)
    for step in steps:
        for each in step:
            whole = pool.encoded[each.row]
            if not each.cut:
                assert each.encoded == whole
            else:
                kept = len(each.encoded.ids)
                assert each.encoded.ids == whole.ids[:kept]
                assert each.encoded.response_mask == whole.response_mask[:kept]
                assert each.encoded.response_mask[-1]


def rows_of(pool: Pool, text: str, seed: int = 0, **train: Any) -> set[int]:
    steps, _ = steps_of_arm(*arm(text), pool, TrainSettings(**{"tokens": 600, "step_tokens": 100} | train), seed)
    return {each.row for step in steps for each in step}


def test_random_rows_differ_by_seed_and_ranked_rows_do_not(pool: Pool) -> None:
    assert rows_of(pool, "random", 0) != rows_of(pool, "random", 1)
    assert rows_of(pool, "longest", 0) == rows_of(pool, "longest", 1)
    assert rows_of(pool, "random", 0) == rows_of(pool, "random", 0)


def test_the_order_of_rows_differs_by_seed(pool: Pool) -> None:
    train = TrainSettings(tokens=600, step_tokens=100)
    orders = [[each.row for step in steps_of_arm(*arm("longest"), pool, train, seed)[0] for each in step]
              for seed in (0, 1)]  # fmt: skip
    assert orders[0] != orders[1]


def test_longest_and_shortest_are_by_response_tokens(pool: Pool) -> None:
    lengths = {row: encoded.n_response_tokens for row, encoded in pool.encoded.items()}
    longest, shortest = rows_of(pool, "longest"), rows_of(pool, "shortest")
    assert min(lengths[row] for row in longest) >= max(lengths[row] for row in pool.encoded if row not in longest)
    assert max(lengths[row] for row in shortest) <= min(lengths[row] for row in pool.encoded if row not in shortest)


def test_more_epochs_see_fewer_rows_as_often(pool: Pool) -> None:
    once, thrice = rows_of(pool, "longest"), rows_of(pool, "longest", epochs=3)
    assert thrice < once
    assert len(rows_of(pool, "all", epochs=3)) > len(thrice)


def test_ids_are_drawn_from_alone(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(f"true-0-{n}" for n in range(20)) + "\n")
    assert rows_of(pool, f"ids:{tmp_path / 'ids'}") <= set(range(20))
    (tmp_path / "other").write_text("nobody\n")
    with pytest.raises(GradPrismError, match="lists 1 ids that the pool has not, such as 'nobody'"):
        rows_of(pool, f"ids:{tmp_path / 'other'}")
    (tmp_path / "none").write_text("\n")
    with pytest.raises(GradPrismError, match="lists no ids"):
        rows_of(pool, f"ids:{tmp_path / 'none'}")


def test_rows_without_a_value_are_not_taken_and_too_few_are_said(tokenizer: Any, tmp_path: Path) -> None:
    made = [{**row, "mine": None if n % 4 else n} for n, row in enumerate(rows(40, 0, words=(3, 30)))]
    path = write(tmp_path / "pool.jsonl", made)
    some = make_pool(None, open_examples((str(path),), ReadSettings()), {}, make_encoder(tokenizer, TextSettings()))
    assert rows_of(some, "column:mine", tokens=300) <= {n for n in range(40) if not n % 4}
    with pytest.raises(GradPrismError, match=r"The arm column:mine has [\d,]+ response tokens in 10 rows"):
        rows_of(some, "column:mine", tokens=2000)


def test_where_limits_an_arm(pool: Pool) -> None:
    steps, _ = steps_of_arm("few", Arm(where="id < 'true-0-2'"), pool, TrainSettings(tokens=50, step_tokens=50), 0)
    assert {each.example_id < "true-0-2" for step in steps for each in step} == {True}


@pytest.mark.parametrize(
    ("text", "train", "problem"),
    [
        ("longest", {"tokens": 10**6}, "The arm longest has .* response tokens in 40 rows, and 1,000,000"),
        ("longest", {"tokens": 600, "step_tokens": 10}, "cannot be laid out in 60 steps.*--step-tokens"),
        ("nonsense", {}, "nonsense"),
        ("diverse", {}, "--diverse compares gradients, and data alone have none"),
    ],
)
def test_an_arm_that_cannot_be_had_says_why(pool: Pool, text: str, train: dict[str, Any], problem: str) -> None:
    with pytest.raises(GradPrismError, match=problem):
        rows_of(pool, text, **train)


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=60),
    n_steps=st.integers(1, 30),
)
def test_steps_keep_every_row_in_order_and_none_is_empty(lengths: list[int], n_steps: int) -> None:
    walk = [
        TrainRow(row, str(row), Encoded((1,) * (n + 1), (False, *(True,) * n), False)) for row, n in enumerate(lengths)
    ]
    total = sum(lengths)
    train = TrainSettings(tokens=total, step_tokens=max(1, round(total / n_steps)))
    if len(walk) < train.steps:
        with pytest.raises(GradPrismError):
            arms_room._in_steps(walk, train)
        return
    steps = arms_room._in_steps(walk, train)
    assert len(steps) == train.steps
    assert all(steps)
    assert [each for step in steps for each in step] == walk
