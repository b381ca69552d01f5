"""inspect: Show what is understood of a data set: format, tokens, loss mask. Loads no weights."""

from gradprism.core.console import HarmlessConsole
from gradprism.core.options import Data
from gradprism.data.options import DEFAULT_READ, DEFAULT_TEXT, Read, Text
from gradprism.models.settings import CheckpointSettings

EXAMPLES = (
    "gradprism inspect examples/sample.jsonl",
    "gradprism inspect examples/sample.jsonl -m smollm2-135m -t chat --rows-shown 1",
)
COMMON = ("model", "template", "max-length", "system", "turns", "limit", "rows", "columns", "split", "rows-shown")


def inspect(
    data: Data,
    /,
    *,
    model: str | None = None,
    revision: str | None = None,
    rows_shown: int = 3,
    read: Read = DEFAULT_READ,
    text: Text = DEFAULT_TEXT,
    trust_remote_code: bool = False,
) -> int:
    """Show what is understood of a data set: format, prompt and response, tokens, truncation, the loss mask in colour.

    Loads the tokenizer of the model, never its weights.

    Parameters
    ----------
    data
        Data files, a saved `datasets` folder, or a hub id.
    model
        Whose tokenizer: hub id, folder, .gguf file or built-in name. Without it only the text is shown.
    revision
        Branch, tag or commit of a hub model.
    rows_shown
        How many rows to show in full: the first ones, and as many that are unlike the others.
    trust_remote_code
        Run tokenizer code that the checkpoint brings. Only for sources you trust.
    """
    from gradprism.inspection.api import inspect as inspect_data
    from gradprism.inspection.render import inspection_of

    checkpoint = (
        CheckpointSettings(model=model, revision=revision, trust_remote_code=trust_remote_code) if model else None
    )
    with HarmlessConsole(stderr=True).status("Reading"):
        found = inspect_data(data, checkpoint, read, text, rows_shown)
    console = HarmlessConsole()
    console.print(inspection_of(found, colour=console.color_system is not None and not console.no_color))
    return 0
