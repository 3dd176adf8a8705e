"""Health of signals and updates per layer, the same for every algorithm; looking never changes training.

    looking.py     runs the network with nothing that moves: no dropout, no statistics, no generator
    layers.py      what is measured of each layer at a diagnosed step: signal, update, dead and saturated units
    angle.py       each layer's direction against backprop's, and against what a random signal would score
    dependence.py  how much each layer depends on input and label, by normalised HSIC
    verdicts.py    the numbers in words: vanishing, exploding, dead, saturated, healthy
    diagnosis.py   one run's diagnosis: before and after a step, its events, its state, its summary
    table.py       rows as a table for people

A row is a JSON-ready dict, one a layer, bottom to top; blank values are None:

    layer              the layer's name
    signal_norm        root mean square over the batch of the norm of a sample's teaching signal
    signal_through_time   recurrent: that norm at the first time step of the chunk over the one at the last
    update_ratio       norm of the step's change of the layer's weights over the norm of the weights
    dead_share         share of units (channels of a convolution) that output 0 on the whole batch; relu, gelu, step
    saturated_share    share of activations beyond 0.95 of the range of tanh or sigmoid
    activation_mean, activation_std   over batch and units
    angle_cosine       between the step's direction and backprop's on the same batch; None for backprop itself
    angle_null         the root mean square of the cosine that a random teaching signal scores there
    nhsic_input, nhsic_label   how much the layer depends on input and label (dependence.py); classification only
    details            the algorithm's own quantities of this layer, by name
"""

from trainers.diagnostics.diagnosis import Diagnosis
from trainers.diagnostics.table import format_table
from trainers.diagnostics.verdicts import Verdict, verdicts

__all__ = ["Diagnosis", "Verdict", "format_table", "verdicts"]
