"""Tune a model a little with LoRA on detailed answers, as a stand-in for a pair of checkpoints from a hub.

python studies/paired/tune.py DIR OUT [STEPS]. It takes questions that rows.py does not.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings


def main(folder: Path, out: str, steps: int = 30) -> None:
    """Train on one answer a step, and save the adapter."""
    checkpoint = find_checkpoint(CheckpointSettings(model="smollm2-135m"))
    tokenizer = checkpoint.load_tokenizer()
    torch.manual_seed(0)
    model = get_peft_model(
        checkpoint.load_model(), LoraConfig(r=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    )
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)
    rows = json.loads((folder / "thinking" / "gsm8k_with_cot_gpt4o.json").read_text(encoding="utf-8"))[-steps:]
    for step, row in enumerate(rows):
        prompt = tokenizer(row["instruction"] + "\n")["input_ids"]
        ids = tokenizer(row["instruction"] + "\n" + row["output"])["input_ids"][:256]
        labels = [-100] * len(prompt) + ids[len(prompt) :]
        loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        sys.stderr.write(f"step {step}: loss {loss.item():.3f}\n")
    model.save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
