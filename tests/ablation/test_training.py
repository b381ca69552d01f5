import copy
import random
from typing import Any

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from gradprism.ablation.arms import Steps, TrainRow
from gradprism.ablation.settings import TrainSettings
from gradprism.ablation.training import DivergedError, response_nll, train
from gradprism.data.encode import Encoded
from gradprism.models.likelihood import Batch


def made_steps(n_steps: int, rows_a_step: int, seed: int = 0) -> Steps:
    rng = random.Random(seed)

    def encoded() -> Encoded:
        prompt, response = rng.randint(2, 9), rng.randint(1, 12)
        ids = tuple(rng.randint(1, 500) for _ in range(prompt + response))
        return Encoded(ids, (False,) * prompt + (True,) * response, False)

    return tuple(tuple(TrainRow(i, str(i), encoded()) for i in range(rows_a_step)) for _ in range(n_steps))


def true_nll(model: Any, encoded: Encoded) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([encoded.ids])).logits[0]
    logs = torch.log_softmax(logits.double(), -1)
    return -sum(logs[at - 1, encoded.ids[at]] for at in range(len(encoded.ids)) if encoded.response_mask[at])


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_the_loss_is_that_of_the_response_tokens(make_model: Any, family: str) -> None:
    model = make_model(family)
    rows = made_steps(1, 5)[0]
    found = response_nll(model, Batch.of([each.encoded for each in rows], torch.device("cpu")))
    assert found.item() == pytest.approx(sum(true_nll(model, each.encoded).item() for each in rows), rel=1e-5)


def test_a_training_is_that_of_a_plain_loop(make_model: Any) -> None:
    """AdamW over whole steps, one example at a time, in fp64."""
    steps, settings = made_steps(6, 4), TrainSettings(tokens=6, step_tokens=1, learning_rate=1e-3, warmup=0.34)
    model = make_model("llama")
    plain = copy.deepcopy(model).double()
    log = train(model, steps, settings, None, 0, "cpu", lambda step: None, lambda rows, tokens: None)
    optimiser = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimiser, 2, 6)
    for step, told in zip(steps, log.rows, strict=True):
        tokens = sum(each.encoded.n_response_tokens for each in step)
        loss = sum(true_nll(plain, each.encoded) for each in step) / tokens
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        assert told["loss"] == pytest.approx(loss.item(), rel=2e-3)
        assert told["grad_norm"] == pytest.approx(norm.item(), rel=2e-3)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=2e-4)


@pytest.mark.slow  # half a second or more
def test_batches_do_not_change_a_step(make_model: Any) -> None:
    steps, settings = made_steps(3, 8), TrainSettings(tokens=3, step_tokens=1, learning_rate=1e-3)
    logs = [
        train(make_model("llama"), steps, settings, most, 0, "cpu", lambda step: None, lambda rows, tokens: None).rows
        for most in (20, 1000)
    ]
    for one, other in zip(*logs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_evaluations_come_after_the_steps_that_are_named(make_model: Any) -> None:
    seen: list[int] = []
    settings = TrainSettings(tokens=6, step_tokens=1, eval_points=3)
    train(make_model("llama"), made_steps(6, 2), settings, None, 0, "cpu", seen.append, lambda rows, tokens: None)
    assert seen == [2, 4, 6]


def test_a_loss_that_is_not_finite_ends_the_training(make_model: Any) -> None:
    model = make_model("llama")
    settings = TrainSettings(tokens=4, step_tokens=1, learning_rate=1e30, warmup=0, schedule="constant")
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) at step [234]"):
        train(model, made_steps(4, 2), settings, None, 0, "cpu", lambda step: None, lambda rows, tokens: None)


def test_accelerate_is_left_as_it_was_found(make_model: Any) -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    settings = TrainSettings(tokens=2, step_tokens=1)
    AcceleratorState._reset_state(reset_partial_state=True)
    train(make_model("llama"), made_steps(2, 2), settings, None, 0, "cpu", lambda step: None, lambda rows, tokens: None)
    assert Accelerator(mixed_precision="bf16", cpu=True).mixed_precision == "bf16"
    AcceleratorState._reset_state(reset_partial_state=True)
