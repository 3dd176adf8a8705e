"""What training costs: FLOPs, bytes, throughput, energy; measured for a run, estimated for a spec.

counting.py   FLOPs and bytes of a step, counted on a throw-away copy
estimate.py   the price of a spec, without loading its data
meter.py      follows one run: throughput, peak memory, energy
energy.py     what the device reports of energy
"""

from trainers.compute_cost.counting import StepCost, backprop_closed_form, count
from trainers.compute_cost.estimate import estimate
from trainers.compute_cost.meter import CostMeter

__all__ = ["CostMeter", "StepCost", "backprop_closed_form", "count", "estimate"]
