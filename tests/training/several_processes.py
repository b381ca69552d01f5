"""A training by several processes, started by torchrun: MODEL OUT. The first prints what it logged."""

import json
import sys
from pathlib import Path
from typing import Any

import transformers

from gradprism import SpectraCallback
from tests.conftest import SAMPLE
from tests.training.tiny_training import curve, trainer_of


def main(checkpoint: str, out: str) -> None:
    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    rows = [json.loads(line) for line in SAMPLE.read_text("utf-8").splitlines()]
    found: dict[str, Any] = {}
    for name, callbacks in {
        "without": [],
        "rows": [SpectraCallback(rows[:2], every=2, projections="q", out=f"{out}/rows")],
        "live": [SpectraCallback(live=True, every=2, projections="q", out=f"{out}/live")],
    }.items():
        model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
        trainer = trainer_of(model, tokenizer, rows, Path(out) / name, callbacks, steps=3)
        trainer.train()
        found[name] = curve(trainer)
    if trainer.is_world_process_zero():
        print("FOUND", json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
