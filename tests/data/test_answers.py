"""Where answers stand in rendered conversations, against readings that no template takes part in."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.core.errors import GradPrismError
from gradprism.data.answers import find_answers
from gradprism.data.chat_template import ChatTemplate
from gradprism.data.example import Example, RowProblemError, Turn

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TEMPERATURE = {"function": {"name": "get_temp", "arguments": {"city": "Oslo"}}}
TOOLS = ({"type": "function", "function": {"name": "get_temp", "description": "in a city", "parameters": {}}},)


def user(text: str) -> Turn:
    return Turn("user", text)


def answer(text: str = "", **more: Any) -> Turn:
    return Turn("assistant", text, **more)


def example_of(*turns: Turn, **more: Any) -> Example:
    return Example(0, "0", turns, **more)


def answers_of(turns: Sequence[Turn], which: str = "all") -> list[int]:
    """Positions of the answers that are asked for."""
    spoken = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
    wanted = spoken if which == "all" else spoken[-1:]
    return [i for i in wanted if turns[i].in_loss and not turns[i].is_empty]


def loss_texts(template: str, example: Example, which: str = "all", today: str | None = None) -> list[str]:
    """The text of each scored answer."""
    made = ChatTemplate(template, SPECIAL, "test", today)
    found = find_answers(made, example, answers_of(example.turns, which))
    return [found.text[start:stop] for item in found.answers for start, stop in item.spans]


# Random templates that keep the order of turns, and random conversations


@dataclass(frozen=True)
class Style:
    """How a template writes a conversation; its Jinja text, and what an answer comes to by hand."""

    header: str = "<|start|>{role}\n"
    thought: tuple[str, str] = ("<think>\n", "\n</think>\n\n")
    call: tuple[str, str] = ("<tool_call>\n", "\n</tool_call>")
    end: str = "<|end|>"
    between: str = "\n"
    prompts: bool = True
    trims: bool = False
    parts: bool = False
    escapes: bool = False

    @property
    def jinja(self) -> str:
        def said(text: str) -> str:
            return "{{ " + json.dumps(text) + " }}" if text else ""

        header = said(self.header).replace("{role}", '" + m.role + "')
        content = "p.text" if self.parts else "m.content"
        content += " | trim" * self.trims + " | tojson" * self.escapes
        content = "{% for p in m.content %}{{ " + content + " }}{% endfor %}" if self.parts else f"{{{{ {content} }}}}"
        prompt = "{% if add_generation_prompt %}" + header.replace("m.role", '"assistant"') + "{% endif %}"
        return (
            "{% for m in messages %}" + header
            + "{% if m.reasoning_content %}" + said(self.thought[0]) + "{{ m.reasoning_content }}"
            + said(self.thought[1]) + "{% endif %}" + content
            + "{% for c in m.tool_calls or [] %}" + said(self.call[0])
            + "{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}" + said(self.call[1])
            + "{% endfor %}" + said(self.end) + said(self.between) + "{% endfor %}"
            + prompt * self.prompts
        )  # fmt: skip

    def by_hand(self, turn: Turn) -> str:
        """Write an answer with its end, white space behind that left out."""
        content = turn.content.strip() if self.trims else turn.content
        content = json.dumps(content, ensure_ascii=False) if self.escapes else content
        thought = f"{self.thought[0]}{turn.thinking}{self.thought[1]}" if turn.thinking else ""
        calls = (json.dumps({key: call["function"][key] for key in ("name", "arguments")}, ensure_ascii=False)
                 for call in turn.tool_calls)  # fmt: skip
        return thought + content + "".join(f"{self.call[0]}{text}{self.call[1]}" for text in calls) + self.end


headers = st.sampled_from(["<|start|>{role}\n", "[{role}] ", "<|{role}|>", "### {role}:\n", "<|h|>{role}<|/h|>\n\n"])
styles = st.builds(
    Style,
    header=headers,
    thought=st.sampled_from([("<think>\n", "\n</think>\n\n"), ("<|channel|>analysis<|message|>", "<|next|>")]),
    end=st.sampled_from(["<|end|>", "</s>", "<|im_end|>", ""]),
    between=st.sampled_from(["\n", ""]),
    trims=st.booleans(),
    parts=st.booleans(),
)
words = st.text(alphabet="ab Zé漢😀<>/|{}\"'\\\n.", min_size=0, max_size=14)
spoken = st.text(alphabet="ab Zé漢😀<>\"'\\\n.", min_size=1, max_size=14).filter(str.strip)
calls = st.lists(
    st.builds(
        lambda name, value: {"type": "function", "function": {"name": name, "arguments": {"text": value, "n": 3}}},
        st.sampled_from(["search", "run_code"]),
        spoken,
    ),
    max_size=2,
).map(tuple)
assistants = st.builds(
    answer, words, thinking=st.one_of(st.just(""), spoken.map(str.strip)), tool_calls=calls, in_loss=st.booleans()
)
others = st.builds(Turn, st.sampled_from(["user", "tool", "system", "user"]), words)
conversations = st.tuples(st.lists(st.one_of(others, assistants), max_size=5), assistants).map(
    lambda parts: [*parts[0], parts[1]]
)


@given(style=styles, turns=conversations, which=st.sampled_from(["all", "last"]), repeats=st.booleans())
@settings(deadline=None, max_examples=300)
@pytest.mark.slow
def test_loss_is_on_the_answers_and_their_end_of_turn(
    style: Style, turns: list[Turn], which: str, repeats: bool
) -> None:
    turns = turns * (1 + repeats)
    found = loss_texts(style.jinja, example_of(*turns), which)
    assert [text.rstrip() for text in found] == [style.by_hand(turns[i]).rstrip() for i in answers_of(turns, which)]


@given(style=styles, turns=conversations)
@settings(deadline=None, max_examples=60)
@pytest.mark.slow
def test_a_template_without_a_generation_prompt_has_no_header_in_the_loss(style: Style, turns: list[Turn]) -> None:
    style = replace(style, prompts=False, thought=("", "\n"))
    found = loss_texts(style.jinja, example_of(*turns))
    assert [text.strip() for text in found] == [style.by_hand(turns[i]).strip() for i in answers_of(turns)]


def test_answers_that_are_escaped_for_json_are_found() -> None:
    style = Style(escapes=True)
    turns = (user('say "hi"'), answer('"hi"\nhé'), user("more"), answer("x"))
    found = [text.rstrip() for text in loss_texts(style.jinja, example_of(*turns))]
    assert found == ['"\\"hi\\"\\nhé"<|end|>', '"x"<|end|>']


# What is left out


CHATML = Style(header="<|im_start|>{role}\n", end="<|im_end|>").jinja
NO_THOUGHTS = CHATML.replace("m.reasoning_content", "m.nothing")
NO_CALLS = CHATML.replace("m.tool_calls", "m.nothing")
NO_SYSTEM = "{% for m in messages if m.role != 'system' %}" + CHATML.partition("{% for m in messages %}")[2]


@pytest.mark.parametrize(
    ("template", "turn", "lost"),
    [
        (NO_THOUGHTS, answer("42", thinking="six sevens"), "the thinking of answer 1 of 1"),
        (NO_CALLS, answer("Let me look.", tool_calls=(TEMPERATURE,)), "the tool call of answer 1 of 1"),
        (NO_CALLS, answer(tool_calls=(TEMPERATURE,)), "the tool call of answer 1 of 1"),
        (CHATML.replace("m.content", "m.content[:0]"), answer("42"), "the text of answer 1 of 1"),
        (CHATML.replace("m.content", "m.content.split('</think>')[-1]"), answer("<think>six</think>42"), "the text of"),
    ],
)
def test_an_answer_that_the_template_cuts_is_refused_by_what_it_lacks(template: str, turn: Turn, lost: str) -> None:
    with pytest.raises(RowProblemError, match=f"leaves out {lost}"):
        loss_texts(template, example_of(user("6 times 7?"), turn))


def test_numbers_of_a_call_that_the_template_cuts_are_missed() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 41, "deep": [{"exact": True}]}}}
    example = example_of(user("41 and 1?"), answer(tool_calls=(call,)))
    assert "41" in loss_texts(CHATML, example)[0]
    with pytest.raises(RowProblemError, match="leaves out 41 in the tool call of answer 1 of 1"):
        loss_texts(CHATML.replace("'arguments': c.function.arguments", "'arguments': {}"), example)


def test_an_answer_that_is_shown_twice_is_refused() -> None:
    template = "{{ messages[-1].content }}\n" + CHATML
    with pytest.raises(RowProblemError, match="shows the text of turn 1, an answer, more than once"):
        loss_texts(template, example_of(user("Who?"), answer("Wren.")))


def test_earlier_thoughts_that_a_template_forgets_are_no_fault_where_only_the_last_answer_counts() -> None:
    template = CHATML.replace("{% if m.reasoning_content %}", "{% if m.reasoning_content and loop.last %}")
    example = example_of(user("a?"), answer("b", thinking="one"), user("c?"), answer("d", thinking="two"))
    assert loss_texts(template, example, "last") == ["<think>\ntwo\n</think>\n\nd<|im_end|>\n"]
    with pytest.raises(RowProblemError, match=r"the thinking of answer 1 of 2\. Use turns=last"):
        loss_texts(template, example)


def test_what_the_context_loses_is_said_and_costs_no_row() -> None:
    short = ({"type": "function", "function": {"name": "s", "parameters": {}}},)  # its name stands in other words
    example = example_of(Turn("system", "Be brief."), user("6 times 7?"), answer("42"), tools=short)
    found = find_answers(ChatTemplate(NO_SYSTEM, SPECIAL, "test", None), example, [2])
    assert found.left_out == ("system turn", "tools")
    assert [found.text[a:b] for item in found.answers for a, b in item.spans] == ["42<|im_end|>\n"]


def test_another_turn_inside_of_an_answer_is_refused() -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}<|a|>{{ m.reasoning_content }}<|tool|>"
        "{{ messages[loop.index].content if not loop.last }}<|/tool|>{{ m.content }}<|end|>"
        "{% elif m.role == 'user' %}<|u|>{{ m.content }}{% endif %}{% endfor %}"
    )
    example = example_of(user("how warm?"), answer("It is 11.", thinking="look"), Turn("tool", "eleven"), answer("y"))
    with pytest.raises(RowProblemError, match="shows turn 2 in the midst of turn 1"):
        loss_texts(template, example)


# What rows bring for their template


def test_tools_documents_and_options_of_a_row_reach_its_template() -> None:
    template = (
        "{{ tools[0].function.name }}|{{ documents[0].text }}|{{ style }}{% for m in messages %}<|{{ m.role }}|>"
        "{{ m.content }}{% endfor %}"
    )
    example = example_of(
        user("a"), answer("b"), tools=TOOLS, documents=({"text": "a page"},), template_options={"style": "plain"}
    )
    text = ChatTemplate(template, SPECIAL, "test", None).render(example).text
    assert text == "get_temp|a page|plain<|user|>a<|assistant|>b"


@pytest.mark.parametrize("name", ["chat_template", "tools", "add_generation_prompt", "messages"])
def test_options_that_are_not_the_rows_to_set_are_refused(name: str) -> None:
    with pytest.raises(RowProblemError, match=f"chat_template_kwargs holds '{name}'"):
        loss_texts(CHATML, example_of(user("a"), answer("b"), template_options={name: "x"}))


def test_developers_are_system_where_a_template_knows_no_developer() -> None:
    example = example_of(Turn("developer", "Be brief."), user("a"), answer("b"))
    plain = ChatTemplate(CHATML, SPECIAL, "test", None)
    knows = ChatTemplate("{# developer #}" + CHATML, SPECIAL, "test", None)
    assert plain.render(example).text.startswith("<|im_start|>system\nBe brief.")
    assert knows.render(example).text.startswith("<|im_start|>developer\nBe brief.")


# The date


DATED = "{{ strftime_now('%d %b %Y') }}\n" + CHATML


def test_a_template_that_prints_the_date_prints_the_one_it_is_given() -> None:
    example = example_of(user("a"), answer("b"))
    for today, shown in (("2025-03-04", "04 Mar 2025"), ("1999-12-31", "31 Dec 1999")):
        assert ChatTemplate(DATED, SPECIAL, "test", today).render(example).text.startswith(shown + "\n<|im_start|>")
    guarded = "{% if strftime_now is defined %}" + DATED + "{% endif %}"
    assert ChatTemplate(guarded, SPECIAL, "test", "2025-03-04").render(example).text.startswith("04 Mar 2025")


def test_a_date_that_cannot_be_fixed_is_refused() -> None:
    with pytest.raises(GradPrismError, match="asks for the present time in a form that cannot be fixed"):
        ChatTemplate("{% set form = '%d' %}{{ strftime_now(form) }}", SPECIAL, "test", "2025-03-04")


# Generation marks


TWO_MARKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% set p = m.content.split('|') %}"
    "{% if p | length > 1 %}{% generation %}{{ p[0] }}|{% endgeneration %}{% endif %}\n\n"
    "{% generation %}{{ p[-1] }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n"
    "{% endfor %}"
)


def test_all_marks_of_the_last_turn_are_its_own() -> None:
    example = example_of(user("a"), answer("think|first"), user("b"), answer("so|second"))
    assert loss_texts(TWO_MARKS, example, "last") == ["so|", "second<|im_end|>"]
    assert loss_texts(TWO_MARKS, example) == ["think|", "first<|im_end|>", "so|", "second<|im_end|>"]


def test_marks_of_a_turn_without_loss_are_not_counted() -> None:
    example = example_of(user("a"), answer("think|first", in_loss=False), user("b"), answer("so|second"))
    assert loss_texts(TWO_MARKS, example) == ["so|", "second<|im_end|>"]


def test_marks_that_hold_only_a_part_of_an_answer_are_refused() -> None:
    template = CHATML.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}")
    assert loss_texts(template, example_of(user("a"), answer("b")))[0] == "b"
    with pytest.raises(RowProblemError, match="generation marks of the chat template leave out the thinking of turn 1"):
        loss_texts(template, example_of(user("a"), answer("b", thinking="c")))


# Templates whose words change with the words of the conversation


def test_a_template_that_reads_one_turn_is_no_obstacle_to_the_answers() -> None:
    template = "{% if messages[0].content == 'shout' %}LOUD{% endif %}" + CHATML
    example = example_of(user("shout"), answer("b"), user("shout"), answer("c"))
    assert [text.rstrip() for text in loss_texts(template, example)] == ["b<|im_end|>", "c<|im_end|>"]


def test_an_answer_whose_words_the_template_reads_is_found_by_prefixes() -> None:
    template = CHATML.replace("{{ m.content }}", "{{ m.content }}{% if m.content == 'b' %}!{% endif %}")
    assert loss_texts(template, example_of(user("a"), answer("b"))) == ["b!<|im_end|>\n"]


def test_text_that_looks_like_a_header_moves_nothing() -> None:
    asked = "<|im_end|>\n<|im_start|>assistant\nNo.<|im_end|>\n"
    assert loss_texts(CHATML, example_of(user(asked), answer("Yes."))) == ["Yes.<|im_end|>\n"]
    said = "<|im_start|>assistant\nNo."
    assert loss_texts(CHATML, example_of(user("a"), answer(said))) == [f"{said}<|im_end|>\n"]


# The templates of known families, as the trainer TRL ships them, against its own training marks


def family_folder() -> Path:
    found = find_spec("trl")
    if found is None or not found.origin:
        pytest.skip("the trainer TRL, whose wheel has the families' templates, is not installed")
    return Path(found.origin).parent / "chat_templates"


FAMILIES = ("cohere2", "gemma3", "lfm2_v2", "llama3", "nemotron_3_nano", "phi3_5", "qwen2_5_vl", "qwen3_5_nothink",
            "qwen3_5_think", "qwen3_6", "qwen3_8", "qwen3_instruct_2507", "qwen3_vl", "smolvlm")  # fmt: skip
CONVERSATIONS = {
    "one": example_of(user("Name a bird."), answer("Wren.")),
    "several": example_of(user("Name a bird."), answer("Wren."), user("Another."), answer("Kite.")),
    "system": example_of(Turn("system", "Be brief."), user("Name a bird."), answer("Wren.")),
    "thinking": example_of(user("6 times 7?"), answer("42", thinking="six sevens")),
    "calls": example_of(
        user("How warm?"), answer(tool_calls=(TEMPERATURE,)), Turn("tool", "11"), answer("It is 11."), tools=TOOLS
    ),
}


@pytest.mark.parametrize("which", ["all", "last"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_of_a_familys_own_template_is_what_its_training_template_marks(family: str, which: str) -> None:
    """Both render one text, or ours is refused: the training template alone has marks, and ours never reads them."""
    folder, compared = family_folder(), 0
    own, marked = ((folder / f"{family}{end}.jinja").read_text("utf-8") for end in ("", "_training"))
    for example in CONVERSATIONS.values():
        try:
            theirs = ChatTemplate(marked, SPECIAL, family, None).render(example)
            text = ChatTemplate(own, SPECIAL, family, None).render(example).text
            ours = loss_texts(own, example, which)
        except RowProblemError:
            continue
        if text == theirs.text:
            spans = [text[a:b].strip() for a, b in theirs.marks]
            joined = _joined_ends(spans)
            assert [said.strip() for said in ours] == (joined if which == "all" else joined[-1:])
            compared += 1
    assert compared >= 2


def _joined_ends(spans: list[str]) -> list[str]:
    """Phi's last end token has a mark of its own."""
    if len(spans) > 1 and spans[-1] == "</s>":
        return [*spans[:-2], f"{spans[-2]}\n</s>"]
    return spans
