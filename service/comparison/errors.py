"""What the comparison says when it is given something it cannot use: the field, what came, what is allowed."""


class ComparisonError(ValueError):
    """A value that the comparison cannot use. `field`, `got` and `allowed` are for the caller, the message for
    people.
    """

    def __init__(self, field: str, got: object, allowed: str) -> None:
        self.field, self.got, self.allowed = field, got, allowed
        shown = repr(got)
        super().__init__(f"{field}: got {shown if len(shown) <= 120 else shown[:117] + '...'}; allowed: {allowed}.")
