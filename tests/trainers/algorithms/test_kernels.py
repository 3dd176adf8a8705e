"""Kernels and the dependences made of them, against explicit formulas and by their invariants."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainers.algorithms.kernels import (
    KernelError,
    center,
    cosine_kernel,
    gaussian_kernel,
    group_deviations,
    hsic,
    linear_kernel,
    normalized_hsic,
    phsic,
    squared_distances,
)

SEEDS = st.integers(0, 2**20)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, classes).double()


def by_explicit_inverse(x: Tensor, y: Tensor, sigma_x: float, sigma_y: float, epsilon: float) -> Tensor:
    """Eq. 5 as it is printed, every kernel entry by itself."""
    m = len(x)
    h = torch.eye(m, dtype=x.dtype) - 1 / m
    hats = []
    for rows, sigma in ((x.flatten(1), sigma_x), (y.flatten(1), sigma_y)):
        kernel = torch.empty(m, m, dtype=x.dtype)
        for i in range(m):
            for j in range(m):
                kernel[i, j] = math.exp(-float((rows[i] - rows[j]).square().sum()) / (2 * sigma**2 * rows.shape[1]))
        centred = h @ kernel @ h
        hats.append(centred @ torch.linalg.inv(centred + epsilon * m * torch.eye(m, dtype=x.dtype)))
    return torch.trace(hats[0] @ hats[1])


@pytest.mark.parametrize("sigmas", [(5.0, 5.0), (1.0, 3.0), (0.5, 10.0)])
def test_normalized_hsic_is_the_explicit_inverse_formula(sigmas: tuple[float, float]) -> None:
    x, y = drawn(1, 24, 3, 4), one_hot(torch.arange(24) % 5, 5)
    ours = normalized_hsic(x, y, sigma_x=sigmas[0], sigma_y=sigmas[1])
    assert float(ours) == pytest.approx(float(by_explicit_inverse(x, y, *sigmas, 1e-5)), rel=1e-8)


def test_normalized_hsic_of_linear_kernels_is_the_explicit_inverse_formula() -> None:
    x, y = drawn(2, 12, 4), drawn(3, 12, 2)
    m, h = 12, torch.eye(12, dtype=torch.float64) - 1 / 12
    hats = [k @ torch.linalg.inv(k + 1e-5 * m * torch.eye(m)) for k in (h @ x @ x.t() @ h, h @ y @ y.t() @ h)]
    ours = normalized_hsic(x, y, sigma_x=None, sigma_y=None)
    assert float(ours) == pytest.approx(float(torch.trace(hats[0] @ hats[1])), rel=1e-8)


def test_its_gradient_is_the_finite_difference() -> None:
    x, y = drawn(4, 7, 3).requires_grad_(), drawn(5, 7, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: normalized_hsic(a, b, sigma_x=1.0, sigma_y=2.0), (x, y), atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, m=st.integers(2, 30), features=st.integers(1, 6), classes=st.integers(1, 5))
def test_normalized_hsic_keeps_its_invariants(seed: int, m: int, features: int, classes: int) -> None:
    x = drawn(seed, m, features)
    labels = torch.randint(classes, (m,), generator=torch.Generator().manual_seed(seed))
    y = one_hot(labels, classes)
    value = normalized_hsic(x, y)
    assert -1e-9 <= value <= m - 1
    assert value <= len(labels.unique()) - 1 + 1e-9
    assert torch.allclose(value, normalized_hsic(y, x), rtol=1e-8, atol=1e-9)
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(value, normalized_hsic(x[order], y[order]), rtol=1e-7, atol=1e-8)
    assert torch.allclose(value, normalized_hsic(x + 17.5, y), rtol=1e-6, atol=1e-7)
    rotation, _ = torch.linalg.qr(drawn(seed + 1, features, features))
    assert torch.allclose(value, normalized_hsic(x @ rotation, y), rtol=1e-6, atol=1e-7)


def test_hsic_of_independent_noise_falls_as_one_over_the_batch() -> None:
    def mean_of(m: int) -> float:
        pairs = [(drawn(seed, m, 2), drawn(1000 + seed, m, 2)) for seed in range(20)]
        return sum(float(hsic(gaussian_kernel(x, 1.0), gaussian_kernel(y, 1.0))) for x, y in pairs) / 20

    assert mean_of(40) / mean_of(320) == pytest.approx(8, rel=0.3)


def test_hsic_is_the_trace_formula() -> None:
    a, b = gaussian_kernel(drawn(6, 9, 3)), linear_kernel(drawn(7, 9, 2))
    h = torch.eye(9, dtype=torch.float64) - 1 / 9
    assert float(hsic(a, b)) == pytest.approx(float(torch.trace(a @ h @ b @ h)) / 64, rel=1e-10)
    assert torch.allclose(center(a), h @ a @ h)


def test_phsic_equals_hsic_where_every_row_of_a_kernel_has_one_mean() -> None:
    labels = one_hot(torch.arange(12) % 3, 3)
    balanced = cosine_kernel(labels - labels.mean(0))
    kernel = gaussian_kernel(drawn(8, 12, 3), 1.0)
    assert float(phsic(kernel, balanced)) == pytest.approx(float(hsic(kernel, balanced)) * 11**2 / 12**2, rel=1e-9)


def test_distances_survive_a_common_offset_in_float32() -> None:
    x = drawn(9, 16, 8)
    far = (x + 1000).float()
    exact = torch.cdist(far.double(), far.double()).square()
    assert torch.allclose(squared_distances(far).double(), exact, rtol=1e-4, atol=1e-4)


def test_group_deviations_follow_their_definition() -> None:
    z = drawn(10, 5, 12)
    found = group_deviations(z, 3, power=0.5, smoothing=1.0)
    for sample in range(5):
        groups = [z[sample, 4 * group : 4 * group + 4] for group in range(3)]
        deviations = [math.sqrt((float((units - units.mean()).square().sum()) + 1) / 4) for units in groups]
        expected = [each - sum(deviations) / 3 for each in deviations]
        assert found[sample].tolist() == pytest.approx(expected)


def test_units_that_do_not_divide_into_groups_are_refused() -> None:
    with pytest.raises(KernelError, match="10 units do not divide into 4 groups"):
        group_deviations(drawn(1, 3, 10), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_duplicate_rows_are_harmless(dtype: torch.dtype) -> None:
    x = drawn(11, 4, 6).repeat(64, 1).to(dtype)
    y = one_hot(torch.arange(4) % 2, 2).repeat(64, 1).to(dtype)
    value = normalized_hsic(x, y)
    assert torch.isfinite(value)
    assert 0 < float(value) <= 1 + 1e-4


@pytest.mark.parametrize("constant", ["features", "labels"])
def test_a_constant_side_depends_on_nothing(constant: str) -> None:
    x, y = drawn(12, 20, 5), one_hot(torch.arange(20) % 2, 2)
    if constant == "features":
        x = torch.full_like(x, 3.7)
    else:
        y = one_hot(torch.zeros(20, dtype=torch.int64), 2)
    assert float(normalized_hsic(x, y)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_samples_are_refused(rows: int) -> None:
    with pytest.raises(KernelError, match="two samples or more"):
        normalized_hsic(drawn(1, rows, 3), drawn(1, rows, 2))


def test_sides_of_unequal_length_are_refused() -> None:
    with pytest.raises(KernelError, match="got 4 and 5"):
        normalized_hsic(drawn(1, 4, 3), drawn(1, 5, 2))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    x = drawn(1, 4, 3)
    x[2, 1] = bad
    with pytest.raises(KernelError, match="not finite"):
        normalized_hsic(x, drawn(2, 4, 2))


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(KernelError, match="floating point"):
        normalized_hsic(torch.arange(4), torch.arange(4))
