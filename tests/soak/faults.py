"""What a long run says when something that must hold did not."""


class SoakFault(AssertionError):
    """The sentence says in which scenario."""
