"""Learning algorithms: one paper, one file, in its notation. `base` holds the contract that all of them keep."""
