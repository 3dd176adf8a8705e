"""The HSIC objective of one layer and its gradient by the activation, written out: no autograd, one Cholesky a layer.

    A = K̃_Z + ε m I,   V = A⁻¹,   K̂_Z = I − ε m V
    L = nHSIC(Z, X) − β nHSIC(Z, Y) = tr(K̂_Z M),   M = K̂_X − β K̂_Y                                       (eq. 6)
    ∂L/∂K̃_Z = ε m V M V                      centred already: V1 = 1/(ε m) and M1 = 0
    ∂L/∂Z   = −2/(σ²d) (diag(W1) Z − W Z),   W = ∂L/∂K ⊙ K             Gaussian kernel

What all layers share is made once a batch (`References`): K̂_X, and K̂_Y = F Fᵀ. Labels of C classes have a kernel of
two values, so F has C columns and costs a C × C system. With random features φ (Rahimi & Recht 2007),
K ≈ Φ Φᵀ, everything above becomes D × D.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.algorithms.hsic_workspace import Workspace
from trainers.algorithms.kernels import gaussian_kernel
from trainers.products import product


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one branch. `sigma` is the layers' own; the references' are in them."""

    criterion: str  # normalized | phsic
    kernel: str  # gaussian | cosine
    sigma: float
    label_weight: float  # β, or pHSIC's γ
    epsilon: float
    input_term: bool
    groups: int | None
    grouping_power: float
    grouping_smoothing: float


@dataclass(frozen=True, slots=True)
class References:
    """What the layers' objectives are held against; the same for all layers of a branch.

    label: (batch, r), F of K̂_Y = F Fᵀ. For pHSIC: (batch, classes), one-hot; `label_scale` then turns it into K_Y up to
    a constant. input: K̂_X, (batch, batch); with random features (batch, D), F of K̂_X = F Fᵀ; None without input term.
    gram: X̃X̃ᵀ of the centred inputs, (batch, batch), where K̂_X was made of it.
    """

    label: Tensor
    input: Tensor | None
    label_scale: float = 1.0
    gram: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LayerObjective:
    """All tensors on the device; `gradient` is ∂L/∂Z, of z's shape."""

    value: Tensor
    input_dependence: Tensor | None
    label_dependence: Tensor
    gradient: Tensor


def label_contrast(kernel: str, sigma: float, classes: int) -> float:
    """k(same class) − k(other class) of one-hot labels: all of a label kernel that centring leaves."""
    if kernel == "gaussian":
        return -math.expm1(-1 / (sigma**2 * classes))
    return 1.0 if kernel == "linear" or classes < 2 else 1 + 1 / (classes - 1)  # cosine: of centred labels


def label_factor(y: Tensor, contrast: float, epsilon: float) -> tuple[Tensor, Tensor]:
    """F with K̂_Y = F Fᵀ, from one-hot y, (batch, C) → (batch, C), and whether the Cholesky failed.

    K̃_Y = contrast · ỸỸᵀ with Ỹ = HY, so K̂_Y = Ỹ (ỸᵀỸ + ε m / contrast I)⁻¹ Ỹᵀ: exact. One class only: F = 0.
    """
    return feature_factor(y - y.mean(0), epsilon / contrast)


def feature_factor(features: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """F with Φ̃ (Φ̃ᵀΦ̃ + ε m I)⁻¹ Φ̃ᵀ = F Fᵀ, from centred features, (batch, D) → (batch, D), and the failure flag."""
    lower, failed = _cholesky(features.t() @ features, epsilon * len(features))
    return torch.linalg.solve_triangular(lower, features.t(), upper=False).t(), failed


def normalized_input(
    x: Tensor, sigma: float, epsilon: float, workspace: Workspace | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """K̂_X, (batch, batch), of a Gaussian kernel; whether the Cholesky failed; and X̃X̃ᵀ of the centred inputs."""
    workspace = workspace or Workspace(keep=False)
    m = len(x)
    kernel, _, gram = _gaussian(x, sigma, workspace, "X̃X̃ᵀ")
    inverse, failed = _inverse_(workspace.room("K̂_X", (m, m), x).copy_(_center_(kernel)), epsilon * m)
    inverse.mul_(-epsilon * m).diagonal().add_(1)
    return inverse, failed, gram


# -- exact kernels ----------------------------------------------------------------------------------------------------


def layer_objective(
    z: Tensor, references: References, settings: Settings, workspace: Workspace | None = None
) -> LayerObjective:
    """Objective of one layer's activation z, (batch, *shape), batch ≥ 2. NaN where a kernel is not finite.

    The gradient lies in `workspace` and holds until the next call with it.
    """
    workspace = workspace or Workspace(keep=False)
    flat = z.flatten(1)
    seen, through_groups = _grouped(flat, settings) if settings.groups else (flat, None)
    if settings.kernel == "gaussian":
        kernel, centred, _ = _gaussian(seen, settings.sigma, workspace)
    else:
        norms = seen.norm(dim=1, keepdim=True)
        norms = torch.where(norms > 0, norms, torch.ones_like(norms))
        unit = seen / norms
        kernel = product(unit, unit)
    if settings.criterion == "normalized":
        value, on_input, on_label, by_kernel = _normalized(kernel, references, settings, workspace)
    else:
        value, on_input, on_label, by_kernel = _plausible(kernel, references, settings)
    if settings.kernel == "gaussian":
        weights, scale = by_kernel.mul_(kernel), -2 / (settings.sigma**2 * seen.shape[1])
        spread = product(weights, centred.t(), out=workspace.room("WZ", tuple(seen.shape), seen))
        gradient = centred.mul_(weights.sum(1, keepdim=True).mul_(scale)).sub_(spread, alpha=scale)
    else:
        by_unit = 2 * product(by_kernel, unit.t())
        gradient = (by_unit - unit * (unit * by_unit).sum(1, keepdim=True)) / norms
    if through_groups is not None:
        gradient = gradient - gradient.mean(1, keepdim=True)  # of v, from that of v less its mean
        gradient = (gradient.unsqueeze(2) * through_groups).flatten(1)
    return LayerObjective(value, on_input, on_label, gradient.view_as(z))


def _normalized(
    kernel: Tensor, references: References, settings: Settings, workspace: Workspace
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """L, nHSIC(Z, X), nHSIC(Z, Y), ∂L/∂K."""
    m = len(kernel)
    shift = settings.epsilon * m  # ε m
    means = kernel.mean(0)
    shifted = torch.sub(kernel, means, out=workspace.room("A", (m, m), kernel))
    inverse, failed = _inverse_(shifted.sub_((means - means.mean()).unsqueeze(1)), shift)
    by_label = references.label.t()
    pulled = by_label @ inverse  # Fᵀ V: a product with few rows is three times as fast as one with few columns
    on_label = by_label.square().sum() - shift * (pulled * by_label).sum()
    value = -settings.label_weight * on_label
    by_kernel, on_input = workspace.room("V K̂_X V", (m, m), kernel), None
    if references.input is not None:
        on_input = references.input.diagonal().sum() - shift * torch.dot(inverse.view(-1), references.input.view(-1))
        value = value + on_input
        half = product(inverse, references.input, out=workspace.room("V K̂_X", (m, m), kernel))  # both are symmetric
        by_kernel = product(half, inverse, out=by_kernel)
    weight = -settings.label_weight * shift
    by_kernel.addmm_(pulled.t() * weight, pulled, beta=float(on_input is not None) * shift)
    # A factorisation that failed leaves finite rubbish: it must end the run instead.
    return torch.where(failed > 0, torch.nan, value), on_input, on_label, by_kernel


def _plausible(
    kernel: Tensor, references: References, settings: Settings
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """pHSIC(Z, Z) − γ pHSIC(Z, Y) and its gradient; the second value is pHSIC(Z, Z)."""
    cells = kernel.numel()
    label = (references.label @ references.label.t()).mul_(references.label_scale)
    label.sub_(label.mean())
    on_label = torch.dot(label.view(-1), kernel.reshape(-1)) / cells
    value = -settings.label_weight * on_label
    by_kernel = label.mul_(-settings.label_weight / cells)
    itself = None
    if settings.input_term:
        centred = kernel - kernel.mean()
        itself = torch.dot(centred.view(-1), kernel.reshape(-1)) / cells
        value = value + itself
        by_kernel.add_(centred, alpha=2 / cells)
    return value, itself, on_label, by_kernel


def _gaussian(x: Tensor, sigma: float, workspace: Workspace, name: str = "Z̃Z̃ᵀ") -> tuple[Tensor, Tensor, Tensor]:
    """The kernel, the centred rows that it was made of, and their products, which `name` keeps apart."""
    flat = x.flatten(1)
    m, features = flat.shape
    centred = torch.sub(flat, flat.mean(0), out=workspace.room("Z̃", (m, features), flat))
    scale = -1 / (2 * sigma**2 * features)
    n = torch.linalg.vector_norm(centred, dim=1).square_().mul_(scale)
    products = product(centred, centred, out=workspace.room(name, (m, m), flat))
    kernel = torch.add(n.unsqueeze(1), products, alpha=-2 * scale, out=workspace.room("K", (m, m), flat))
    kernel.add_(n).clamp_(max=0).fill_diagonal_(0)
    return kernel.exp_(), centred, products


def _grouped(flat: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Group deviations v less their mean, (batch, groups), and ∂v_g/∂z_i, (batch, groups, units of a group)."""
    grouped = flat.view(len(flat), settings.groups or 1, -1)
    units, power = grouped.shape[2], settings.grouping_power
    centred = grouped - grouped.mean(2, keepdim=True)
    variance = (centred.square().sum(2) + settings.grouping_smoothing) / units
    # A silent group without smoothing has no slope: its units are all at their mean.
    slope = power * torch.where(variance > 0, variance, torch.ones_like(variance)) ** (power - 1)
    deviations = variance**power
    return deviations.sub_(deviations.mean(1, keepdim=True)), centred.mul_((slope * (2 / units)).unsqueeze(2))


def _center_(kernel: Tensor) -> Tensor:
    """HKH in place."""
    means = kernel.mean(0)
    return kernel.sub_(means).sub_((means - means.mean()).unsqueeze(1))


def _inverse_(matrix: Tensor, shift: float) -> tuple[Tensor, Tensor]:
    """(matrix + shift · I)⁻¹ in the place of the symmetric matrix, and the failure flag."""
    matrix.diagonal().add_(shift)
    # LAPACK goes by columns: handed the transpose, which is the same matrix, torch has nothing to copy.
    by_columns = matrix.mT
    failed = torch.empty((), dtype=torch.int32, device=matrix.device)
    torch.linalg.cholesky_ex(by_columns, out=(by_columns, failed))
    torch.cholesky_inverse(by_columns, out=by_columns)
    return matrix, failed


def _cholesky(matrix: Tensor, shift: float) -> tuple[Tensor, Tensor]:
    """Of matrix + shift · I; no look at the device: the flag stays there."""
    matrix.diagonal().add_(shift)
    lower, failed = torch.linalg.cholesky_ex(matrix)
    return lower, failed


# -- random features --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RandomFeatures:
    """φ(u) = √(2/D) [cos Ωᵀu, sin Ωᵀu], whose products approximate a Gaussian kernel; Ω is (d, D/2)."""

    frequencies: Tensor

    @classmethod
    def draw(cls, features: int, count: int, sigma: float, generator: torch.Generator) -> "RandomFeatures":
        """`count` of them (even) for inputs of `features` values: Ω ~ N(0, 1/(σ²d))."""
        drawn = torch.empty(features, count // 2).normal_(0, 1 / (sigma * features**0.5), generator=generator)
        return cls(drawn)

    def to(self, like: Tensor) -> "RandomFeatures":
        return RandomFeatures(self.frequencies.to(like.device, like.dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """(batch, *shape) → (batch, D), not centred."""
        angles = product(x.flatten(1), self.frequencies.t())
        return torch.cat([angles.cos(), angles.sin()], dim=1).mul_(self.frequencies.shape[1] ** -0.5)

    def error(self, x: Tensor, sigma: float) -> Tensor:
        """‖K − ΦΦᵀ‖ / ‖K‖, Frobenius, against the exact kernel of x."""
        exact, features = gaussian_kernel(x, sigma), self(x)
        return (exact - features @ features.t()).norm() / exact.norm()


def layer_objective_by_features(
    z: Tensor, features: RandomFeatures, references: References, settings: Settings
) -> LayerObjective:
    """As `layer_objective`, with K ≈ ΦΦᵀ in place of K: m·D² in place of m³.

    L = tr(Φ̃ V Φ̃ᵀ M), V = (Φ̃ᵀΦ̃ + ε m I)⁻¹;   ∂L/∂Φ̃ = 2 (I − K̂_Z) M Φ̃ V, with M = F_X F_Xᵀ − β F_Y F_Yᵀ.
    """
    phi = features(z)
    centred = phi - phi.mean(0)
    inverse, failed = _inverse_(product(centred.t(), centred.t()), settings.epsilon * len(centred))
    by_features = torch.zeros_like(centred)
    value = torch.zeros((), dtype=centred.dtype, device=centred.device)
    dependences: list[Tensor] = []
    spread = centred @ inverse  # Φ̃ V
    for factor, weight in ((references.input, 1.0), (references.label, -settings.label_weight)):
        if factor is None:
            continue
        shared = centred.t() @ factor  # Φ̃ᵀ F
        pulled = inverse @ shared  # V Φ̃ᵀ F
        dependences.append((shared * pulled).sum())
        value = value + weight * dependences[-1]
        by_features.addmm_(factor - spread @ shared, pulled.t(), alpha=2 * weight)
    half = phi.shape[1] // 2
    by_angle = phi[:, :half] * by_features[:, half:] - phi[:, half:] * by_features[:, :half]
    gradient = product(by_angle, features.frequencies)
    return LayerObjective(
        torch.where(failed > 0, torch.nan, value),
        dependences[0] if references.input is not None else None,
        dependences[-1],
        gradient.view_as(z),
    )


# -- memory -----------------------------------------------------------------------------------------------------------


def step_bytes(
    batch: int, widths: list[int], inputs: int, weights: int, *, features: int | None = None, bytes_each: int = 4
) -> int:
    """Upper estimate of what a step holds beyond weights: their gradients, activations, and the kernels of one layer.

    Exact kernels: ten matrices of batch² (K̂_X, X̃X̃ᵀ, Z̃Z̃ᵀ, K, V, and what they are made by). With D random
    features: eight of batch × D and five of D².
    """
    activations = batch * (inputs * 2 + 7 * sum(widths) + 3 * max(widths))
    kernels = 10 * batch**2 if features is None else 8 * batch * features + 5 * features**2
    return (weights + activations + kernels) * bytes_each
