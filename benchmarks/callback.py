"""A training of smollm2-135m by TRL's SFTTrainer and by Trainer, with and without SpectraCallback: losses and time.

    python -m benchmarks.callback                # 50 steps; about half an hour on two cores that others use too
    python -m benchmarks.callback --steps 4      # a look

Every way is trained from the same weights with the same seed. Its share is the time spent in the callback over that of
the steps themselves, taken in the same training, since these machines change their speed from minute to minute.
"""

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from gradprism import SpectraCallback, open_steps
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings

EVERY = (1, 5, 10, 25, 100)
SAMPLE = Path(__file__).parents[1] / "examples" / "sample.jsonl"


class Timed(SpectraCallback):
    """A callback that adds up the time of its events."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.seconds = 0.0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not name.startswith("on_") or name == "on_init_end":
            return found

        def timed(*args: Any, **named: Any) -> None:
            begun = time.perf_counter()
            found(*args, **named)
            self.seconds += time.perf_counter() - begun

        return timed


def trained(
    kind: str, model: Any, tokenizer: Any, rows: Sequence[dict[str, str]], callback: Any, **options: Any
) -> Any:
    """Train a copy of the model; return the trainer and the seconds of its steps."""
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments
    from trl import SFTConfig, SFTTrainer

    out = tempfile.mkdtemp(prefix="gradprism-benchmark-")
    common = {
        "output_dir": out, "logging_steps": 1, "report_to": [], "disable_tqdm": True, "save_strategy": "no", "seed": 1,
        "learning_rate": 1e-5, "bf16": False, **options,
    }  # fmt: skip
    model = copy.deepcopy(model)
    callbacks = [callback] if callback else []
    if kind == "SFTTrainer":
        data = Dataset.from_list([{"prompt": row["instruction"], "completion": row["output"]} for row in rows])
        trainer = SFTTrainer(model, SFTConfig(**common, max_length=64), train_dataset=data,
                             processing_class=tokenizer, callbacks=callbacks)  # fmt: skip
    else:
        data = Dataset.from_list([encoded(tokenizer, row) for row in rows])
        trainer = Trainer(model, TrainingArguments(**common), train_dataset=data, callbacks=callbacks,
                          data_collator=DataCollatorForSeq2Seq(tokenizer), processing_class=tokenizer)  # fmt: skip
    begun = time.perf_counter()
    trainer.train()
    return trainer, time.perf_counter() - begun


def encoded(tokenizer: Any, row: dict[str, str]) -> dict[str, list[int]]:
    """Prompt and response in at most 64 tokens, the loss on the response."""
    prompt = tokenizer(row["instruction"] + "\n")["input_ids"][:24]
    ids = (prompt + tokenizer(row["output"])["input_ids"])[:64]
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100] * len(prompt) + ids[len(prompt) :]}


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--only", default="", help="ways whose names hold this text")
    parser.add_argument("--no-save", action="store_true")
    given = parser.parse_args()
    checkpoint = find_checkpoint(CheckpointSettings(model=given.model))
    model, tokenizer = checkpoint.load_model(), checkpoint.load_tokenizer()
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    rows = [json.loads(line) for line in SAMPLE.read_text("utf-8").splitlines()]
    options = {"max_steps": given.steps, "per_device_train_batch_size": given.batch}
    ways: dict[str, tuple[str, Any]] = {
        "Trainer, 8 rows": ("Trainer", lambda: Timed(rows, max_length=64)),
        "SFTTrainer, 8 rows": ("SFTTrainer", lambda: Timed(rows, max_length=64)),
        "SFTTrainer, live, 2 rows": ("SFTTrainer", lambda: Timed(live=True, every=5)),
        "SFTTrainer, live, 1 row, 6 layers":
            ("SFTTrainer", lambda: Timed(live=True, every=5, limit=1, layers=[0, 6, 12, 18, 24, 29])),
        "SFTTrainer, 2 rows of the batch": ("SFTTrainer", lambda: Timed(every=10)),
    }  # fmt: skip
    ways = {name: way for name, way in ways.items() if given.only in name}
    kinds = {kind for kind, _ in ways.values()}
    plain = {kind: trained(kind, model, tokenizer, rows, None, **options) for kind in kinds}
    found = []
    for name, (kind, make) in ways.items():
        callback = make()
        trainer, seconds = trained(kind, model, tokenizer, rows, callback, **options)
        measured = list(open_steps(Path(trainer.args.output_dir) / "spectra").runs)
        own = seconds - callback.seconds
        each = callback.seconds / len(measured) / (own / given.steps)
        entry = {
            "way": name, "losses_equal": losses(trainer) == losses(plain[kind][0]), "measured": measured,
            "callback_s": round(callback.seconds, 2), "steps_s": round(own, 2),
            "share": round(callback.seconds / own, 4),
            "one_measurement_in_steps": round(each, 3),
            "share_by_every": {every: round(each / every, 4) for every in EVERY},
        }  # fmt: skip
        print(entry, flush=True)
        found.append(entry)
    table = {"steps": given.steps, "batch": given.batch, "ways": found,
             "plain_s": {kind: round(seconds, 2) for kind, (_, seconds) in plain.items()}}  # fmt: skip
    if not given.no_save:
        results.save("callback", table)


if __name__ == "__main__":
    main()
