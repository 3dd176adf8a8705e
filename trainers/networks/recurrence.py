"""Recurrent cells along a chunk of T steps, the backward pass written out: as fast as the matrix products allow.

    x_t    input's share of the pre-activations, W i_t + b, all steps in one matrix product     (T, batch, blocks·H)
    U      recurrent weight                                                                      (blocks·H, H)
    h_t    activation, handed to the next step and to the layer above                            (batch, H)

    tanh   h_t = tanh(x_t + U h_{t-1})
    gru    r, z = σ(x_t + U h_{t-1});  n = tanh(x_t + r ⊙ U h_{t-1});  h_t = (1 − z) n + z h_{t-1}
    lstm   o, i, f = σ(x_t + U h_{t-1});  g = tanh(x_t + U h_{t-1});  c_t = f c_{t-1} + i g;  h_t = o tanh(c_t)

Autograd would record six to nine small operations a step and, in the backward pass, one product for dU a step. Here
what each step's derivative needs is computed for all steps at once, and dU is one product over the chunk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CellName = Literal["tanh", "gru", "lstm"]
State = tuple[Tensor, ...]

_sigmoid_backward, _tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


@dataclass(frozen=True, slots=True)
class Recurrence:
    """One kind of cell: its chunk forwards and backwards, and one step of it in plain operations."""

    blocks: int
    """H-wide blocks of W and U: candidate and gates."""
    states: int
    """Tensors carried on: h, and c for lstm."""
    forward: Callable[[Tensor, Tensor, State, list[Tensor] | None], tuple[State, State]]
    """(x, U, state, watched) → ((h_1 … h_T, further last states), what backward needs)"""
    backward: Callable[[Tensor, State, State], tuple[Tensor, Tensor, Tensor, State]]
    """(U, what forward kept, gradients of its results) → gradients of x, pre-activations, U, state"""
    affine: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(x_t, U, h_{t-1}) → pre-activations of one step, (batch, ·)"""
    activate: Callable[[Tensor, State], State]
    """(pre-activations, state before) → state after"""


class _Along(torch.autograd.Function):
    """A chunk as one operation. Watched pre-activations are leaves; their `.grad` is filled in by the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, recurrence: Recurrence, watched: list[Tensor] | None, x: Tensor, U: Tensor, *state: Tensor
    ) -> State:
        results, kept = recurrence.forward(x, U, state, watched)
        ctx.recurrence, ctx.watched = recurrence, watched
        ctx.save_for_backward(U, *kept)
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        U, *kept = ctx.saved_tensors
        d_x, d_a, d_U, d_state = ctx.recurrence.backward(U, tuple(kept), gradients)
        if ctx.watched is not None:
            for a, d in zip(ctx.watched, d_a.unbind(0), strict=True):
                a.grad = d
        return None, None, d_x, d_U, *d_state


def along(
    recurrence: Recurrence, x: Tensor, U: Tensor, state: State, watched: list[Tensor] | None = None
) -> tuple[Tensor, State]:
    """h_1 … h_T, (T, batch, H), and the state after the chunk. `watched`, an empty list, takes each step's
    pre-activations, (batch, ·); after `backward()` their `.grad` is the teaching signal."""
    # Gates are sums over time in the state: bfloat16 would lose them, so under autocast the recurrence is in float32.
    dtype = U.dtype
    with torch.autocast(x.device.type, enabled=False):
        results = _Along.apply(recurrence, watched, x.to(dtype), U, *(each.to(dtype) for each in state))
    for a in watched or ():
        a.requires_grad_(results[0].requires_grad)
    h = results[0]
    return h, (h[-1], *results[1:])


def _buffer_after(first: Tensor, steps: int) -> Tensor:
    """(steps + 1, *first.shape), the first entry filled."""
    buffer = first.new_empty(steps + 1, *first.shape)
    buffer[0] = first
    return buffer


def _weight_gradient(d_a: Tensor, h: Tensor) -> Tensor:
    """Σ_t d_a_tᵀ h_{t-1} as one product; h is h_0 … h_T."""
    return d_a.flatten(0, 1).t() @ h[:-1].flatten(0, 1)


# -- tanh -------------------------------------------------------------------------------------------------------------


def _tanh_along(x: Tensor, U: Tensor, state: State, watched: list[Tensor] | None) -> tuple[State, State]:
    h = _buffer_after(state[0], len(x))
    before, transposed = h[0], U.t()
    for x_t, h_t in zip(x.unbind(0), h[1:].unbind(0), strict=True):
        torch.addmm(x_t, before, transposed, out=h_t)
        if watched is not None:
            watched.append(h_t.clone())
        before = h_t.tanh_()
    return (h[1:],), (h,)


def _tanh_along_back(U: Tensor, kept: State, gradients: State) -> tuple[Tensor, Tensor, Tensor, State]:
    (h,), (d_h,) = kept, gradients
    d_a = torch.empty_like(d_h, memory_format=torch.contiguous_format)
    signal = d_h[-1]
    for t in range(len(d_h) - 1, -1, -1):
        _tanh_backward(signal, h[t + 1], grad_input=d_a[t])
        if t:
            signal = torch.addmm(d_h[t - 1], d_a[t], U)
    return d_a, d_a, _weight_gradient(d_a, h), (d_a[0] @ U,)


# -- gru --------------------------------------------------------------------------------------------------------------


def _gru_along(x: Tensor, U: Tensor, state: State, watched: list[Tensor] | None) -> tuple[State, State]:
    H = U.shape[1]
    h = _buffer_after(state[0], len(x))
    recurrent, gates = torch.empty_like(x), torch.empty_like(x)  # U h_{t-1}; r, z, n
    r, _, n = _blocks(gates, 3)
    z = gates[..., H : 2 * H]
    before, transposed = h[0], U.t()
    for x_rz, x_n, u, u_rz, u_n, rz, r_t, z_t, n_t, h_t in zip(
        x[..., : 2 * H].unbind(0),
        x[..., 2 * H :].unbind(0),
        recurrent.unbind(0),
        recurrent[..., : 2 * H].unbind(0),
        recurrent[..., 2 * H :].unbind(0),
        gates[..., : 2 * H].unbind(0),
        r.unbind(0),
        z.unbind(0),
        n.unbind(0),
        h[1:].unbind(0),
        strict=True,
    ):
        torch.mm(before, transposed, out=u)
        torch.add(x_rz, u_rz, out=rz)
        if watched is not None:
            watched.append(torch.cat([rz, x_n, u_n], dim=1))
        rz.sigmoid_()
        torch.addcmul(x_n, r_t, u_n, out=n_t).tanh_()
        before = torch.lerp(n_t, before, z_t, out=h_t)
    return (h[1:],), (h, recurrent[..., 2 * H :], gates)


def _gru_along_back(U: Tensor, kept: State, gradients: State) -> tuple[Tensor, Tensor, Tensor, State]:
    (h, u_n, gates), (d_h,) = kept, gradients
    r, z, n = _blocks(gates, 3)
    # Each pre-activation's derivative is d_h times a factor that is known before the way back begins.
    of_x_n = _tanh_backward(1 - z, n)
    factors = torch.empty_like(gates)
    of_r, of_z, of_u_n = _blocks(factors, 3)
    of_r.copy_(_sigmoid_backward(of_x_n * u_n, r))
    of_z.copy_(_sigmoid_backward(h[:-1] - n, z))
    torch.mul(of_x_n, r, out=of_u_n)
    d_u = torch.empty_like(gates)
    signals = torch.empty_like(n, memory_format=torch.contiguous_format)
    steps, batch, H = signals.shape
    by_block, factors_by_block = d_u.view(steps, batch, 3, H), factors.view(steps, batch, 3, H)
    signal = signals[-1].copy_(d_h[-1])
    for t in range(steps - 1, -1, -1):
        torch.mul(signal.unsqueeze(1), factors_by_block[t], out=by_block[t])
        below = d_h[t - 1] if t else torch.zeros_like(signal)
        following = torch.addmm(below, d_u[t], U, out=signals[t - 1] if t else torch.empty_like(signal))
        signal = following.addcmul_(signal, z[t])
    d_x_n = signals * of_x_n
    d_x = torch.cat([d_u[..., : 2 * H], d_x_n], dim=-1)
    return d_x, torch.cat([d_x, d_u[..., 2 * H :]], dim=-1), _weight_gradient(d_u, h), (signal,)


# -- lstm -------------------------------------------------------------------------------------------------------------


def _lstm_along(x: Tensor, U: Tensor, state: State, watched: list[Tensor] | None) -> tuple[State, State]:
    steps, H = len(x), U.shape[1]
    h, c = _buffer_after(state[0], steps), _buffer_after(state[1], steps)
    gates, tanh_c = torch.empty_like(x), torch.empty_like(c[1:])
    o, i, f, g = _blocks(gates, 4)
    h_before, c_before, transposed = h[0], c[0], U.t()
    for x_t, a, sigmoids, o_t, i_t, f_t, g_t, h_t, c_t, tanh_c_t in zip(
        x.unbind(0),
        gates.unbind(0),
        gates[..., : 3 * H].unbind(0),
        o.unbind(0),
        i.unbind(0),
        f.unbind(0),
        g.unbind(0),
        h[1:].unbind(0),
        c[1:].unbind(0),
        tanh_c.unbind(0),
        strict=True,
    ):
        torch.addmm(x_t, h_before, transposed, out=a)
        if watched is not None:
            watched.append(a.clone())
        sigmoids.sigmoid_()
        g_t.tanh_()
        c_before = torch.mul(f_t, c_before, out=c_t).addcmul_(i_t, g_t)
        h_before = torch.mul(o_t, torch.tanh(c_t, out=tanh_c_t), out=h_t)
    return (h[1:], c[-1].clone()), (h, c, gates, tanh_c)


def _lstm_along_back(U: Tensor, kept: State, gradients: State) -> tuple[Tensor, Tensor, Tensor, State]:
    (h, c, gates, tanh_c), (d_h, d_c_last) = kept, gradients
    steps, batch, H = tanh_c.shape
    o, i, f, g = _blocks(gates, 4)
    # The gates' derivatives are d_h (for o) or d_c (for i, f, g) times a factor known before the way back begins.
    factors, d_a = torch.empty_like(gates), torch.empty_like(gates)
    for into, signal, activation, derivative in zip(
        _blocks(factors, 4),
        (tanh_c, g, c[:-1], i),
        (o, i, f, g),
        (_sigmoid_backward,) * 3 + (_tanh_backward,),
        strict=True,
    ):
        derivative(signal, activation, grad_input=into)
    h_to_c = _tanh_backward(o, tanh_c)
    of_o, of_others = factors[..., :H], factors.view(steps, batch, 4, H)[:, :, 1:]
    d_o, d_others = d_a[..., :H], d_a.view(steps, batch, 4, H)[:, :, 1:]
    signal, d_c = d_h[-1], d_c_last.clone()
    for t in range(steps - 1, -1, -1):
        d_c.addcmul_(signal, h_to_c[t])
        torch.mul(signal, of_o[t], out=d_o[t])
        torch.mul(d_c.unsqueeze(1), of_others[t], out=d_others[t])
        d_c.mul_(f[t])
        if t:
            signal = torch.addmm(d_h[t - 1], d_a[t], U)
    return d_a, d_a, _weight_gradient(d_a, h), (d_a[0] @ U, d_c)


def _blocks(joined: Tensor, count: int) -> State:
    """The H-wide blocks of (T, batch, count·H), as views."""
    return joined.chunk(count, dim=-1)


# -- one step in plain operations: what an algorithm that addresses single time steps uses ----------------------------


def _joint_affine(x: Tensor, U: Tensor, h: Tensor) -> Tensor:
    return torch.addmm(x, h, U.t())


def _gru_affine(x: Tensor, U: Tensor, h: Tensor) -> Tensor:
    """(batch, 4 H): r, z, and the two parts of n, which r weighs against each other."""
    u, gates = h @ U.t(), 2 * U.shape[1]
    return torch.cat([x[:, :gates] + u[:, :gates], x[:, gates:], u[:, gates:]], dim=1)


def _gru_activate(a: Tensor, state: State) -> State:
    r, z, x_n, u_n = a.chunk(4, dim=1)
    n = torch.tanh(x_n + torch.sigmoid(r) * u_n)
    return (torch.lerp(n, state[0], torch.sigmoid(z)),)


def _lstm_activate(a: Tensor, state: State) -> State:
    o, i, f, g = a.chunk(4, dim=1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


RECURRENCES: dict[CellName, Recurrence] = {
    "tanh": Recurrence(1, 1, _tanh_along, _tanh_along_back, _joint_affine, lambda a, state: (torch.tanh(a),)),
    "gru": Recurrence(3, 1, _gru_along, _gru_along_back, _gru_affine, _gru_activate),
    "lstm": Recurrence(4, 2, _lstm_along, _lstm_along_back, _joint_affine, _lstm_activate),
}
