"""Chat templates of strangers end: with a text, a reason of the row, or one error, in bounded time and memory."""

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.command import run
from transformers.utils.chat_template_utils import render_jinja_template

from gradprism.core.errors import GradPrismError
from gradprism.core.limited_process import limited_process
from gradprism.data import template_process
from gradprism.data.chat_template import ChatTemplate
from gradprism.data.encode import read_template
from gradprism.data.example import Example, RowProblemError, Turn
from gradprism.data.template_process import RENDERER, SECONDS, TemplateLimitError

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

HELLO = Example(0, "0", (Turn("user", "hello"), Turn("assistant", "world")))
PLAIN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
DOUBLED = "{% set ns = namespace(x={}) %}{% for i in range(60) %}{% set ns.x = {} %}{% endfor %}{{ ns.x }}"
ENDLESS = {
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "squares": DOUBLED.replace("{}", "99", 1).replace("{}", "ns.x * ns.x"),
}
LARGE = {
    "a repeated text": "{{ 'a' * 10**11 }}",
    "a repeated list": "{{ ([0] * 10**10) | length }}",
    "doubled texts": DOUBLED.replace("{}", "'aaaa'", 1).replace("{}", "ns.x ~ ns.x"),
    "a wide format": "{{ '%9999999999d' % 1 }}",
    "a wide field": "{{ '{:9999999999}'.format(1) }}",
    "a centred text": "{{ 'a'.center(10**10) }}",
    "a joined text": "{{ ('a' * 10**7).join(range(99999) | map('string')) }}",
    "more text than one may have": "{{ 'a' * 2**25 }}",
}
LIMITS = (
    r"the chat template needs more than one text may have: [0-9.]+ s of processor time, 1,024 MB of memory, 16,777,216"
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A renderer that gives up after a fifth of a second."""
    monkeypatch.setattr(template_process, "SECONDS", 0.2)
    yield
    limited_process(RENDERER, 0.2).stop()


def rendered(template: str) -> str:
    return ChatTemplate(template, {}, "--template x.jinja", None).render(HELLO).text


def for_rows_alone(template: str) -> str:
    """The template where the conversation is a row's, and another for those by which it is tried."""
    return "{% if messages[0].content == 'hello' %}" + template + "{% endif %}" + PLAIN


@pytest.mark.usefixtures("impatient")
def test_an_endless_template_ends() -> None:
    with pytest.raises(TemplateLimitError, match=LIMITS):
        rendered(for_rows_alone(ENDLESS["loops in loops"]))


@pytest.mark.slow  # each case starts the renderer three times
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "template",
    [
        pytest.param(text, id=name, marks=() if name == "squares" else pytest.mark.exhaustive)
        for name, text in ENDLESS.items()
    ],
)
def test_a_template_that_is_endless_for_any_row_is_refused_at_the_first(template: str) -> None:
    with pytest.raises(TemplateLimitError, match=LIMITS):
        rendered(for_rows_alone(template))
    with pytest.raises(GradPrismError, match=rf"^--template x\.jinja: {LIMITS} characters, for two messages of a word"):
        rendered(template)
    assert rendered(PLAIN) == "<|user|>hello<|assistant|>world"


@pytest.mark.parametrize("template", LARGE.values(), ids=LARGE)
def test_a_template_of_gigabytes_ends_and_this_process_holds_none_of_them(template: str) -> None:
    rendered(PLAIN)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TemplateLimitError, match=LIMITS):
        rendered(for_rows_alone(template))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB
    assert rendered(PLAIN) == "<|user|>hello<|assistant|>world"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{% for i in range(10**9) %}x{% endfor %}", "Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "maximum recursion depth exceeded"),
        ("{{ raise_exception('x' * 10**6) }}", "x" * 300),
        ("{{ messages.__class__.__mro__ }}", "is unsafe|unsafe"),
        ("{{ 1 / 0 }}", "division by zero"),
    ],
)
def test_what_a_template_refuses_is_the_reason_of_the_row(template: str, problem: str) -> None:
    with pytest.raises(RowProblemError, match=f"^the chat template refuses this conversation: .*({problem})") as caught:
        rendered(template)
    assert len(str(caught.value)) < 400


def test_a_template_that_is_too_large_for_any_row_is_refused_at_the_first() -> None:
    with pytest.raises(GradPrismError, match=rf"^--template x\.jinja: {LIMITS} characters, for two messages of a word"):
        rendered(LARGE["a wide field"])


def test_limits_hold_in_any_thread_and_the_text_is_that_of_transformers() -> None:
    found: list[str] = []

    def render() -> None:
        try:
            rendered(for_rows_alone(LARGE["a wide field"]))
        except TemplateLimitError as error:
            found.append(str(error))
        found.append(rendered(PLAIN))

    threads = [threading.Thread(target=render) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}]
    assert found.count(render_jinja_template([messages], chat_template=PLAIN)[0][0]) == 4
    assert len(found) == 8


def test_a_renderer_that_somebody_killed_is_started_again() -> None:
    rendered(PLAIN)
    pid = limited_process(RENDERER, SECONDS).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert rendered(PLAIN) == "<|user|>hello<|assistant|>world"


def test_a_fork_has_a_renderer_of_its_own() -> None:
    rendered(PLAIN)
    here = limited_process(RENDERER, SECONDS)
    with mock.patch.object(os, "getpid", return_value=-1):
        fork = limited_process(RENDERER, SECONDS)
    assert fork is not here
    assert limited_process(RENDERER, SECONDS) is not fork


def test_a_file_of_gigabytes_is_no_template(tmp_path: Path) -> None:
    path = tmp_path / "large.jinja"
    with path.open("wb") as file:
        file.write(b"a" * 100)
        file.truncate(3 * 2**30)
    began = time.process_time()
    with pytest.raises(GradPrismError, match=r"large\.jinja: expected at most 1,048,576 characters"):
        read_template(str(path))
    assert time.process_time() - began < 1
    for name in ("nul\0.jinja", "x" * 5000):
        with pytest.raises(GradPrismError, match="expected paper, chat, or the path of a Jinja file"):
            read_template(name)


@pytest.mark.slow  # loads a tokenizer twice, beside the renderer
def test_the_command_shows_one_line(tmp_path: Path, tokenizer: Any) -> None:
    data, template, model = tmp_path / "rows.jsonl", tmp_path / "t.jinja", tmp_path / "model"
    data.write_text('{"instruction": "hello", "output": "world"}\n')
    tokenizer.save_pretrained(model)
    (model / "config.json").write_text('{"model_type": "llama"}')
    template.write_text(LARGE["a wide field"])
    ended = run("inspect", data, "--model", model, "--template", template)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"gradprism: --template {template}: the chat template needs more than one text may")
    template.write_text(for_rows_alone(LARGE["a wide field"]))
    ended = run("inspect", data, "--model", model, "--template", template)
    assert ended.returncode == 0
    assert "the chat template needs more than one text may have" in ended.stdout
