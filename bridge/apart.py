"""Work whose parts must not stop each other."""

from collections.abc import Awaitable, Callable, Iterable


async def one_by_one(work: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Give each its turn, in order; what the first to fail raised is raised when all had theirs."""
    failures = list[Exception]()
    for each in work:
        try:
            await each()
        except Exception as failure:  # whoever called tells it
            failures.append(failure)
    if failures:
        raise failures[0]
