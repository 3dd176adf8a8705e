"""Layers that train in processes of their own: a chain of processes, messages up and answers down between neighbours.

    group.py     the chain: who owns which layers, messages between neighbours, gathering what each owns
    run.py       the loop of one process: all run the same loop over the same batches; rank 0 tells and saves
    launch.py    what `fit` calls for `training.processes` above 1: starts the others, ends cleanly when one is lost
    __main__.py  what another process runs

Any algorithm whose layers need their neighbours' messages alone can use it: it brings a part with the methods of
`run.LayerParallelPart`.
"""
