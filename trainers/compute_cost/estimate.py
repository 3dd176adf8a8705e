"""The price of a spec before it is queued: no data is loaded, nothing is trained."""

from typing import Any

from trainers.compute_cost.counting import batch_size, count, samples_per_pass
from trainers.resolve import resolve_parts
from trainers.spec import TrainingSpec


def estimate(spec: TrainingSpec | dict[str, Any]) -> dict[str, Any]:
    """What the spec would cost. Raises SpecError.

    steps, samples_per_pass and training_flops are None where the data set's size is known only from its files.
    """
    resolved = resolve_parts(spec)
    cost, samples = count(resolved), samples_per_pass(resolved)
    passes = sum(cost.passes.values())
    run_flops = sum(cost.phase_flops[phase] * number for phase, number in cost.passes.items())  # per sample
    steps = None
    if samples is not None:
        batch = batch_size(resolved)
        drops = getattr(resolved.dataset_options, "drop_last", False)
        steps = (samples // batch if drops else -(-samples // batch)) * passes
    return {
        "parameters": cost.parameters,
        "parameter_bytes": cost.parameter_bytes,
        "state_bytes": cost.state_bytes,
        "memory_bytes": cost.step_bytes,
        "memory_means": "tensors alive at once in a training step, without the data set and the process itself",
        "flops_per_sample": run_flops / resolved.spec.training.epochs,
        "forward_flops_per_sample": cost.forward_flops,
        "phase_flops_per_sample": cost.phase_flops,
        "backprop_closed_form": cost.backprop_closed_form,
        "counted_at_batch": cost.batch,
        "passes": passes,
        "samples_per_pass": samples,
        "steps": steps,
        "training_flops": None if samples is None else run_flops * samples,
    }
