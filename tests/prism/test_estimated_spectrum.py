"""Estimated spectra against an SVD in fp64: synthetic matrices, real gradients, and whole runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import gradprism
from gradprism import GradientAnalyzer
from gradprism.core.errors import GradPrismError
from gradprism.prism import analyzer as analyzer_module
from gradprism.prism import estimated_spectrum, measures
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.estimated_spectrum import BLOCK, blocks_for, estimate
from gradprism.prism.matrix_stack import MatrixStack, norms_of_formed
from gradprism.prism.measures import ERROR_COLUMNS, TAIL_COLUMNS, Measure, measure_spectra
from gradprism.prism.norms_and_ranks import effective_rank, frobenius_norm, nuclear_norm, spectral_norm, stable_rank
from gradprism.prism.tail import Spectra, Tail

MEASURES = (nuclear_norm, effective_rank, frobenius_norm, spectral_norm, stable_rank)


def power_law(m: int, n: int, exponent: float, seed: int = 0) -> Tensor:
    """A matrix whose singular values fall as a power of their index."""
    random = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(size, n, generator=random, dtype=torch.float64)).Q for size in (m, n))
    values = torch.arange(1, n + 1, dtype=torch.float64) ** -exponent
    return ((left * values) @ right.T).float()


def truth(matrix: Tensor) -> Tensor:
    values = torch.linalg.svdvals(matrix.double())
    return torch.where(values > 1e-8 * values[0], values, 0.0)


def relative_errors(found: Spectra, values: Tensor) -> list[float]:
    return [abs(float(each(found.values[0], found.tail and found.tail.map(lambda x: x[0])) / each(values) - 1))
            for each in MEASURES]  # fmt: skip


@pytest.mark.slow  # half a second or more
@pytest.mark.parametrize(
    ("exponent", "blocks", "nuclear", "rank"),
    [(0.5, 3, 1e-2, 1e-2), (1.0, 3, 5e-3, 1e-2), (2.0, 3, 1e-3, 2e-2), (1.0, 4, 3e-3, 1e-2), (2.0, 4, 1e-3, 1e-2)],
)
def test_power_laws(exponent: float, blocks: int, nuclear: float, rank: float) -> None:
    matrix = power_law(1100, 1040, exponent)
    found = estimate(MatrixStack.of_gradients([matrix]), [1040], [[0]], blocks)
    errors = relative_errors(found, truth(matrix))
    assert errors[0] < nuclear
    assert errors[1] < rank
    assert max(errors[2:]) < 1e-3
    assert found.values.shape == (1, BLOCK * blocks // 3)
    np.testing.assert_allclose(found.values[0], truth(matrix)[: BLOCK * blocks // 3], rtol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "steepness"), [(1, 0), (5, 0), (100, 0), (10, 6), (50, 6), (65, 6)])
def test_a_low_rank_is_found_as_it_is(rank: int, steepness: int) -> None:
    """Some of these fail where blocks are made orthonormal in fp32."""
    random = torch.Generator().manual_seed(rank)
    weights = (torch.arange(1, rank + 1) ** -float(steepness))[:, None]
    deltas, inputs = (weights * torch.randn(rank, width, generator=random) for width in (700, 1100))
    repeats = torch.arange(520) % rank  # every token several times
    values = truth(deltas[repeats].T.double() @ inputs[repeats].double())
    for stack in (
        MatrixStack.of_gradients([deltas[repeats].T @ inputs[repeats]]),
        MatrixStack.of_factors([deltas[repeats]], [inputs[repeats]]),
    ):
        assert max(relative_errors(estimate(stack, [520], [[1]], 3), values)) < 1e-3  # fp32 rounds beyond the rank


@pytest.mark.slow
@pytest.mark.parametrize("width", [560, 800, 1600])
def test_fewer_tokens_than_the_width_are_no_bias(width: int) -> None:
    random = torch.Generator().manual_seed(width)
    left, right = (torch.linalg.qr(torch.randn(size, 520, generator=random)).Q for size in (width, width))
    values = torch.arange(1, 521, dtype=torch.float64) ** -1.0
    stack = MatrixStack.of_factors([(left * values.float()).T] * 8, [right.T] * 8)
    found = estimate(stack, [520] * 8, [[seed] for seed in range(8)], 3)
    assert found.errors is not None
    for index, measure in enumerate((nuclear_norm, effective_rank)):
        z = (measure(found.values, found.tail) - measure(values)) / found.errors[:, index]
        assert abs(float(z.mean())) < 1.5
        assert float(z.abs().max()) < 4


def test_a_zero_gradient_has_no_rank_and_no_norm() -> None:
    found = estimate(MatrixStack.of_gradients([torch.zeros(512, 512)]), [512], [[1]], 3)
    assert float(nuclear_norm(found.values, found.tail)) == 0
    assert float(effective_rank(found.values, found.tail)) != float(effective_rank(found.values, found.tail))  # NaN


@pytest.mark.slow
def test_it_follows_the_scale_and_the_seed_and_nothing_else() -> None:
    matrices = torch.stack([power_law(520, 512, exponent, seed) for seed, exponent in enumerate((0.7, 1.0, 1.5))])
    together = estimate(MatrixStack.of_gradients([*matrices]), [512] * 3, [[0], [1], [2]], 3)
    alone = estimate(MatrixStack.of_gradients([matrices[1]]), [512], [[1]], 3)
    np.testing.assert_allclose(alone.values[0], together.values[1], rtol=1e-4)
    for name in ("total", "logs"):
        np.testing.assert_allclose(getattr(alone.tail, name)[0], getattr(together.tail, name)[1], rtol=1e-4)
    turned = estimate(MatrixStack.of_gradients([matrices[1].T * 1e-9]), [512], [[1]], 3)
    assert float(nuclear_norm(turned.values, turned.tail)) == pytest.approx(
        1e-9 * float(nuclear_norm(alone.values, alone.tail)), rel=3e-3
    )
    assert float(frobenius_norm(turned.values, turned.tail)) == pytest.approx(
        1e-9 * float(matrices[1].norm()), rel=1e-5
    )
    other = estimate(MatrixStack.of_gradients([matrices[1]]), [512], [[7]], 3)
    assert float(other.tail.total) != float(alone.tail.total)  # type: ignore[union-attr]


@pytest.mark.slow
def test_it_has_hardly_a_bias_and_its_errors_cover_the_truth() -> None:
    matrix = power_law(560, 520, 1.0)
    values = truth(matrix)
    found = estimate(MatrixStack.of_gradients([matrix] * 40), [520] * 40, [[seed] for seed in range(40)], 3)
    assert found.errors is not None
    for index, measure in enumerate((nuclear_norm, effective_rank)):
        off = measure(found.values, found.tail) - measure(values)
        assert float((off.abs() <= 2 * found.errors[:, index]).double().mean()) >= 0.9
        assert abs(float(off.mean() / measure(values))) < 5e-3


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=12), st.integers(0, 12), st.floats(1e-3, 1e3))
def test_leading_values_and_the_sums_over_the_rest_give_every_measure(given: list[float], k: int, scale: float) -> None:
    whole = torch.tensor(sorted(given, reverse=True), dtype=torch.float64)[None]
    cut = Spectra(whole).cut(max(k, 1)).scaled(torch.tensor([scale], dtype=torch.float64))
    assert cut.tail is not None
    assert int(cut.tail.count) == max(len(given) - max(k, 1), 0)
    for measure in MEASURES:
        assert float(measure(cut.values, cut.tail)) == pytest.approx(float(measure(scale * whole)), rel=1e-9)


def test_a_measure_that_takes_no_tail_is_null_where_some_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.ones(2, 3, dtype=torch.float64)
    tail = Tail.of(torch.ones(2, 1))
    plain = Measure("odd", "odd", function=lambda s: s.sum(-1))
    assert plain.compute(values).tolist() == [3.0, 3.0]
    both = Measure(
        "both", "both", function=lambda s, tail: s.sum(-1) + (0 if tail is None else tail.total), takes_tail=True
    )
    assert both.compute(values).tolist() == [3.0, 3.0]
    assert both.compute(values, tail).tolist() == [4.0, 4.0]
    monkeypatch.setattr(measures, "stored_measures", lambda: {"plain": plain, "both": both})
    for tail_or_none, value in ((None, 3.0), (tail, 4.0)):
        rows = measure_spectra(Spectra(values, tail_or_none), some_estimated=True)
        assert [row["both"] for row in rows] == [value] * 2
        assert all(row["plain"] != row["plain"] for row in rows)  # a mean over projections would be of the others
    monkeypatch.undo()
    assert [row["nuclear_norm"] for row in measure_spectra(Spectra(values, tail))] == [4.0, 4.0]


def test_what_is_estimated() -> None:
    sizes = (503, 504, 671, 672, 839, 840, 1344, 8192)
    assert [blocks_for(n, "exact") for n in sizes] == [0] * 8
    assert [blocks_for(n, "fast") for n in sizes] == [0, 3, 3, 4, 4, 4, 4, 4]
    assert [blocks_for(n, "balanced") for n in sizes] == [0, 0, 0, 0, 0, 5, 8, 8]


@pytest.mark.slow
def test_factors_give_what_gradients_give() -> None:
    random = torch.Generator().manual_seed(0)
    inputs, deltas = (torch.randn(600, width, generator=random) for width in (700, 900))
    inputs *= torch.arange(1, 701) ** -0.5
    of_factors = estimate(MatrixStack.of_factors([deltas], [inputs]), [600], [[1]], 3)
    of_gradient = estimate(MatrixStack.of_gradients([deltas.T @ inputs]), [600], [[1]], 3)
    np.testing.assert_allclose(of_factors.values, of_gradient.values, rtol=1e-4)
    values = truth(deltas.T @ inputs)
    assert max(relative_errors(of_factors, values)) < 3e-2  # a flat spectrum, of which a third is found
    padded = MatrixStack.of_factors([deltas, deltas[:500]], [inputs, inputs[:500]])
    together = estimate(padded, [600, 500], [[1], [1]], 3)
    np.testing.assert_allclose(together.values[0], of_factors.values[0], rtol=1e-4)


def test_the_norm_of_a_stack_is_that_of_the_gradients() -> None:
    random = torch.Generator().manual_seed(3)
    inputs, deltas = (torch.randn(3, 60, width, generator=random) for width in (70, 90))
    deltas[1, 30:] = -deltas[1, :30]  # terms that cancel
    inputs[1, 30:] = inputs[1, :30] + 1e-4 * torch.randn(30, 70, generator=random)
    deltas[2] = 0
    expected = (deltas.double().mT @ inputs.double()).flatten(1).norm(dim=1)
    for found in (
        MatrixStack.of_factors([*deltas], [*inputs]).norms,
        MatrixStack.of_gradients([*(deltas.double().mT @ inputs.double()).float()]).norms,
        norms_of_formed(deltas, inputs),
    ):
        np.testing.assert_allclose(found, expected, rtol=3e-5)


@pytest.mark.parametrize("share", [None, 0.0, 0.4, 1.0])
def test_threads_that_take_a_share_of_a_stack_change_no_value(share: float | None) -> None:
    random = torch.Generator().manual_seed(0)
    pool = EigenPool(2, stacked=True, share=share)
    for count in (1, 2, 5, 9, 9):
        matrices = torch.randn(count, 30, 30, generator=random, dtype=torch.float64)
        matrices = matrices @ matrices.mT
        expected = torch.linalg.eigvalsh(matrices)
        np.testing.assert_allclose(pool.eigenvalues(matrices), expected, atol=1e-12 * 1e3)
        values, vectors = pool.eigenpairs(matrices)
        np.testing.assert_allclose(values, expected, atol=1e-12 * 1e3)
        np.testing.assert_allclose((vectors * values[:, None]) @ vectors.mT, matrices, atol=1e-12 * 1e3)
    with pytest.raises(RuntimeError):
        pool.eigenvalues(torch.full((4, 5, 5), torch.nan, dtype=torch.float64))


@pytest.mark.parametrize(
    ("here", "there", "count", "taken"),
    [(0.2, 1.0, 8, 4), (0.2, 1.0, 4, 0), (10.0, 1.0, 8, 7), (10.0, 1.0, 3, 2), (1.0, 1.0, 1, 0), (0.01, 9.0, 100, 0)],
)
def test_threads_take_what_ends_soonest(here: float, there: float, count: int, taken: int) -> None:
    pool = EigenPool(4, stacked=True)
    pool.speeds["values", 5] = here, there
    assert pool._of_threads(("values", 5), count) == taken


def test_a_basis_that_is_not_orthonormal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    orthonormal = estimated_spectrum._orthonormal

    def failed(vectors: Tensor) -> tuple[Tensor, Tensor]:
        basis, triangle = orthonormal(vectors)
        return torch.cat([basis[..., :-1] + 0.05 * basis[..., -1:], basis[..., -1:]], -1), triangle

    stack = MatrixStack.of_gradients([power_law(520, 512, 1.0)])
    estimate(stack, [512], [[0]], 3)
    monkeypatch.setattr(estimated_spectrum, "_orthonormal", failed)
    with pytest.raises(RuntimeError, match="does not add up"):
        estimate(stack, [512], [[0]], 3)


@pytest.fixture(scope="module")
def wide_checkpoint(make_model: Callable[..., Any], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model wide enough for its q and o to be estimated, by `fast`."""
    folder = tmp_path_factory.mktemp("checkpoint") / "wide-llama"
    sizes = {"hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 2, "num_hidden_layers": 2}
    make_model("llama", **sizes, max_position_embeddings=1024).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def rows(sample_rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """One row that is too short for an estimate, and two that are long enough."""
    long = [" ".join(row["output"] for row in sample_rows[start : start + 12]) for start in (0, 12)]
    return [{"instruction": "Go on.", "output": text} for text in (sample_rows[0]["output"], *long)]


@pytest.fixture
def same_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute a model's products as `exact` does, so that estimates are all that differs."""
    monkeypatch.setattr(analyzer_module, "arithmetic_of", lambda *_: "as loaded")


def estimated(spectra: pl.DataFrame) -> pl.DataFrame:
    return spectra.filter(pl.col("nuclear_norm_error").is_not_null())


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
def test_fast_estimates_what_is_large_and_says_so(
    stacked: bool, wide_checkpoint: Path, rows: list[dict[str, str]], same_products: None
) -> None:
    options = {"max_length": 640, "null_draws": 2}
    exact = GradientAnalyzer(str(wide_checkpoint), **options).analyze(rows)
    fast = GradientAnalyzer(str(wide_checkpoint), **options, precision="fast")
    fast.pool = EigenPool(2, stacked=stacked)
    found = fast.analyze(rows).spectra
    keys = estimated(found).select("row", "layer", "projection").rows()
    assert keys == [(row, layer, name) for row in (1, 2) for layer in (0, 1) for name in ("q", "o")]
    both = found.join(exact.spectra, on=["row", "layer", "projection"], suffix="_exact")
    most = {
        "nuclear_norm": 2e-2, "effective_rank": 4e-2, "frobenius_norm": 1e-5, "spectral_norm": 1e-4,
        "null_nuclear_norm": 2e-2, "null_effective_rank": 4e-2,
    }  # fmt: skip
    for name in most:
        assert (both[name] / both[f"{name}_exact"] - 1).abs().max() < most[name]  # type: ignore[operator]
    for name in ("nuclear_norm", "effective_rank"):
        assert ((both[name] - both[f"{name}_exact"]).abs() <= 3 * both[f"{name}_error"]).all()
    cosines = fast.analyze(rows).similarity["cosine"] - exact.similarity["cosine"]
    assert cosines.abs().max() < 1e-5  # type: ignore[operator]
    for row in found.iter_rows(named=True):
        is_estimated = row["nuclear_norm_error"] is not None
        assert all((row[name] is not None) == is_estimated for name in (*TAIL_COLUMNS, *ERROR_COLUMNS))
        if is_estimated:
            assert len(row["singular_values"]) == BLOCK
            assert sum(row["singular_values"]) + row["tail_sum"] == pytest.approx(row["nuclear_norm"], rel=1e-6)


@pytest.mark.slow
def test_an_estimate_is_the_same_in_any_batch(
    wide_checkpoint: Path, rows: list[dict[str, str]], same_products: None
) -> None:
    made = [
        GradientAnalyzer(str(wide_checkpoint), max_length=640, precision="fast", batch_tokens=tokens).analyze(given)
        for tokens, given in ((4000, rows), (1, rows[2:]))
    ]
    one, other = (tables.spectra.filter(pl.col("row") == row) for tables, row in zip(made, (2, 0), strict=True))
    for name in ("nuclear_norm", "effective_rank", "nuclear_norm_error"):
        np.testing.assert_allclose(one[name].drop_nulls(), other[name].drop_nulls(), rtol=1e-3)


@pytest.mark.slow
def test_runs_keep_the_largest_values_and_sums_over_the_rest(
    tiny_checkpoint: Path, sample_rows: list[dict[str, str]], tmp_path: Path
) -> None:
    def make(**options: Any) -> Any:
        return gradprism.spectra(
            sample_rows[:6], str(tiny_checkpoint), out=tmp_path / str(options.get("spectrum")), max_length=64, **options
        )

    whole, cut = make(), make(spectrum="top:5")
    assert cut.record["identity"]["prism.spectrum"] == "top:5"
    both = cut.singular_values.join(whole.singular_values, on=["row", "layer", "projection"], suffix="_whole")
    for row in both.iter_rows(named=True):
        values = row["singular_values_whole"]
        assert row["singular_values"] == values[:5]
        assert row["tail_count"] == (len(values) - 5 if len(values) > 5 else None)
        assert row["tail_sum"] == (pytest.approx(sum(values[5:]), rel=1e-5) if len(values) > 5 else None)
    for spectrum, words in (("top:6", r"--spectrum top:5 \(now top:6\)"), (True, r"top:5 \(now all\)")):
        with pytest.raises(GradPrismError, match=words):
            gradprism.spectra(
                sample_rows[:6], str(tiny_checkpoint), out=tmp_path / "top:5", max_length=64, spectrum=spectrum
            )
    assert cut.spectra.drop(TAIL_COLUMNS).equals(whole.spectra)  # the measures are of whole spectra
    decay = gradprism.compare(a=cut, b=whole).decay  # ends where the values do
    assert decay.filter(group="a")["index"].max() == 5
    assert decay.filter(group="b")["index"].max() > 5  # type: ignore[operator]


@pytest.mark.parametrize("words", ["top", "top:0", "top:-1", "top:many", "some"])
def test_other_words_are_refused(words: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=r"expected all, none, or top:K"):
        gradprism.spectra([{"prompt": "a", "response": "b"}], str(tiny_checkpoint), out=tmp_path / "r", spectrum=words)
    assert not (tmp_path / "r").exists()


def test_all_and_none_are_words_for_the_switch() -> None:
    from gradprism.prism.settings import PrismSettings

    assert [PrismSettings(spectrum=word).spectrum for word in ("all", "none", "top:3")] == [True, False, "top:3"]


@pytest.mark.slow
def test_runs_of_two_precisions_are_not_compared_without_a_word(
    tiny_checkpoint: Path, sample_rows: list[dict[str, str]], tmp_path: Path
) -> None:
    made = {
        name: gradprism.spectra(
            sample_rows[:6], str(tiny_checkpoint), out=tmp_path / name, max_length=64, precision=name
        )
        for name in ("exact", "fast")
    }
    assert "and more estimated" in made["fast"].record["identity"]["spectra"]
    assert "and more estimated" in str(made["fast"])
    notes = " ".join(gradprism.compare(**made).notes)
    assert "differ in prism.precision" in notes
    assert "and more estimated" in notes


@pytest.mark.slow
def test_real_gradients(smollm2: tuple[Any, Any], shared: Path, same_products: None) -> None:
    """A row of 640 tokens through a real model: all of q and o, in fp64 and estimated."""
    given = json.loads((shared / "data" / "reasoning" / "s1_R1.json").read_text("utf-8"))
    given = [row for row in given if len(row["output"]) > 4000][:1]
    tables = [
        GradientAnalyzer(*smollm2, max_length=640, projections="q,o", precision=precision).analyze(given).spectra
        for precision in ("exact", "fast")
    ]
    assert estimated(tables[1]).height == tables[1].height == 60
    for name, median, most in (("nuclear_norm", 2e-3, 1e-2), ("effective_rank", 1e-2, 3e-2)):
        off = (tables[1][name] / tables[0][name] - 1).abs()
        assert off.median() < median  # type: ignore[operator]
        assert off.max() < most  # type: ignore[operator]
        error = tables[1][f"{name}_error"] / tables[0][name]
        assert (off <= 2 * error).mean() >= 0.9  # type: ignore[operator]
