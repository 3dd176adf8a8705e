"""Kernels over a batch, and how much two representations of it depend on each other: HSIC and its normalised form.

    HSIC(X, Y)  = tr(K_X H K_Y H) / (m − 1)²            H = I − 11ᵀ/m, m samples       (Gretton et al. 2005)
    nHSIC(X, Y) = tr(K̂_X K̂_Y)                           K̂ = K̃ (K̃ + ε m I)⁻¹, K̃ = HKH   (arXiv 1908.01580, eq. 5)

A kernel of a batch is an (m, m) matrix. The Gaussian one is exp(−‖u − v‖² / (2σ²d)), d the number of features, so that
one σ serves layers of any width. Everything here is differentiable; `hsic_objective` has the gradients written out.
Edge cases: constant features give a centred kernel of zeros and so a dependence of 0; duplicate rows are harmless,
since ε m keeps K̃ + ε m I positive; fewer than two samples, or values that are not finite, raise KernelError.
"""

import torch
from torch import Tensor

SIGMA = 5.0
EPSILON = 1e-5
"""The authors' program's defaults."""


class KernelError(ValueError):
    """A batch of which no kernel, or no dependence, can be computed; the text says why."""


def squared_distances(x: Tensor) -> Tensor:
    """‖x_i − x_j‖² for the rows of x, (batch, *shape) → (batch, batch), by one matrix product; 0 on the diagonal."""
    # Centred first: distances stay, and less is lost where the rows lie far from 0 and near each other.
    c = x.flatten(1)
    c = c - c.mean(0)
    n = c.square().sum(1)
    d = torch.addmm(n.unsqueeze(1), c, c.t(), alpha=-2).add(n).clamp(min=0)
    return d.masked_fill(torch.eye(len(d), dtype=torch.bool, device=d.device), 0)


def gaussian_kernel(x: Tensor, sigma: float = SIGMA) -> Tensor:
    """exp(−‖x_i − x_j‖² / (2σ²d)), (batch, *shape) → (batch, batch); d features a sample."""
    return torch.exp(squared_distances(x) * (-1 / (2 * sigma**2 * x[0].numel())))


def linear_kernel(x: Tensor) -> Tensor:
    """x_i · x_j, (batch, *shape) → (batch, batch)."""
    flat = x.flatten(1)
    return flat @ flat.t()


def cosine_kernel(x: Tensor) -> Tensor:
    """Cosine of the angle between x_i and x_j, (batch, *shape) → (batch, batch); 0 where a row is all zeros."""
    flat = x.flatten(1)
    norms = flat.norm(dim=1, keepdim=True)
    unit = flat / torch.where(norms > 0, norms, torch.ones_like(norms))
    return unit @ unit.t()


def group_deviations(z: Tensor, groups: int, *, power: float = 0.5, smoothing: float = 1.0) -> Tensor:
    """How active each of `groups` groups of units is, against the mean of them all: (batch, *shape) → (batch, groups).

    v_g = ((‖z_g − mean‖² + δ) / n)^p, less the mean of v over the groups; n units a group, in order; δ `smoothing`,
    p `power`. This is what pHSIC's kernels see of a layer (arXiv 2006.07123, section 4.2, centred as its authors'
    program does). Raises KernelError unless the units divide into groups of two and more.
    """
    flat = z.flatten(1)
    check_groups(flat.shape[1], groups)
    grouped = flat.view(len(flat), groups, -1)
    centred = grouped - grouped.mean(2, keepdim=True)
    deviations = ((centred.square().sum(2) + smoothing) / grouped.shape[2]) ** power
    return deviations - deviations.mean(1, keepdim=True)


def check_groups(units: int, groups: int) -> None:
    """Raises KernelError unless `units` divide into `groups` groups of at least two."""
    if units % groups or units // groups < 2:
        raise KernelError(f"{units} units do not divide into {groups} groups of two or more.")


def center(kernel: Tensor) -> Tensor:
    """K̃ = HKH: rows and columns of mean 0."""
    means = kernel.mean(0)
    return kernel - means - means.unsqueeze(1) + means.mean()


def normalized(kernel: Tensor, epsilon: float = EPSILON) -> Tensor:
    """K̂ = K̃ (K̃ + ε m I)⁻¹ = I − ε m (K̃ + ε m I)⁻¹, its eigenvalues in [0, 1). Raises KernelError."""
    m = len(kernel)
    eye = torch.eye(m, dtype=kernel.dtype, device=kernel.device)
    lower, failed = torch.linalg.cholesky_ex(center(kernel) + epsilon * m * eye)
    if int(failed):
        raise KernelError("The kernel is not positive: a value is not finite, or epsilon is too small for the dtype.")
    return eye - epsilon * m * torch.cholesky_inverse(lower)


def normalized_hsic(
    x: Tensor,
    y: Tensor,
    *,
    sigma_x: float | None = SIGMA,
    sigma_y: float | None = SIGMA,
    epsilon: float = EPSILON,
) -> Tensor:
    """nHSIC(X, Y) = tr(K̂_X K̂_Y) of eq. 5: how much two representations of one batch depend on each other.

    x, y: (batch, *shape), the same samples in the same order, in floating point (labels one-hot). σ is the width of
    each Gaussian kernel in units of the root mean square distance per feature; None: a linear kernel instead. Returns a
    scalar in [0, batch − 1], differentiable by both; 0 where one side is constant. It does not change when samples are
    permuted together, nor when one side is shifted or rotated. For labels of C classes it is at most C − 1.

    Raises KernelError: other than the same two and more rows on both sides, values that are not finite.
    """
    if len(x) != len(y) or len(x) < 2:
        raise KernelError(f"Dependence needs two samples or more, the same of x and y; got {len(x)} and {len(y)}.")
    hats = []
    for values, sigma in ((x, sigma_x), (y, sigma_y)):
        if not values.is_floating_point():
            raise KernelError(f"Values must be floating point (labels one-hot), not {values.dtype}.")
        kernel = linear_kernel(values) if sigma is None else gaussian_kernel(values, sigma)
        if not bool(torch.isfinite(kernel).all()):
            raise KernelError("A value is not finite, or too large for its dtype.")
        hats.append(normalized(kernel, epsilon))
    return (hats[0] * hats[1]).sum()


def hsic(kernel_x: Tensor, kernel_y: Tensor) -> Tensor:
    """HSIC = tr(K_X H K_Y H) / (m − 1)² of two kernels, the biased estimate. Raises KernelError under two samples."""
    m = len(kernel_x)
    if m < 2:
        raise KernelError(f"Dependence needs two samples or more; got {m}.")
    return (center(kernel_x) * kernel_y).sum() / (m - 1) ** 2


def phsic(kernel_x: Tensor, kernel_y: Tensor) -> Tensor:
    """Plausible HSIC (arXiv 2006.07123, eq. 7): mean(K_X K_Y) − mean(K_X) mean(K_Y), element by element.

    It centres by one number where HSIC centres by rows and columns, so a layer needs no more than pairs of samples.
    """
    if len(kernel_x) < 2:
        raise KernelError(f"Dependence needs two samples or more; got {len(kernel_x)}.")
    return (kernel_x * kernel_y).mean() - kernel_x.mean() * kernel_y.mean()
