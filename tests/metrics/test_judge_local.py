"""Judges that run here, against a plain loop over whole forward passes."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from gradprism.core.progress import count_nothing
from gradprism.metrics.judged import Difficulty, Instag

pytest.importorskip("json_repair")

from gradprism.core.errors import GradPrismError
from gradprism.data.example import Example, Turn
from gradprism.data.thoughts import split_thoughts
from gradprism.metrics.judge.local import NumberTokens, Prompts, Question, _decode_answer, number_probabilities
from gradprism.metrics.judge.prompts import make_prompt
from gradprism.metrics.judged import make_judged
from gradprism.metrics.metric import Metric
from gradprism.metrics.settings import JudgeSettings, RequestSettings
from gradprism.models.settings import ExecutionSettings

TEXTS = [
    "Name a bird.",
    "Count to ten, slowly, in three languages.",
    "Why is the sky blue? " * 4,
    "a",
    "List five snacks.",
]
ROWS = [Example(i, str(i), (Turn("user", text), Turn("assistant", "Yes."))) for i, text in enumerate(TEXTS)]


@pytest.fixture
def template(tmp_path: Path) -> str:
    """A short prompt: the tiny model has room for 512 tokens."""
    file = tmp_path / "short.jinja"
    file.write_text("How hard is this, 1 to 10? {{ instruction }}")
    return str(file)


@pytest.fixture
def make(tiny_checkpoint: Path, template: str, tmp_path: Path) -> Callable[..., Metric]:
    def made(
        name: Any = "difficulty", batch_tokens: int | None = None, model: Path = tiny_checkpoint, **judge: Any
    ) -> Metric:
        settings = JudgeSettings(**{"judge": f"local:{model}", "judge_template": template, **judge})
        execution = ExecutionSettings(device="cpu", batch_tokens=batch_tokens)
        return make_judged(
            {"instag": Instag, "difficulty": Difficulty}[name],
            settings,
            RequestSettings(),
            execution,
            tmp_path / "unused.sqlite",
            lambda _: None,
        )

    return made


def by_hand(model: Any, tokenizer: Any, prompt: str) -> tuple[float, float]:
    """Expected value and mass where 10 is written as 1 and 0: each number's probability by its own forward pass."""

    def probability(before: list[int], token: str) -> float:
        logits = model(input_ids=torch.tensor([before])).logits[0, -1].double()
        return float(torch.softmax(logits, 0)[tokenizer.convert_tokens_to_ids(token)])

    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        p = {number: probability(ids, str(number)) for number in range(1, 10)}
        zero = probability([*ids, tokenizer.convert_tokens_to_ids("1")], "0")
    p[10] = p[1] * zero
    p[1] *= 1 - zero
    mass = math.fsum(p.values())
    return math.fsum(number * share for number, share in p.items()) / mass, mass


@pytest.mark.slow
def test_difficulty_is_the_expected_value_together_or_alone(
    make: Callable[..., Metric], make_model: Any, tokenizer: Any, template: str
) -> None:
    together = make(batch_tokens=4096).table(ROWS)
    alone = pl.concat([make(batch_tokens=1).table([row]) for row in ROWS])
    prompt = make_prompt("difficulty", template)
    for frame in (together, alone):
        assert frame["status"].to_list() == ["ok"] * len(ROWS)
        for row, value, mass in zip(ROWS, frame["value"], frame["probability_mass"], strict=True):
            messages = prompt.messages(row)
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            expected = by_hand(make_model("llama"), tokenizer, text)
            assert (value, mass) == pytest.approx(expected, rel=1e-5)
    assert (together["value"] - alone["value"]).abs().max() < 1e-5
    assert together["value"].n_unique() == len(ROWS)
    assert together["value"].is_between(1, 10).all()
    assert together["n_prompt_tokens"].min() > 0
    assert together["parse"].null_count() == together["raw_answer"].null_count() == len(ROWS)


@pytest.mark.slow  # half a second or more
@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_other_families(family: str, make_model: Any, tokenizer: Any) -> None:
    """Gemma caps its logits behind the output layer."""
    model, prompts = make_model(family), Prompts(tokenizer)
    numbers = NumberTokens.of(prompts)
    texts = [prompts.text([{"role": "user", "content": text}]) for text in TEXTS]
    found = number_probabilities(model, [prompts.ids(text) for text in texts], numbers)
    for text, probabilities in zip(texts, found, strict=True):
        mass = sum(probabilities)
        value = sum(number * p for number, p in enumerate(probabilities, start=1)) / mass
        assert (value, mass) == pytest.approx(by_hand(model, tokenizer, text), rel=1e-5)


def test_ten_as_one_token(make_model: Any, tokenizer: Any) -> None:
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    digits = tuple(tokenizer.convert_tokens_to_ids([str(number) for number in range(1, 10)]))
    ten = tokenizer.convert_tokens_to_ids("z")
    model = make_model("llama")
    found = number_probabilities(model, ids, NumberTokens((), digits, ten, None))
    for prompt, probabilities in zip(ids, found, strict=True):
        with torch.no_grad():
            p = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1].double(), 0)
        assert probabilities == pytest.approx(p[[*digits, ten]].tolist(), rel=1e-5)


class Spelling:
    """A tokenizer of pieces: what it is told, else single letters."""

    chat_template = None

    def __init__(self, *pieces: str, before: str = "", bos_token_id: int | None = None):
        self.pieces, self.before = sorted(pieces, key=len, reverse=True), before
        self.bos_token_id = bos_token_id

    def __call__(self, text: str, add_special_tokens: bool = True, **_: Any) -> dict[str, list[int]]:
        ids = [self.bos_token_id] if add_special_tokens and self.bos_token_id is not None else []
        while text:
            piece = next((piece for piece in self.pieces if text.startswith(piece)), text[0])
            text = text[len(piece) :]
            ids += [*map(ord, self.before * piece[0].isdigit()), int.from_bytes(piece.encode())]
        return {"input_ids": ids}


def test_how_tokenizers_write_numbers() -> None:
    one, zero, ten = (int.from_bytes(text.encode()) for text in ("1", "0", "10"))
    two_tokens = NumberTokens.of(Prompts(Spelling()))
    assert (two_tokens.digits[0], two_tokens.ten, two_tokens.zero, two_tokens.after) == (one, None, zero, (one,))
    one_token = NumberTokens.of(Prompts(Spelling("10")))
    assert (one_token.digits[0], one_token.ten, one_token.zero, one_token.after) == (one, ten, None, ())
    marked = NumberTokens.of(Prompts(Spelling("10", before="_")))
    assert (marked.before, marked.ten, marked.after) == ((ord("_"),), ten, (ord("_"),))
    joined = NumberTokens.of(Prompts(Spelling("\n7", "10")))  # the end of the prompt and a digit in one piece
    assert joined == one_token
    with pytest.raises(GradPrismError, match="a separate token for each number from 1 to 10"):
        NumberTokens.of(Prompts(Spelling(before="_")))  # 10 as _1_0


def test_the_beginning_of_text_token_stands_there_once() -> None:
    prompts = Prompts(Spelling("<s>", bos_token_id=int.from_bytes(b"<s>")))
    bos = prompts.tokenizer.bos_token_id
    assert prompts.ids("<s>a") == prompts.ids("a") == [bos, ord("a")]
    assert Prompts(Spelling("<s>")).ids("a") == [ord("a")]


def test_a_tokenizer_without_a_chat_template_gets_a_plain_prompt(
    make: Callable[..., Metric], tiny_checkpoint: Path, make_model: Any, tokenizer: Any, tmp_path: Path, template: str
) -> None:
    from transformers import AutoTokenizer

    plain = AutoTokenizer.from_pretrained(tiny_checkpoint)
    plain.chat_template = None
    folder = tmp_path / "plain"
    make_model("llama").save_pretrained(folder)
    plain.save_pretrained(folder)
    value = make(model=folder).score(ROWS[:1], count_nothing)[0].value
    text = make_prompt("difficulty", template).messages(ROWS[0])[0]["content"] + "\n\nAnswer:\n"
    assert value == pytest.approx(by_hand(make_model("llama"), tokenizer, text)[0], rel=1e-5)


def test_rows_that_cannot_be_asked_about_cost_only_themselves(make: Callable[..., Metric]) -> None:
    long = Example(5, "5", (Turn("user", "bird " * 600), Turn("assistant", "x")))
    broken = Example(6, "6", problem="unreadable")
    seen: list[int] = []
    metric = make()
    scores = metric.score([long, *ROWS, broken], lambda n, tokens: seen.append(n))
    assert [score.status for score in scores] == ["failed", *["ok"] * 5, "skipped"]
    assert "the judge has 512 positions" in str(scores[0].reason)
    assert sum(seen) == 7
    assert metric.note == "1 failed"


@pytest.mark.slow  # half a second or more
def test_tags_by_greedy_generation(make: Callable[..., Metric], make_model: Any, tokenizer: Any, template: str) -> None:
    frame = make("instag", batch_tokens=4096, judge_max_tokens=12).table(ROWS)
    model = make_model("llama")
    for row, answer, finish, n in frame.select("row", "raw_answer", "finish_reason", "n_answer_tokens").iter_rows():
        messages = make_prompt("instag", template).messages(ROWS[row])
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        written: list[int] = []
        with torch.no_grad():
            while len(written) < 12 and written[-1:] != [tokenizer.eos_token_id]:
                written.append(int(model(input_ids=torch.tensor([ids + written])).logits[0, -1].argmax()))
        assert answer == tokenizer.decode(written, skip_special_tokens=True)
        assert finish == ("stop" if written[-1] == tokenizer.eos_token_id else "length")
        assert n == len([token for token in written if token != tokenizer.eos_token_id])
    assert "--judge-max-tokens 12" in frame["reason"][0]


THOUGHTFUL = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n<think>\n{% endif %}"
)
IN_PARTS = (
    "{% for m in messages %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def with_template(tokenizer: Any, template: str) -> Any:
    own = copy.deepcopy(tokenizer)
    own.chat_template = template
    return own


def test_a_judge_that_begins_with_a_thought_cannot_give_its_number_at_once(tokenizer: Any) -> None:
    for template, mark in ((THOUGHTFUL, "<think>"), ("{{ messages[0].content }}<|start|>assistant", r"<\|start\|>")):
        with pytest.raises(GradPrismError, match=rf"chat template ends in {mark}.*an endpoint"):
            NumberTokens.of(Prompts(with_template(tokenizer, template)))


def test_a_template_that_takes_parts_gets_parts_and_one_that_leaves_the_question_out_is_refused(tokenizer: Any) -> None:
    question = [{"role": "user", "content": " How hard? "}]
    assert Prompts(with_template(tokenizer, IN_PARTS)).text(question) == " How hard? "
    with pytest.raises(ValueError, match="leaves the question out"):
        Prompts(with_template(tokenizer, "Hello")).text(question)


def test_marks_of_thoughts_are_kept_where_they_are_special_tokens(tokenizer: Any) -> None:
    own = copy.deepcopy(tokenizer)
    own.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})

    def written(text: str, opening: str = "") -> str:
        ids = own(text, add_special_tokens=False)["input_ids"]
        return str(_decode_answer(Question(0, (1,), opening), ids, [], own).text)

    assert split_thoughts(written('[THINK]["x", "y"][/THINK]["a"]')).answer == '["a"]'
    assert split_thoughts(written('["x", "y"]', "<think>")).unclosed  # opened in the prompt and never ended
    assert written('<|turn|>["a"]') == '["a"]'


def test_generation_settings_that_a_checkpoint_brings_do_not_count(
    make: Callable[..., Metric], make_model: Any, tokenizer: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sampling"
    make_model("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    brought = {"do_sample": True, "temperature": 0.9, "top_p": 0.5, "repetition_penalty": 9.0, "eos_token_id": [0, 3]}
    (folder / "generation_config.json").write_text(json.dumps(brought))
    own, plain = (make("instag", model=model, judge_max_tokens=8).table(ROWS) for model in (folder, tiny_checkpoint))
    assert own["raw_answer"].to_list() == plain["raw_answer"].to_list()


def test_plan_and_identity_load_no_weights(make: Callable[..., Metric], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradprism.models.checkpoints.Checkpoint.load_model", lambda *_: pytest.fail("loaded"))
    metric, tags = make(), make("instag", judge_max_tokens=10)
    plan = metric.plan([*ROWS, Example(9, "9")])
    assert (plan.rows, plan.skipped, plan.cached, plan.most_answer_tokens, plan.exact) == (5, 1, 0, 0, False)
    assert tags.plan(ROWS).most_answer_tokens == 50
    assert {*metric.identity} == {"judge.judge", "judge.revision", "judge.dtype", "judge.template", "judge.reading"}
    assert tags.identity["judge.judge_max_tokens"] == 10
    assert metric.identity["judge.judge"].startswith("local:/")


def test_settings_that_would_do_nothing_are_refused(make: Callable[..., Metric]) -> None:
    with pytest.raises(GradPrismError, match=r"--temperature 0\.7 has no effect"):
        make(temperature=0.7)


def test_an_interrupt_passes(make: Callable[..., Metric]) -> None:
    def stop(n: int, tokens: int) -> None:
        if tokens:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(batch_tokens=1).score(ROWS, stop)
