"""IFD, loss, perplexity and length against plain loops over the losses of an fp64 model, one row at a time."""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracle import TrueModel

import gradprism
from gradprism.core.errors import GradPrismError
from gradprism.data.example import Example, Turn

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Any]) -> Any:
    return make_model("llama")


@pytest.fixture(scope="module")
def true_model(model: Any) -> TrueModel:
    return TrueModel(model)


def text_of(row: dict[str, str]) -> str:
    return row["instruction"] + (f"\n{row['input']}" if row.get("input") else "") + "\n"


@pytest.mark.slow
def test_ifd_scores_exactly_the_same_tokens_with_and_without_the_prompt(
    model: Any, true_model: TrueModel, tokenizer: Any, sample_rows: Rows
) -> None:
    found = gradprism.ifd(sample_rows[:16], model, tokenizer=tokenizer)
    for row, score in zip(sample_rows, found.iter_rows(named=True), strict=False):
        prompt, whole = tokenizer(text_of(row))["input_ids"], tokenizer(text_of(row) + row["output"])["input_ids"]
        whole = whole[:512]  # all the positions that the model has
        given, alone = true_model.loss(whole, len(prompt)), true_model.loss([0, *whole[len(prompt) :]], 1)
        n = len(whole) - len(prompt)
        assert score["n_tokens"] == score["n_tokens_unconditioned"] == n
        assert score["nll_conditioned"] == pytest.approx(given * n, rel=1e-5)
        assert score["nll_unconditioned"] == pytest.approx(alone * n, rel=1e-5)
        assert score["value"] == score["ifd_ppl"] == pytest.approx(math.exp(given - alone), rel=1e-5)
        assert score["ifd_loss"] == pytest.approx(given / alone, rel=1e-5)
        assert score["ppl"] == pytest.approx(math.exp(given), rel=1e-5)


def superfiltering(true_model: TrueModel, tokenizer: Any, row: dict[str, str], max_length: int) -> float:
    """The published formula, written down from its description."""
    whole = tokenizer(text_of(row) + row["output"])["input_ids"][:max_length]
    n_prompt = len(tokenizer(text_of(row))["input_ids"])
    alone = tokenizer(row["output"])["input_ids"][: max_length - n_prompt + 1]
    return math.exp(true_model.loss(whole, n_prompt)) / math.exp(true_model.loss(alone, 1))


@pytest.mark.slow  # a model of 2,048 positions
@pytest.mark.parametrize("max_length", [2048, 90])
def test_superfiltering_is_the_published_formula(
    model: Any, true_model: TrueModel, tokenizer: Any, sample_rows: Rows, max_length: int
) -> None:
    found = gradprism.ifd(sample_rows, model, tokenizer=tokenizer, style="superfiltering", max_length=max_length)
    ok = found.filter(status="ok")
    assert ok.height >= 40
    for score in ok.iter_rows(named=True):
        expected = superfiltering(true_model, tokenizer, sample_rows[score["row"]], min(max_length, 512))
        assert score["value"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow  # four models, in batches and row by row
@pytest.mark.parametrize("style", ["matched", "superfiltering"])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_batch_gives_what_each_row_gives_alone(
    make_model: Callable[..., Any], tokenizer: Any, sample_rows: Rows, style: str, family: str
) -> None:
    model = make_model(family)
    alone = gradprism.ifd(sample_rows[:16], model, tokenizer=tokenizer, style=style, batch_tokens=1)
    together = gradprism.ifd(sample_rows[:16], model, tokenizer=tokenizer, style=style, batch_tokens=100_000)
    for column in ("value", "nll_conditioned", "nll_unconditioned"):
        assert together[column].to_list() == pytest.approx(alone[column].to_list(), rel=1e-5)


def test_truncation_takes_the_same_tokens_from_both_halves(model: Any, tokenizer: Any, sample_rows: Rows) -> None:
    found = gradprism.ifd(sample_rows, model, tokenizer=tokenizer, max_length=60).filter(status="ok")
    assert found["truncated"].any()
    assert found["n_tokens"].to_list() == found["n_tokens_unconditioned"].to_list()


def test_every_answer_of_a_conversation_stands_alone(model: Any, true_model: TrueModel, tokenizer: Any) -> None:
    turns = [("user", "One?"), ("assistant", "It is one."), ("user", "Two?"), ("assistant", "It is two, twice.")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    found = gradprism.ifd([row], model, tokenizer=tokenizer, template="chat").row(0, named=True)
    ids = [tokenizer(f"{text}<|end|>")["input_ids"] for text in (turns[1][1], turns[3][1])]
    alone = sum(true_model.loss([0, *answer], 1) * len(answer) for answer in ids)
    assert found["n_tokens"] == sum(map(len, ids))
    assert found["nll_unconditioned"] == pytest.approx(alone, rel=1e-5)


def test_several_answers_have_no_superfiltering_value_unless_the_last_is_taken(
    model: Any, true_model: TrueModel, tokenizer: Any
) -> None:
    turns = [("user", "One?"), ("assistant", "It is one."), ("user", "Two?"), ("assistant", "It is two, twice.")]
    rows = [{"messages": [{"role": role, "content": content} for role, content in turns]}]
    found = gradprism.ifd(rows, model, tokenizer=tokenizer, style="superfiltering").row(0, named=True)
    assert (found["status"], found["value"]) == ("skipped", None)
    assert "--turns last" in found["reason"]
    last = gradprism.ifd(rows, model, tokenizer=tokenizer, style="superfiltering", turns="last").row(0, named=True)
    before, answer = "\n".join(content for _, content in turns[:3]) + "\n", turns[3][1]
    whole, n = tokenizer(before + answer)["input_ids"], len(tokenizer(before)["input_ids"])
    given, alone = true_model.loss(whole, n), true_model.loss(tokenizer(answer)["input_ids"], 1)
    assert last["value"] == pytest.approx(math.exp(given) / math.exp(alone), rel=1e-5)


def test_a_model_in_training_is_scored_without_dropout(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama", attention_dropout=0.5)
    rows = [{"prompt": "a", "completion": "b c d"}]
    expected = gradprism.loss(rows, model, tokenizer=tokenizer)["value"][0]
    model.train()
    assert gradprism.loss(rows, model, tokenizer=tokenizer)["value"][0] == expected
    assert all(module.training for module in model.modules())


def test_a_tokenizer_without_its_model_is_refused(tokenizer: Any, tiny_checkpoint: Any) -> None:
    with pytest.raises(GradPrismError, match="Given a tokenizer"):
        gradprism.length([{"prompt": "a", "completion": "b"}], str(tiny_checkpoint), tokenizer=tokenizer)


def test_loss_perplexity_and_length(model: Any, tokenizer: Any, sample_rows: Rows) -> None:
    spectra = gradprism.GradientAnalyzer(model, tokenizer).analyze(sample_rows[:5]).examples
    loss = gradprism.loss(sample_rows[:5], model, tokenizer=tokenizer)
    perplexity = gradprism.perplexity(sample_rows[:5], model, tokenizer=tokenizer)
    length = gradprism.length(sample_rows[:5], model, tokenizer=tokenizer)
    assert loss["value"].to_list() == pytest.approx(spectra["loss"].to_list(), rel=1e-6)
    assert perplexity["value"].to_list() == pytest.approx(loss["value"].exp().to_list(), rel=1e-9)
    assert length["value"].to_list() == spectra["n_response_tokens"].to_list()
    assert length["n_prompt_tokens"].to_list() == spectra["n_prompt_tokens"].to_list()


def test_what_has_no_value_is_null_with_its_reason(model: Any, tokenizer: Any) -> None:
    rows = [
        {"prompt": "Say it.", "completion": ""},
        {"prompt": "Say it.", "completion": "It."},
        {"prompt": "word " * 600, "completion": "It."},
        {"prompt": "Say it.", "completion": None},
    ]
    found = gradprism.ifd(rows, model, tokenizer=tokenizer)
    assert found["status"].to_list() == ["skipped", "ok", "skipped", "skipped"]
    assert found["value"].is_null().to_list() == [True, False, True, True]
    assert "empty response" in found["reason"][0]
    assert "fills max_length" in found["reason"][2]


def test_a_response_of_one_token_has_no_superfiltering_value(model: Any, tokenizer: Any) -> None:
    rows = [{"prompt": "Letter?", "completion": "e"}]
    assert gradprism.ifd(rows, model, tokenizer=tokenizer)["status"][0] == "ok"
    found = gradprism.ifd(rows, model, tokenizer=tokenizer, style="superfiltering").row(0, named=True)
    assert found["value"] is None
    assert "first" in found["reason"]


def test_a_model_that_gives_no_number_fails_the_row(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama", seed=3)
    model.lm_head.weight.data[5] = math.nan
    found = gradprism.ifd([{"prompt": "a", "completion": "b c d"}], model, tokenizer=tokenizer).row(0, named=True)
    assert (found["status"], found["value"]) == ("failed", None)
    assert "nan" in found["reason"]


def test_a_token_id_beyond_the_embeddings_fails_its_row_alone(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama")
    model.resize_token_embeddings(len(tokenizer) - 40)
    rows = [{"prompt": "a", "completion": text} for text in ("b", tokenizer.decode([len(tokenizer) - 1] * 3))]
    found = gradprism.loss(rows, model, tokenizer=tokenizer)
    assert found["status"].to_list() == ["ok", "failed"]
    assert "embeddings" in found["reason"][1]


def test_superfiltering_is_a_formula_of_the_paper_template(model: Any, tokenizer: Any) -> None:
    with pytest.raises(GradPrismError, match=r"superfiltering is defined for `--template paper`"):
        gradprism.ifd([{"prompt": "a", "completion": "b"}], model, tokenizer=tokenizer, style="superfiltering",
                      template="chat")  # fmt: skip


def test_superfiltering_takes_the_paper_template_where_none_is_named(
    model: Any, true_model: TrueModel, tokenizer: Any
) -> None:
    turns = (Turn("user", "One?"), Turn("assistant", "It is one."))
    given = [Example(0, "0", turns, is_conversation=True)]
    found = gradprism.ifd(given, model, tokenizer=tokenizer, style="superfiltering")["value"]
    row = {"instruction": "One?", "output": "It is one."}
    assert found[0] == pytest.approx(superfiltering(true_model, tokenizer, row, 512), rel=1e-5)


@pytest.mark.parametrize("cut", ["response_tokens", "prompt_tokens"])
def test_superfiltering_is_a_formula_of_whole_texts(model: Any, tokenizer: Any, cut: str) -> None:
    rows = [{"prompt": "a b c", "completion": "d e f"}]
    with pytest.raises(GradPrismError, match=r"defined for whole prompts and responses"):
        gradprism.ifd(rows, model, tokenizer=tokenizer, style="superfiltering", **{cut: 2})


def test_superfiltering_scores_the_answer_in_the_loss_wherever_it_stands(
    model: Any, true_model: TrueModel, tokenizer: Any
) -> None:
    turns = (
        Turn("user", "One?"), Turn("assistant", "It is one."),
        Turn("user", "Two?"), Turn("assistant", "It is two, twice.", in_loss=False),
    )  # fmt: skip
    found = gradprism.ifd([Example(0, "0", turns)], model, tokenizer=tokenizer, style="superfiltering")
    prompt, answer = tokenizer("One?\n")["input_ids"], tokenizer("It is one.")["input_ids"]
    whole = tokenizer("One?\nIt is one.")["input_ids"]
    expected = math.exp(true_model.loss(whole, len(prompt))) / math.exp(true_model.loss(answer, 1))
    assert found["value"][0] == pytest.approx(expected, rel=1e-5)


def test_superfiltering_of_several_answers_has_no_value_where_only_the_first_is_left(
    model: Any, tokenizer: Any
) -> None:
    turns = (Turn("user", "One?"), Turn("assistant", "It is one."), Turn("user", "b " * 99), Turn("assistant", "Two."))
    found = gradprism.ifd(
        [Example(0, "0", turns)], model, tokenizer=tokenizer, style="superfiltering", max_length=40
    ).row(0, named=True)
    assert (found["status"], found["value"]) == ("skipped", None)


def test_an_end_token_that_the_tokenizer_appends_is_in_neither_half(model: Any, tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    own = deepcopy(tokenizer)
    own.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|end|>", special_tokens=[("<|end|>", own.eos_token_id)]
    )
    assert own("a")["input_ids"][-1] == own.eos_token_id
    rows = [{"prompt": "One?", "completion": "It is one."}]
    appended, plain = (gradprism.ifd(rows, model, tokenizer=each, style="superfiltering") for each in (own, tokenizer))
    assert appended.equals(plain)


def test_characters_are_those_that_answers_in_the_loss_say(model: Any, tokenizer: Any) -> None:
    turns = (
        Turn("user", "One?"), Turn("assistant", "It is one.", in_loss=False),
        Turn("user", "Two?"), Turn("assistant", "Two.", thinking="Hm."),
    )  # fmt: skip
    own = tokenizer_with_thinking(tokenizer)
    found = gradprism.length([Example(0, "0", turns)], model, tokenizer=own, template="chat")
    assert found["n_characters"].to_list() == [len("Hm.\nTwo.")]


def tokenizer_with_thinking(tokenizer: Any) -> Any:
    own = deepcopy(tokenizer)
    own.chat_template = tokenizer.chat_template.replace(
        "{{ m.content }}", "{% if m.thinking %}[{{ m.thinking }}]{% endif %}{{ m.content }}"
    )
    return own


@given(st.floats(-2000, 2000), st.floats(-2000, 2000))
def test_ifd_never_overflows(given_mean: float, alone_mean: float) -> None:
    from gradprism.data.encode import Encoded
    from gradprism.metrics.ifd import Ifd
    from gradprism.metrics.likelihood import Nll

    metric = Ifd.__new__(Ifd)
    metric._value = "ppl"
    score = metric._of_sums(
        Encoded((0, 1), (False, True), False), {"given the prompt": Nll(given_mean, 1), "alone": Nll(alone_mean, 1)}
    )
    assert isinstance(score.value, float)
    if score.value < math.inf:
        assert score.value == pytest.approx(math.exp(given_mean - alone_mean))


@pytest.mark.slow  # smollm2-135m
@pytest.mark.parametrize("n", [5, pytest.param(40, marks=pytest.mark.exhaustive)])
def test_real_rows_with_smollm2(n: int, smollm2: tuple[Any, Any], sample_rows: Rows) -> None:
    model, tokenizer = smollm2
    true_model = TrueModel(model)
    rows = [row | {"output": row["output"][:120]} for row in sample_rows[:n]]  # whole ones take minutes more
    matched = gradprism.ifd(rows, model, tokenizer=tokenizer)
    found = gradprism.ifd(rows, model, tokenizer=tokenizer, style="superfiltering")
    usable = found.filter(pl.col("status") == "ok")["row"].to_list()
    assert len(usable) >= n - 2  # the rest are answers of a single token
    for row in usable[::5]:  # the others would take minutes more
        expected = superfiltering(true_model, tokenizer, rows[row], 2048)
        assert found["value"][row] == pytest.approx(expected, rel=1e-5, abs=1e-10)
        whole, prompt = tokenizer(text_of(rows[row]) + rows[row]["output"])["input_ids"], text_of(rows[row])
        n = len(tokenizer(prompt)["input_ids"])
        start = tokenizer.bos_token_id
        expected = math.exp(true_model.loss(whole, n) - true_model.loss([start, *whole[n:]], 1))
        assert matched["value"][row] == pytest.approx(expected, rel=1e-5, abs=1e-10)
