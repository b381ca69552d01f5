"""Token ids and loss masks, against masks worked out by hand from the pieces of the text."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from gradprism.core.errors import GradPrismError
from gradprism.data.encode import ChatEncoder, Encoded, PaperEncoder, make_encoder
from gradprism.data.example import Example, RowProblemError, Turn
from gradprism.data.settings import TextSettings

Pairs = Sequence[tuple[str, str]]
U, A, S = "user", "assistant", "system"

BOS, EOS, START, END = SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "What is two plus two? It is four.\n\n\nYou are a helpful assistant.",
    "Below is an instruction that describes a task.\n\n\nWrite a response.",
]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{%- generation -%}{{ m.content + '<|im_end|>' }}{%- endgeneration -%}"
    "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED_CONTENT = MARKED.replace(
    "{{ m.content + '<|im_end|>' }}{%- endgeneration -%}", "{{ m.content }}{%- endgeneration -%}{{ '<|im_end|>' }}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
)
FORGETS_THOUGHTS = CHATML.replace("m.content", "(m.content if loop.last else m.content.split('</think>')[-1])")

CONVERSATION = [(U, "What is two plus two?"), (A, "It is four."), (U, "And the fox?"), (A, "It jumps.")]
LONG_TURNS = [(S, "You are a fox."), *CONVERSATION, (U, "Why é漢😀?"), (A, "Because of\n\nthe lazy dog 😀.")]


@cache
def tokenizer(adds_bos: bool = False, trims_offsets: bool = False) -> Any:
    """Byte-level BPE of a few hundred tokens, like GPT-2's, Llama 3's and Qwen's."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(SENTENCES * 5, trainer)
    steps: list[Any] = [processors.ByteLevel(trim_offsets=trims_offsets)]
    if adds_bos:
        steps.append(processors.TemplateProcessing(single="<s> $A", special_tokens=[(BOS, core.token_to_id(BOS))]))
    core.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=BOS, eos_token=EOS, additional_special_tokens=[START, END]
    )


def with_template(template: Any, **options: bool) -> Any:
    made = tokenizer.__wrapped__(**options)
    made.chat_template = template
    return made


def example_of(turns: Pairs) -> Example:
    return Example(0, "0", tuple(Turn(role, content) for role, content in turns))


def paper(spoken: Pairs, tok: Any = None, **options: Any) -> Encoded:
    return PaperEncoder(tok or tokenizer(), TextSettings(**options)).encode(example_of(spoken))


def chat(spoken: Pairs, template: str = CHATML, tok: Any = None, **options: Any) -> Encoded:
    settings = TextSettings(template="chat", **options)
    return ChatEncoder(tok or tokenizer(), settings, template).encode(example_of(spoken))


def ids_of(text: str, tok: Any = None) -> list[int]:
    """Ids straight from the tokenizer's core, without what it adds."""
    return list((tok or tokenizer()).backend_tokenizer.encode(text, add_special_tokens=False).ids)


def text_of(encoded: Encoded) -> str:
    return str(tokenizer().decode(encoded.ids))


def answers_of(encoded: Encoded) -> list[str]:
    """The text of each run of loss tokens."""
    pieces = groupby(zip(encoded.ids, encoded.response_mask, strict=True), key=lambda pair: pair[1])
    return [tokenizer().decode([token for token, _ in run]) for masked, run in pieces if masked]


def by_hand(turns: Pairs, end_of_turn: bool = True, turns_scored: str = "all") -> tuple[list[int], list[bool]]:
    """ChatML encoded piece by piece: special tokens and the newline of the header never merge with their neighbours."""
    last = max(index for index, (role, _) in enumerate(turns) if role == A)
    ids: list[int] = []
    mask: list[bool] = []
    for index, (role, content) in enumerate(turns):
        scored = role == A and (turns_scored == "all" or index == last)
        pieces = [(f"{START}{role}\n", False), (content, scored), (END, scored and end_of_turn), ("\n", False)]
        for text, masked in pieces:
            ids += ids_of(text)
            mask += [masked] * len(ids_of(text))
    return ids, mask


def ids_and_mask(encoded: Encoded) -> tuple[list[int], list[bool]]:
    return list(encoded.ids), list(encoded.response_mask)


# The paper's template


def paper_by_hand(prompt: str, output: str) -> tuple[list[int], list[bool]]:
    """instruction[+ "\n" + input] + "\n" + output tokenised whole; masked from len(encode(prompt + "\n")) on."""
    ids, n_prompt = ids_of(prompt + "\n" + output), len(ids_of(prompt + "\n"))
    return ids, [position >= n_prompt for position in range(len(ids))]


@pytest.mark.parametrize(
    ("prompt", "output"),
    [
        ("What is two plus two?", "It is four."),
        ("Write a response.\nThe quick brown fox", "jumps"),
        ("prompt", "\n\n\nan answer whose newlines merge with the one before"),
        ("prompt\n\n", "\nthe same from both sides"),
        ("", "no prompt"),
        ("é漢😀", "😀漢é"),
        ("prompt", " leading and trailing spaces  \n"),
    ],
)
def test_paper_tokenises_the_whole_and_counts_the_tokens_of_the_prefix(prompt: str, output: str) -> None:
    assert ids_and_mask(paper([(U, prompt), (A, output)])) == paper_by_hand(prompt, output)


@given(prompt=st.text(alphabet="The qu\n.é😀", max_size=20), output=st.text(alphabet="The qu\n.é😀", max_size=20))
@settings(deadline=None, max_examples=80)
def test_paper_agrees_with_the_papers_script_on_any_text(prompt: str, output: str) -> None:
    ids, mask = paper_by_hand(prompt, output)
    if output.strip() and any(mask[1:]):
        assert ids_and_mask(paper([(U, prompt), (A, output)])) == (ids, mask)
    else:
        with pytest.raises(RowProblemError):
            paper([(U, prompt), (A, output)])


def test_paper_masks_every_answer_of_a_conversation_or_the_last() -> None:
    contents = [content for _, content in CONVERSATION]
    ids = ids_of("\n".join(contents))
    edges = [len(ids_of(prefix)) for prefix in ("\n".join(contents[:1]) + "\n", "\n".join(contents[:2]))]
    start = len(ids_of("\n".join(contents[:3]) + "\n"))
    every = [edges[0] <= position < edges[1] or position >= start for position in range(len(ids))]
    assert ids_and_mask(paper(CONVERSATION)) == (ids, every)
    assert ids_and_mask(paper(CONVERSATION, turns="last")) == (ids, [p >= start for p in range(len(ids))])
    assert answers_of(paper(CONVERSATION)) == ["It is four.", "It jumps."]


def test_paper_counts_the_bos_that_the_tokenizer_adds_once() -> None:
    bare, with_bos = paper(CONVERSATION[:2]), paper(CONVERSATION[:2], tokenizer(adds_bos=True))
    assert list(with_bos.ids) == [tokenizer().bos_token_id, *bare.ids]
    assert list(with_bos.response_mask) == [False, *bare.response_mask]


@pytest.mark.parametrize("ends", ["$A </s>", "<s> $A </s>", "$A </s> </s>"])
def test_paper_leaves_out_the_end_that_the_tokenizer_adds(ends: str) -> None:
    tok = tokenizer.__wrapped__()
    ids = [(name, tok.convert_tokens_to_ids(name)) for name in (BOS, EOS)]
    tok.backend_tokenizer.post_processor = processors.TemplateProcessing(single=ends, special_tokens=ids)
    assert tok("fox")["input_ids"][-1] == tok.eos_token_id
    bare = paper(CONVERSATION, tokenizer(adds_bos=ends.startswith(BOS)))
    assert paper(CONVERSATION, tok) == bare
    assert answers_of(bare) == ["It is four.", "It jumps."]


@pytest.mark.parametrize(
    ("turn", "lost"),
    [(Turn(A, "4", thinking="2 and 2"), "thinking"), (Turn(A, tool_calls=({"name": "f"},)), "tool calls")],
)
def test_paper_refuses_answers_that_it_has_no_form_for(turn: Turn, lost: str) -> None:
    encoder = PaperEncoder(tokenizer(), TextSettings())
    with pytest.raises(RowProblemError, match=f"template=paper has no form for the {lost} of an answer"):
        encoder.encode(Example(0, "0", (Turn(U, "two?"), turn)))


@pytest.mark.parametrize("make", [PaperEncoder, lambda tok, text: ChatEncoder(tok, text, CHATML)])
def test_answers_that_are_context_carry_no_loss(make: Any) -> None:
    turns = [Turn(role, content) for role, content in CONVERSATION]
    context = [replace(turn, in_loss=False) if turn.content == "It is four." else turn for turn in turns]
    encoder = make(tokenizer(), TextSettings(template="chat"))
    whole, cut = (encoder.encode(Example(0, "0", tuple(spoken))) for spoken in (turns, context))
    assert whole.ids == cut.ids
    assert [text.removesuffix(END) for text in answers_of(cut)] == ["It jumps."]
    only = Example(0, "0", (*turns[:1], replace(turns[1], in_loss=False)))
    with pytest.raises(RowProblemError, match="every answer is context without loss"):
        encoder.encode(only)


def test_paper_writes_no_end_token() -> None:
    assert text_of(paper(CONVERSATION[:2])) == "What is two plus two?\nIt is four."
    assert paper(CONVERSATION[:2], end_of_turn=True) == paper(CONVERSATION[:2], end_of_turn=False)


# Chat templates


@pytest.mark.parametrize("template", [CHATML, MARKED, MARKED.replace("{%-", "{%").replace("-%}", "%}")])
@pytest.mark.parametrize("turns", [CONVERSATION[:2], CONVERSATION, LONG_TURNS], ids=["one", "two", "many"])
@pytest.mark.parametrize("end_of_turn", [True, False])
@pytest.mark.parametrize("scored", ["all", "last"])
def test_chat_masks_what_the_assistant_says(turns: Pairs, template: str, end_of_turn: bool, scored: Any) -> None:
    encoded = chat(turns, template, end_of_turn=end_of_turn, turns=scored)
    assert ids_and_mask(encoded) == by_hand(turns, end_of_turn, scored)


def test_marks_that_leave_out_the_end_of_turn_are_obeyed() -> None:
    assert ids_and_mask(chat(CONVERSATION, MARKED_CONTENT)) == by_hand(CONVERSATION, end_of_turn=False)


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_an_answer_of_white_space_and_newlines_keeps_them(template: str) -> None:
    encoded = chat([(U, "two"), (A, "  It is\n\n four. \n")], template)
    assert answers_of(encoded) == ["  It is\n\n four. \n" + END]


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_two_answers_in_a_row_are_both_masked(template: str) -> None:
    turns = [(U, "fox?"), (A, "It jumps."), (A, "Over the dog.")]
    assert ids_and_mask(chat(turns, template)) == by_hand(turns)


def test_tool_turns_are_not_the_assistants() -> None:
    turns = [(U, "2+3"), (A, "add(2, 3)"), ("tool", "5"), (A, "five")]
    assert ids_and_mask(chat(turns)) == by_hand(turns)


@pytest.mark.parametrize("template", [CHATML, MARKED, DEFAULT_SYSTEM + CHATML])
def test_a_conversation_that_begins_with_an_answer_masks_no_header(template: str) -> None:
    encoded = chat([(A, "a"), (U, "fox?"), (A, "dog")], template)
    assert answers_of(encoded) == ["a" + END, "dog" + END]


@pytest.mark.parametrize("template", [CHATML, MARKED, MARKED_CONTENT])
def test_an_empty_answer_among_others_hides_none_of_them(template: str) -> None:
    encoded = chat([(U, "one"), (A, ""), (U, "two"), (A, "four")], template, end_of_turn=False)
    assert answers_of(encoded) == ["four"]


def test_a_template_without_special_tokens_masks_the_answer() -> None:
    template = (
        "{% for m in messages %}{{ m.role + ':' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    )
    encoded = chat([(U, "two?"), (A, "It is four."), (U, "fox?"), (A, "It jumps.")], template)
    assert [answer.rstrip("\n") for answer in answers_of(encoded)] == ["It is four.", "It jumps."]


def test_turns_after_the_last_answer_are_left_out() -> None:
    assert chat([*CONVERSATION, (U, "one more question"), ("tool", "x")]) == chat(CONVERSATION)


asked = st.text(alphabet="QXZ0123456789 \n.é", max_size=15)
answered = st.text(alphabet="abcdefgh \n.漢😀ß", max_size=15)
exchanges = st.lists(st.tuples(asked, answered), min_size=1, max_size=4).filter(
    lambda pairs: any(answer.strip() for _, answer in pairs)
)


@given(exchanges=exchanges, template=st.sampled_from([CHATML, MARKED]), end_of_turn=st.booleans())
@settings(deadline=None, max_examples=100)
def test_masked_tokens_are_the_answers_and_nothing_of_the_user(
    exchanges: list[tuple[str, str]], template: str, end_of_turn: bool
) -> None:
    turns = [turn for question, answer in exchanges for turn in ((U, question), (A, answer))]
    found = answers_of(chat(turns, template, end_of_turn=end_of_turn))
    said = [answer + (END if end_of_turn else "") for _, answer in exchanges if answer.strip()]
    # the newline of the header may be one token with those that begin the answer
    assert [text.lstrip("\n") for text in found if text.strip()] == [text.lstrip("\n") for text in said if text.strip()]
    assert not set("QXZ0123456789é") & set("".join(found))


@pytest.mark.parametrize("trims_offsets", [False, True])
@pytest.mark.parametrize("template", [CHATML, MARKED, MARKED_CONTENT])
@pytest.mark.parametrize("answers", [("two", "four"), (" two", "four"), ("two ", "four"), ("  two", " four ")])
def test_spaces_at_the_edges_of_answers_do_not_move_the_mask(
    answers: tuple[str, str], template: str, trims_offsets: bool
) -> None:
    """Llama 3's and GPT-2's tokenizers leave leading spaces out of their character offsets."""
    turns = [(U, "one"), (A, answers[0]), (U, "three"), (A, answers[1])]
    encoded = chat(turns, template, tokenizer(trims_offsets=trims_offsets), end_of_turn=False)
    assert ids_and_mask(encoded) == by_hand(turns, end_of_turn=False)


# System prompts


def test_a_system_prompt_is_added_where_none_is() -> None:
    assert chat(CONVERSATION, system="be brief") == chat([(S, "be brief"), *CONVERSATION])
    assert chat([(S, "be long"), *CONVERSATION], system="be brief") == chat([(S, "be long"), *CONVERSATION])
    assert text_of(paper(CONVERSATION[:2], system="be brief")).startswith("be brief\nWhat is two")


def test_an_empty_system_prompt_replaces_the_templates_own() -> None:
    assert "helpful" in text_of(chat(CONVERSATION, DEFAULT_SYSTEM + CHATML))
    assert "helpful" not in text_of(chat(CONVERSATION, DEFAULT_SYSTEM + CHATML, system=""))


# The beginning of the text


@pytest.mark.parametrize("template", [CHATML, MARKED])
@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("writes_bos", [True, False])
def test_one_bos_whether_the_tokenizer_adds_it_or_the_template_writes_it(
    template: str, adds_bos: bool, writes_bos: bool
) -> None:
    encoded = chat(CONVERSATION, ("{{ bos_token }}" if writes_bos else "") + template, tokenizer(adds_bos=adds_bos))
    ids, mask = by_hand(CONVERSATION)
    expected = [tokenizer().bos_token_id] if adds_bos or writes_bos else []
    assert ids_and_mask(encoded) == (expected + ids, [False] * len(expected) + mask)


def test_the_first_token_is_never_predicted() -> None:
    encoded = paper([(A, "It is four.")])
    assert not encoded.response_mask[0]
    assert encoded.n_response_tokens == len(ids_of("It is four.")) - 1


# Length


@pytest.mark.parametrize("encode", [paper, chat])
def test_long_examples_are_cut_on_the_right(encode: Any) -> None:
    whole = encode(CONVERSATION)
    cut = encode(CONVERSATION, max_length=whole.n_tokens - 2)
    assert (whole.truncated, cut.truncated) == (False, True)
    assert cut.ids == whole.ids[:-2]
    assert cut.response_mask == whole.response_mask[:-2]
    assert cut.n_response_tokens == sum(whole.response_mask[:-2])
    assert encode(CONVERSATION, max_length=whole.n_tokens) == whole


@pytest.mark.parametrize("encode", [paper, chat])
def test_a_prompt_that_fills_max_length_is_refused(encode: Any) -> None:
    n_prompt = encode(CONVERSATION[:2]).response_mask.index(True)
    with pytest.raises(RowProblemError, match=f"the prompt fills max_length.*{n_prompt}"):
        encode(CONVERSATION[:2], max_length=n_prompt)
    assert encode(CONVERSATION[:2], max_length=n_prompt + 1).n_response_tokens == 1


@pytest.mark.parametrize("encode", [paper, chat])
def test_responses_are_cut_to_a_common_number_of_tokens(encode: Any) -> None:
    whole = encode(CONVERSATION)
    places = [place for place, is_scored in enumerate(whole.response_mask) if is_scored]
    for wanted in range(1, len(places) + 1):
        cut = encode(CONVERSATION, response_tokens=wanted)
        assert cut.n_response_tokens == wanted
        assert cut.n_tokens == places[wanted - 1] + 1
        assert cut.ids == whole.ids[: cut.n_tokens]
        assert not cut.truncated  # it is what was asked for
        if cut.n_tokens < whole.n_tokens:
            assert encode(CONVERSATION, response_tokens=wanted, max_length=whole.n_tokens - 1) == cut
    with pytest.raises(RowProblemError, match=f"fewer than {len(places) + 1} response tokens"):
        encode(CONVERSATION, response_tokens=len(places) + 1)
    with pytest.raises(RowProblemError, match="fewer than 3 response tokens"):
        encode(CONVERSATION, response_tokens=3, max_length=places[2])


# Rows that cannot be encoded


@pytest.mark.parametrize("encode", [paper, chat])
def test_windows_hold_equally_many_tokens_of_prompt_and_response(encode: Any) -> None:
    whole = encode(CONVERSATION)
    scored = [place for place, is_scored in enumerate(whole.response_mask) if is_scored]
    for before in range(1, scored[0] + 1):
        cut = encode(CONVERSATION, prompt_tokens=before, response_tokens=2)
        assert cut.ids == whole.ids[scored[0] - before : scored[1] + 1]
        assert cut.response_mask == whole.response_mask[scored[0] - before : scored[1] + 1]
        assert not cut.truncated
    with pytest.raises(RowProblemError, match=f"fewer than {scored[0] + 1} prompt tokens"):
        encode(CONVERSATION, prompt_tokens=scored[0] + 1)
    in_first = next(n for n, place in enumerate(scored) if place != scored[0] + n)
    assert encode(CONVERSATION, prompt_tokens=1, response_tokens=in_first).n_tokens == 1 + in_first
    with pytest.raises(RowProblemError, match="are of several turns"):
        encode(CONVERSATION, prompt_tokens=1, response_tokens=in_first + 1)


def test_a_window_keeps_the_token_that_begins_every_text() -> None:
    """As Gemma has one: attention leans on it, and it is no token of the prompt."""

    class Beginning:
        bos_token_id = 7

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [7, *(100 + ord(letter) for letter in text)]}

    encoder = PaperEncoder(Beginning(), TextSettings(prompt_tokens=2, response_tokens=1))
    cut = encoder.encode(Example(0, "r", (Turn("user", "abc"), Turn("assistant", "xyz"))))
    assert cut.ids == (7, 100 + ord("c"), 100 + ord("\n"), 100 + ord("x"))
    assert cut.response_mask == (False, False, False, True)
    with pytest.raises(RowProblemError, match="fewer than 5 prompt tokens"):
        PaperEncoder(Beginning(), TextSettings(prompt_tokens=5)).encode(
            Example(0, "r", (Turn("user", "abc"), Turn("assistant", "xyz")))
        )


@pytest.mark.parametrize("encode", [paper, chat])
@pytest.mark.parametrize(
    "turns", [[], [(U, "why?")], [(U, "why?"), (A, "")], [(U, "why?"), (A, " \n\t")], [(S, "be brief"), (A, "")]]
)
def test_an_empty_response_is_refused(encode: Any, turns: Pairs) -> None:
    with pytest.raises(RowProblemError, match="empty response"):
        encode(turns)


def test_an_empty_last_answer_is_refused_where_only_the_last_counts() -> None:
    turns = [*CONVERSATION, (U, "more?"), (A, "")]
    assert chat(turns).n_response_tokens > 0
    with pytest.raises(RowProblemError, match="empty response"):
        chat(turns, turns="last")


def test_an_unreadable_row_keeps_its_own_reason() -> None:
    with pytest.raises(RowProblemError, match=r"^line 3 is not valid JSON$"):
        make_encoder(tokenizer(), TextSettings()).encode(Example(0, "0", problem="line 3 is not valid JSON"))


def test_an_answer_that_the_template_leaves_out_is_refused() -> None:
    unmarked = "{{ messages[0].content }}{% if false %}{% generation %}x{% endgeneration %}{% endif %}"
    with pytest.raises(RowProblemError, match="leaves out the text of answer 1 of 2"):
        chat(CONVERSATION, unmarked)


def test_one_token_without_a_prompt_has_an_empty_mask() -> None:
    with pytest.raises(RowProblemError, match="the mask is empty"):
        paper([(A, "T")])


THOUGHTFUL = [(U, "two?"), (A, "<think>hm</think>four"), (U, "fox?"), (A, "<think>well</think>jumps")]


def test_a_template_that_rewrites_earlier_turns_is_refused_with_a_way_out() -> None:
    with pytest.raises(RowProblemError, match=r"leaves out the text of answer 1 of 2\. Use turns=last"):
        chat(THOUGHTFUL, FORGETS_THOUGHTS)
    shouts = CHATML.replace("m.content", "(m.content.upper() if m.content == 'it is' and not loop.last else m.content)")
    with pytest.raises(RowProblemError, match=r"rewrites earlier turns.*turns=last.*generation marks"):
        chat([(U, "two?"), (A, "it is"), *CONVERSATION[2:]], shouts)


def test_a_template_that_rewrites_earlier_turns_works_for_the_last_one() -> None:
    encoded = chat(THOUGHTFUL, FORGETS_THOUGHTS, turns="last")
    shown = [*THOUGHTFUL[:1], (A, "four"), *THOUGHTFUL[2:]]
    assert ids_and_mask(encoded) == by_hand(shown, turns_scored="last")


def test_a_template_that_rewrites_earlier_turns_is_no_obstacle_where_nothing_is_rewritten() -> None:
    assert chat(CONVERSATION, FORGETS_THOUGHTS) == chat(CONVERSATION)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[99].content.strip() }}",
        "{{ messages[0].content + 5 }}",
        "{{ 1 // 0 }}",
        "{{ messages[0].content.index('not there') }}",
        "{% macro again(x) %}{{ again(x) }}{% endmacro %}{{ again(1) }}",
    ],
    ids=["its own words", "undefined", "a type", "zero division", "a value", "recursion"],
)
def test_a_template_that_raises_costs_its_row_alone(template: str) -> None:
    with pytest.raises(RowProblemError, match=r"the chat template refuses this conversation: .+"):
        chat(CONVERSATION, template)


def test_the_words_of_a_template_that_raises_are_passed_on() -> None:
    with pytest.raises(RowProblemError, match="roles must alternate"):
        chat(CONVERSATION, "{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize("encode", [paper, chat])
def test_text_that_is_no_unicode_costs_its_row_alone(encode: Any) -> None:
    r"""JSON may hold half of a surrogate pair, "\ud800"; no tokenizer takes it."""
    with pytest.raises(RowProblemError):
        encode([(U, "why?"), (A, "half a pair: \ud800")])


# The choice of the encoder


def test_settings_name_the_encoder(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(MARKED, encoding="utf-8")
    tok = with_template(CHATML)
    assert isinstance(make_encoder(tok, TextSettings()), PaperEncoder)
    for template in ("chat", str(path)):
        encoder = make_encoder(tok, TextSettings(template=template))
        assert ids_and_mask(encoder.encode(example_of(CONVERSATION))) == by_hand(CONVERSATION)


def test_a_jinja_file_goes_before_the_tokenizers_own_template(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("{{ bos_token }}" + CHATML, encoding="utf-8")
    encoder = make_encoder(with_template(CHATML), TextSettings(template=str(path)))
    assert encoder.encode(example_of(CONVERSATION)).ids[0] == tokenizer().bos_token_id


def test_the_default_of_several_templates_is_taken() -> None:
    encoder = make_encoder(with_template({"default": CHATML, "tool_use": "no"}), TextSettings(template="chat"))
    assert ids_and_mask(encoder.encode(example_of(CONVERSATION))) == by_hand(CONVERSATION)


@pytest.mark.parametrize("name", ["gone.jinja", "papr", "Chat"])
def test_a_template_that_is_neither_known_nor_a_file_lists_what_is(name: str, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=rf"{name}: expected paper, chat, or the path of a Jinja file"):
        make_encoder(with_template(CHATML), TextSettings(template=str(tmp_path / name)))


def test_an_empty_jinja_file_is_not_replaced_by_the_tokenizers_own_template(tmp_path: Path) -> None:
    path = tmp_path / "empty.jinja"
    path.write_text("", encoding="utf-8")
    with pytest.raises(GradPrismError, match=r"empty\.jinja"):
        make_encoder(with_template(CHATML), TextSettings(template=str(path)))


def test_a_jinja_file_with_a_syntax_error_is_one_error_and_not_one_for_each_row(tmp_path: Path) -> None:
    path = tmp_path / "broken.jinja"
    path.write_text("{% for m in messages %}{{ m.content }}", encoding="utf-8")
    with pytest.raises(GradPrismError, match=r"broken\.jinja"):
        make_encoder(with_template(CHATML), TextSettings(template=str(path))).encode(example_of(CONVERSATION))


def test_a_tokenizer_without_a_chat_template_says_what_to_do() -> None:
    with pytest.raises(GradPrismError, match=r"no chat template(.|\n)*--template paper.*\.jinja"):
        make_encoder(tokenizer(), TextSettings(template="chat"))


def test_a_tokenizer_without_offsets_is_refused_for_chat_alone() -> None:
    from transformers import ByT5Tokenizer

    tok = ByT5Tokenizer(chat_template=CHATML)
    assert make_encoder(tok, TextSettings()).encode(example_of(CONVERSATION)).n_response_tokens > 0
    with pytest.raises(GradPrismError, match="needs a fast tokenizer"):
        make_encoder(tok, TextSettings(template="chat"))
