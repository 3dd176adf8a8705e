"""Lists of layers and steps as people read them."""

from collections.abc import Iterable, Sequence


def listed(names: Iterable[str], *, joined: str = "and") -> str:
    """ "a, b and c"."""
    each = list(names)
    if len(each) < 2:
        return "".join(each)
    return f"{', '.join(each[:-1])} {joined} {each[-1]}"


def layers_text(names: Iterable[str], order: Sequence[str]) -> str:
    """Layers by their place in the network; runs of three and more as "layer1 to layer4"."""
    places = sorted(order.index(name) for name in names)
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    words: list[str] = []
    for run in runs:
        words += [f"{order[run[0]]} to {order[run[-1]]}"] if len(run) > 2 else [order[place] for place in run]
    return listed(words)
