"""What can keep the local stack from starting, as one sentence for the person at the terminal."""


class StackError(Exception):
    """The stack cannot run as asked; the message says why and what to do. `manage.py up` exits with 2."""
