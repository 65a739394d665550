"""The one exception meant for the user, and how other exceptions become it."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Wrong use or unusable input. The message is one line: what, where, what to do about it."""


class Interrupted(Exception):
    """Stopped by Ctrl-C or SIGTERM, after the state was saved to the file that this names."""


@contextmanager
def as_user_error(*kinds: type[Exception], prefix: str = "") -> Iterator[None]:
    """Turn exceptions of these kinds into a UserError of one line.

    For calls into code that raises ValueError and the like because it knows no user.
    """
    try:
        yield
    except kinds as error:
        raise UserError(prefix + " ".join(str(error).split())[:300]) from None
