"""Settings of reading rows, and of turning them into tokens."""

from typing import Literal, Self

from pydantic import Field, field_validator

from gradprism.core.settings import Settings, iso_date
from gradprism.data.row_size import DEFAULT_ROW_BYTES

IN_MEMORY = ("(Python objects)",)
"""The data of a recipe where no file was given."""


class ReadSettings(Settings):
    """Choice of rows, and the roles of their columns."""

    columns: str = ""
    """Which column is which, where that is not found by itself: prompt=NAME,response=NAME
    (roles: prompt, input, response, messages, system, history, tools, id). Columns that are not named are not read; a
    row may lack any but prompt, response and messages. response=A+B is the text of A, a newline, and that of B."""
    split: str | None = None
    """Split of a hub data set, a saved `datasets` folder, or a folder of files (by their names, or their folders')."""
    config: str | None = None
    """Configuration of a hub data set, or the folder in a folder that is called so."""
    rows: str | None = None
    """Only the rows A:B, counted from 0, B left out."""
    sample: int | None = Field(default=None, ge=1)
    """Take N rows at random, without replacement."""
    seed: int = 0
    """Seed of --sample, and of what select draws: ties and the random baseline."""
    limit: int | None = Field(default=None, ge=1)
    """Stop after the first N of the rows chosen so far."""
    max_row_bytes: int = Field(default=DEFAULT_ROW_BYTES, ge=1)
    """The largest row of a file that is read, unpacked; a larger one is left out with this reason."""


class TextSettings(Settings):
    """Settings of the text, its tokens, and which of them are part of the loss."""

    template: str = "auto"
    """`paper` (prompt, newline, response), `chat` (the tokenizer's chat template), or a Jinja file in chat-template
    form. By itself (`auto`) chat for data that hold conversations, where the tokenizer has a template, else paper."""
    system: str | None = None
    """System prompt for examples that bring none."""
    date: str | None = None
    """The day that a chat template prints, YYYY-MM-DD, where it prints one; by itself the day the run began."""
    turns: Literal["all", "last"] = "all"
    """Loss on every assistant turn, or on the last one only."""
    end_of_turn: bool = True
    """Whether the token that ends an assistant turn is part of the loss (`paper` writes none)."""
    max_length: int = Field(default=2048, ge=2)
    """Tokens kept of an example; longer ones are cut on the right, and recorded as truncated."""
    response_tokens: int | None = Field(default=None, ge=1)
    """Keep exactly the first N loss tokens, and nothing after them; examples with fewer are skipped."""
    prompt_tokens: int | None = Field(default=None, ge=1)
    """Keep exactly the last N tokens before the first loss token (and a token that the tokenizer sets
    before every text); examples with fewer are skipped. With `response_tokens`, all of one turn, every gradient is of
    equally many tokens: a control of length."""

    _is_a_day = field_validator("date")(iso_date)

    @property
    def most_tokens(self) -> int:
        """The most tokens that an example can have."""
        if self.prompt_tokens is None or self.response_tokens is None:
            return self.max_length
        return min(self.max_length, 1 + self.prompt_tokens + self.response_tokens)

    def at_most(self, limit: int | None) -> Self:
        """Return the settings with no more tokens than `limit`, such as the positions that a model has."""
        if limit is not None and limit < self.max_length:
            return self.model_copy(update={"max_length": limit})
        return self
