"""Preferences (DPO) and weighted rows against autograd in fp64, and what a pair of answers is read as."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.families import FAMILIES
from tests.families.family import Family, examples, true_gradients

import gradprism
from gradprism import GradientAnalyzer, GradPrismError, SpectraCallback
from gradprism.data.encode import Encoded
from gradprism.data.example import Example, Turn
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings
from gradprism.models.likelihood import ResponseLoss
from gradprism.prism.losses import Loss

TURNS = (Turn("user", "a"), Turn("assistant", "b"))
NAMES = ("llama", "phi3", "gpt2", "falcon", "mixtral")  # separate, fused, transposed, grouped, a mixture of experts
CHOSEN = [family for family in FAMILIES if family.name in NAMES]
BETA = 0.3
REFERENCE = (-20.0, -31.0)


def pair(reference: tuple[float, float] | None = None, *, swapped: bool = False) -> Encoded:
    """Two answers of other lengths as one example."""
    one, other = (Encoded(*made, False) for made in (reversed(examples()) if swapped else examples()))
    ids, mask = one.ids + other.ids, one.response_mask + other.response_mask
    return Encoded(ids, mask, False, sides=(one, other), reference=reference)


def summed_loss(model: Any, ids: Any, mask: Any) -> float:
    """Negative log-likelihood of the response tokens together, nats."""
    with torch.no_grad():
        logs = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, :-1].double().log_softmax(-1)
    own = logs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return -float(own[torch.tensor(mask[1:])].sum())


def spectra_of(tables: Any, row: int, name: str, layer: int) -> dict[str, Any]:
    return tables.spectra.filter(row=row, projection=name, layer=layer).row(0, named=True)


@pytest.mark.parametrize("family", CHOSEN, ids=lambda family: family.name)
def test_the_gradient_of_a_pair_equals_autograd_alone_and_in_a_batch(family: Family, tokenizer: Any) -> None:
    model, names = family.make(), list(family.attention)
    in_truth = family.in_truth(model)
    truth = [true_gradients(family, in_truth, *item) for item in examples()]
    sums = [summed_loss(in_truth, *item) for item in examples()]
    counts = [sum(mask) for _, mask in examples()]
    keys = [key for key in truth[0] if key[0] in names]
    given = [pair(), pair(REFERENCE), pair(REFERENCE, swapped=True)]
    for batch_tokens in (1, 10_000):
        analyzer = GradientAnalyzer(
            model, tokenizer, projections=names, batch_tokens=batch_tokens, loss="dpo", beta=BETA,
        )  # fmt: skip
        tables = analyzer.analyze_encoded([(Example(n, str(n), TURNS), item) for n, item in enumerate(given)])
        assert tables.examples["status"].to_list() == ["ok"] * 3
        for row, (item, sides) in enumerate(zip(given, ((0, 1), (0, 1), (1, 0)), strict=True)):
            c, r = sides
            margin = 0.0 if item.reference is None else (-sums[c] - REFERENCE[0]) - (-sums[r] - REFERENCE[1])
            slope = BETA / (1 + math.exp(BETA * margin))
            assert tables.examples["loss"][row] == pytest.approx(math.log1p(math.exp(-BETA * margin)), rel=1e-4)
            for key in keys:
                own = slope * (counts[c] * truth[c][key] - counts[r] * truth[r][key])
                values = np.linalg.svd(own, compute_uv=False)
                found = spectra_of(tables, row, *key)
                assert found["nuclear_norm"] == pytest.approx(values.sum(), rel=1e-4)
                assert found["spectral_norm"] == pytest.approx(values[0], rel=1e-4)
                kept = values[values > 1e-7 * values[0]] / values.sum()
                assert found["effective_rank"] == pytest.approx(np.exp(-(kept * np.log(kept)).sum()), rel=2e-4)
                between = tables.similarity.filter(
                    pl.col("kind") == "chosen_rejected", row=row, pair=key[0], layer=key[1]
                )["cosine"][0]
                cosine = float((truth[c][key] * truth[r][key]).sum())
                cosine /= np.linalg.norm(truth[c][key]) * np.linalg.norm(truth[r][key])
                assert between == pytest.approx(cosine, abs=1e-4)


def test_it_is_the_gradient_of_the_dpo_loss_itself(make_model: Any, tokenizer: Any) -> None:
    """Autograd on the loss of the paper, written out, through both answers at once."""
    model = make_model("llama")
    name = "model.layers.1.self_attn.v_proj.weight"
    weight = dict(model.named_parameters())[name]
    both = []
    for ids, mask in examples():
        logs = model(input_ids=torch.tensor([list(ids)])).logits[0, :-1].log_softmax(-1)
        own = logs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        both.append(own[torch.tensor(mask[1:])].sum())
    margin = (both[0] - REFERENCE[0]) - (both[1] - REFERENCE[1])
    loss = -torch.nn.functional.logsigmoid(BETA * margin)
    (true,) = torch.autograd.grad(loss, [weight])
    tables = GradientAnalyzer(model, tokenizer, loss="dpo", beta=BETA).analyze_encoded(
        [(Example(0, "0", TURNS), pair(REFERENCE))]
    )
    assert tables.examples["loss"][0] == pytest.approx(float(loss), rel=1e-4)
    values = torch.linalg.svdvals(true.double())
    found = tables.spectra.filter(projection="v", layer=1).row(0, named=True)
    assert found["nuclear_norm"] == pytest.approx(float(values.sum()), rel=1e-4)
    assert found["singular_values"][:3] == pytest.approx(values[:3].tolist(), rel=1e-4)


@pytest.mark.parametrize("family", CHOSEN, ids=lambda family: family.name)
def test_the_gradient_of_a_weighted_row_equals_autograd(family: Family, tokenizer: Any) -> None:
    model, names = family.make(), list(family.attention)
    in_truth = family.in_truth(model)
    given = [
        replace(Encoded(*item, False), weight=weight) for item, weight in zip(examples(), (-2.5, 0.3), strict=True)
    ]
    analyzer = GradientAnalyzer(model, tokenizer, projections=names, weights="advantage")
    tables = analyzer.analyze_encoded([(Example(n, str(n), TURNS), item) for n, item in enumerate(given)])
    for row, item in enumerate(given):
        for key, own in true_gradients(family, in_truth, item.ids, item.response_mask).items():
            if key[0] in names:
                values = abs(item.weight) * np.linalg.svd(own, compute_uv=False)
                found = spectra_of(tables, row, *key)
                assert found["nuclear_norm"] == pytest.approx(values.sum(), rel=1e-4)
                assert found["spectral_norm"] == pytest.approx(values[0], rel=1e-4)
                assert found["grad_mean"] == pytest.approx(item.weight * own.mean(), rel=1e-3, abs=1e-8)


@pytest.mark.slow  # loads peft
def test_the_reference_is_the_model_without_its_adapter(make_model: Any, tokenizer: Any, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    rows = rows_in(tmp_path / "pairs.jsonl", PAIRS)
    base = GradientAnalyzer(make_model("llama"), tokenizer)
    sums = {
        side: base.analyze([replace(row, turns=getattr(row, side), rejected=()) for row in rows]).examples["nll_sum"]
        for side in ("turns", "rejected")
    }
    known = [
        replace(row, columns={"ref_chosen_logps": -chosen, "ref_rejected_logps": -rejected})
        for row, chosen, rejected in zip(rows, sums["turns"], sums["rejected"], strict=True)
    ]
    torch.manual_seed(0)
    model = get_peft_model(make_model("llama"), LoraConfig(target_modules=["q_proj", "o_proj"], r=4))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    found, expected, own = (
        GradientAnalyzer(model, tokenizer, loss="dpo", reference=reference).analyze(given)
        for reference, given in (("base", rows), ("columns", known), ("model", rows))
    )
    np.testing.assert_allclose(found.examples["loss"], expected.examples["loss"], rtol=1e-5)
    np.testing.assert_allclose(found.spectra["nuclear_norm"], expected.spectra["nuclear_norm"], rtol=1e-4)
    assert abs(found.examples["loss"][0] - own.examples["loss"][0]) > 1e-3
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(
        GradPrismError, match="--reference base is the model without its adapter, and this model has none"
    ):
        GradientAnalyzer(make_model("llama"), tokenizer, loss="dpo", reference="base")


def test_weights_scale_and_turn_gradients(make_model: Any, tokenizer: Any) -> None:
    rows = [{"prompt": f"Question {n}", "response": f"Answer {n}. " * (n + 1), "advantage": a}
            for n, a in enumerate((1.0, -2.5, 0.0))]  # fmt: skip
    model = make_model("llama")
    plain = GradientAnalyzer(model, tokenizer, sketch=64).analyze(rows)
    analyzer = GradientAnalyzer(model, tokenizer, sketch=64, weights="advantage")
    weighted = analyzer.analyze(rows, targets=[GradientAnalyzer(model, tokenizer).target("t", rows)])
    assert weighted.examples["loss"].equals(plain.examples["loss"])
    norms = [each.spectra.filter(row=1)["nuclear_norm"].to_numpy() for each in (plain, weighted)]
    assert norms[1] == pytest.approx(2.5 * norms[0], rel=1e-5)
    sketches = [np.array(each.sketches.filter(row=1)["sketch"][0]) for each in (plain, weighted)]
    assert sketches[1] == pytest.approx(-sketches[0], abs=2e-3)
    assert weighted.influence["t"]["value"][1] < 0
    assert weighted.spectra.filter(row=2)["nuclear_norm"].to_list() == [0.0] * (model.config.num_hidden_layers * 4)
    missing = analyzer.analyze([{**rows[0], "advantage": None}, {**rows[1], "advantage": "high"}])
    assert missing.examples["status"].to_list() == ["skipped"] * 2
    assert "'advantage'" in missing.examples["reason"][0]


def rows_in(path: Path, rows: list[dict[str, Any]]) -> list[Example]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [*open_examples(str(path), ReadSettings())]


def said(turns: tuple[Turn, ...]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in turns]


ASKED = {"role": "user", "content": "Why?"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "Because.", "rejected": "No."},
        {"prompt": [ASKED], "chosen": [{"role": "assistant", "content": "Because."}],
         "rejected": [{"role": "assistant", "content": "No."}]},
        {"chosen": [ASKED, {"role": "assistant", "content": "Because."}],
         "rejected": [ASKED, {"role": "assistant", "content": "No."}]},
        {"messages": [ASKED, {"role": "assistant", "content": "Because."}],
         "chosen": [ASKED, {"role": "assistant", "content": "Because."}],
         "rejected": [ASKED, {"role": "assistant", "content": "No."}]},
        {"chosen": "\n\nHuman: Why?\n\nAssistant: Because.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
        {"prompt": "Why?", "chosen": "Because.", "rejected_response": "No."},
    ],
)  # fmt: skip
def test_the_rejected_answer_is_read_as_the_chosen_one_is(tmp_path: Path, row: dict[str, Any]) -> None:
    (example,) = rows_in(tmp_path / "rows.jsonl", [row])
    assert said(example.turns) == [("user", "Why?"), ("assistant", "Because.")]
    assert said(example.rejected) == [("user", "Why?"), ("assistant", "No.")]


def test_another_rejected_answer_is_other_data(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
    hashes = [rows_in(tmp_path / "a.jsonl", [{**row, "rejected": text}])[0].content_hash for text in ("No.", "Never.")]
    assert hashes[0] != hashes[1]
    assert replace(rows_in(tmp_path / "a.jsonl", [row])[0], rejected=()).content_hash not in hashes


PAIRS = [
    {
        "prompt": f"Is {n} even?",
        "chosen": "Yes, it is." if n % 2 == 0 else "No, it is not.",
        "rejected": "I do not know.",
        "ref_chosen_logps": -10.0 - n,
        "ref_rejected_logps": -12.0,
    }
    for n in range(3)
]


def test_a_run_of_pairs_says_so_and_is_not_taken_for_another(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows_in(path, [*PAIRS, {"prompt": "And?", "chosen": "Well."}])
    run = gradprism.spectra(path, str(tiny_checkpoint), out=tmp_path / "run", loss="dpo")
    assert run.examples["status"].to_list() == ["ok"] * 3 + ["skipped"]
    assert run.examples["reason"][3] == "it has no rejected answer that can be read, which --loss dpo needs"
    assert run.examples["loss"][:3].to_list() == pytest.approx([math.log(2)] * 3)
    assert run.record["identity"]["prism.loss"] == "dpo"
    plain = gradprism.spectra(path, str(tiny_checkpoint), out=tmp_path / "plain")
    assert plain.examples["status"].to_list() == ["ok"] * 4
    assert "prism.loss" not in plain.record["identity"]
    assert run.examples["n_tokens"][0] > plain.examples["n_tokens"][0]
    with pytest.raises(GradPrismError, match="--loss"):
        gradprism.spectra(path, str(tiny_checkpoint), out=tmp_path / "plain", loss="dpo")
    kinds = set(run.similarity["kind"])
    assert kinds == {"adjacent", "same_layer", "chosen_rejected"}
    assert set(plain.similarity["kind"]) == {"adjacent", "same_layer"}
    both = gradprism.compare(dpo=run, sft=plain)
    assert any("prism.loss" in note for note in both.notes)
    scored = gradprism.score(path, "loss", model=str(tiny_checkpoint), out=tmp_path / "run")
    assert scored.scores("loss")["value"][0] == pytest.approx(plain.examples["loss"][0], rel=1e-6)  # not that of pairs


def test_a_pair_of_one_answer_is_skipped_and_not_measured_as_rounding(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    long = "a b c d e f g h i j k l m n o p " * 3
    rows_in(path, [{"prompt": "Two?", "chosen": "2", "rejected": "2"},
                   {"prompt": "Letters?", "chosen": long + "q", "rejected": long + "r"}])  # fmt: skip
    run = gradprism.spectra(path, str(tiny_checkpoint), out=tmp_path / "run", loss="dpo", max_length=24)
    assert run.examples["status"].to_list() == ["skipped"] * 2
    assert run.examples["reason"].to_list() == [
        "its chosen and rejected answers are the same, so that their gradients cancel",
        "its chosen and rejected answers are the same within the 24 tokens of --max-length, so that their gradients "
        "cancel",
    ]


def test_references_of_columns_weigh_pairs(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows_in(path, PAIRS)
    own = gradprism.spectra(path, str(tiny_checkpoint), out=tmp_path / "own", loss="dpo")
    run = gradprism.spectra(path, str(tiny_checkpoint), out=tmp_path / "run", loss="dpo", reference="columns")
    chosen = gradprism.spectra(path, str(tiny_checkpoint), out=tmp_path / "chosen")
    sums = chosen.examples["loss"] * chosen.examples["n_response_tokens"]
    assert len(set(run.examples["loss"].round(6))) > 1
    ratios = (run.spectra["nuclear_norm"] / own.spectra["nuclear_norm"]).to_numpy().reshape(3, -1)
    assert ratios == pytest.approx(np.broadcast_to(ratios[:, :1], ratios.shape), rel=1e-5)  # one factor a pair
    slope = 1 - np.exp(-run.examples["loss"].to_numpy())  # 1 - sigmoid(beta m)
    assert ratios[:, 0] == pytest.approx(slope / 0.5, rel=1e-4)
    assert sums.is_finite().all()
    rows_in(path, [{**PAIRS[0], "ref_rejected_logps": None}])
    skipped = gradprism.spectra(path, str(tiny_checkpoint), out=tmp_path / "none", loss="dpo", reference="columns")
    assert "ref_rejected_logps" in skipped.examples["reason"][0]


def test_what_has_no_meaning_is_refused(make_model: Any, tokenizer: Any) -> None:
    for options, words in (
        ({"loss": "dpo", "tokens": True}, "--tokens is of one answer's tokens"),
        ({"beta": 0.5}, "--beta and --reference are of --loss dpo"),
        ({"reference": "columns"}, "--beta and --reference are of --loss dpo"),
    ):
        with pytest.raises(GradPrismError, match=words):
            GradientAnalyzer(make_model("llama"), tokenizer, **options)
    analyzer = GradientAnalyzer(make_model("llama"), tokenizer, loss="dpo")
    with pytest.raises(GradPrismError, match="expected token ids of both answers"):
        analyzer.analyze_encoded([(Example(0, "0", TURNS), Encoded(*examples()[0], False))])
    with pytest.raises(GradPrismError, match="loss has no effect"):
        SpectraCallback(loss="dpo")


def test_large_margins_do_not_overflow() -> None:
    for reference, loss in (((-1e4, 0.0), 0.0), ((1e4, 0.0), 1e3)):
        item = replace(pair(reference), reference=reference)
        made = Loss([item], 0.1)
        sums, counts = torch.tensor([10.0, 12.0]), torch.tensor([5, 5])
        (answer,) = made.answers(ResponseLoss(torch.zeros(10), sums, counts, sums.sum(), None))
        assert answer.loss == pytest.approx(loss, abs=1.0)
        assert made._factors[0] == pytest.approx(0.0 if loss == 0.0 else 0.1, abs=1e-6)
