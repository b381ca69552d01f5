import pytest
import torch

from gradprism.prism.products import gram_of, lower_product


@pytest.mark.parametrize("n", [0, 1, 2, 127, 128, 129, 319, 320, 321, 323])
def test_equals_the_full_product(n: int) -> None:
    values = torch.randn(n, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    full = values @ values.T
    torch.testing.assert_close(gram_of(values), full)
    lower = lower_product(values, values.T, torch.full((n, n), torch.nan, dtype=torch.float64))
    torch.testing.assert_close(lower.tril(), full.tril())


def test_writes_into_a_part_of_a_larger_matrix() -> None:
    values, whole = torch.randn(200, 30), torch.zeros(210, 210)
    lower_product(values, values.T, out=whole[:200, :200])
    torch.testing.assert_close(whole[:200, :200].tril(), (values @ values.T).tril())
    assert not whole[200:].any()
    assert not whole[:, 200:].any()
