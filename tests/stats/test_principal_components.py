"""Principal components against numpy's SVD, on both sides of the matrix."""

import numpy as np
import pytest

from gradprism.stats.principal_components import principal_components


def rows(n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, d)) * np.geomspace(3, 0.1, d) + rng.normal(size=d)


@pytest.mark.parametrize(("n", "d"), [(60, 7), (7, 60), (3000, 5), (2, 9)])
def test_they_are_those_of_the_svd(n: int, d: int) -> None:
    given = rows(n, d).astype(np.float32)
    found = principal_components(given)
    left, values, _ = np.linalg.svd(
        given.astype(np.float64) - given.mean(axis=0, dtype=np.float64), full_matrices=False
    )
    expected = (left * values)[:, :2] * (np.arange(2) < n - 1)
    expected *= np.sign(expected[np.abs(expected).argmax(axis=0), [0, 1]])
    np.testing.assert_allclose(found.coordinates(given), expected, atol=1e-6)
    np.testing.assert_allclose(found.shares, (values**2)[:2] / (values**2).sum(), atol=1e-9)


def test_signs_do_not_depend_on_those_of_the_rows_order() -> None:
    given = rows(40, 6)
    turned = principal_components(given[::-1])
    np.testing.assert_allclose(turned.coordinates(given), principal_components(given).coordinates(given), atol=1e-9)


@pytest.mark.parametrize("given", [np.empty((0, 4)), np.ones((1, 4)), np.ones((5, 4)), np.ones((5, 1))])
def test_rows_that_do_not_differ_have_no_axes(given: np.ndarray) -> None:
    found = principal_components(given)
    assert not found.coordinates(given).any()
    assert not found.shares.any()
