"""Why the registry refuses what was asked; the caller has to act on all of them.

RegistryError
├── NotFound     what was named does not exist
├── Conflict     it exists already
├── Stale        it has changed since it was looked at
├── WrongState   in its state that cannot be done
├── Repeated     the same request is under way, or its answer was lost
├── KeyReused    another request had the same Idempotency-Key
└── Invalid      a field has a value that cannot be
"""

from turnout.shared.errors import TurnoutError


class RegistryError(TurnoutError):
    """The registry refuses what was asked."""


class NotFound(RegistryError):
    """What was named does not exist."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"there is no {what} {name!r}")


class Conflict(RegistryError):
    """It exists already.

    Attributes:
        field: the one that has to be another; "": there is none.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Stale(RegistryError):
    """It is not what it was when it was looked at."""

    def __init__(self) -> None:
        super().__init__("this has changed since it was looked at: look again, then decide")


class WrongState(RegistryError):
    """It is in a state in which that cannot be done."""


class Repeated(RegistryError):
    """The same request came before."""

    def __init__(self) -> None:
        super().__init__(
            "a request with this Idempotency-Key is under way, or was done and then interrupted: "
            "look at what it has made"
        )


class KeyReused(RegistryError):
    """Another request came before with the same Idempotency-Key."""

    def __init__(self) -> None:
        super().__init__("another request had this Idempotency-Key: each needs one of its own")


class Invalid(RegistryError):
    """A field has a value that cannot be.

    Attributes:
        field: its path, for example "keys.0".
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
