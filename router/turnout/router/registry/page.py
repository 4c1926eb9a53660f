"""Pages: a part of a listing, which goes on where it ended whatever was added meanwhile."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, literal, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from turnout.router.registry.errors import Invalid

T = TypeVar("T")

#: Rows that are made into objects before others get their turn.
_PORTION = 500

Position = tuple[str, ...]
"""Where something stands in its listing: the values it is sorted by."""


class Page(list[T], Generic[T]):
    """A part of a listing.

    Attributes:
        next: the position of its last item, after which the listing goes on; None: it is complete.
    """

    def __init__(self, items: Iterable[T] = (), *, next_: Position | None = None) -> None:
        super().__init__(items)
        self.next = next_


@dataclass(frozen=True)
class Slice:
    """Which part of a listing."""

    limit: int | None = None
    """How many items at most; None: any number."""
    after: Position | None = None
    """The position of the item before; None: from the beginning."""

    async def read(
        self,
        connection: AsyncConnection,
        statement: Select[*tuple[Any, ...]],
        order: Sequence[InstrumentedAttribute[str]],
        make: Callable[..., T],
        *,
        newest_first: bool = False,
    ) -> Page[T]:
        """Run a statement for this part.

        Args:
            connection: of the transaction.
            statement: the whole listing, in no order.
            order: text columns that put it into one; together they are unique.
            make: called with each row's columns by name.
            newest_first: begin with the greatest.

        Raises:
            Invalid: the position is of another listing.
        """
        columns = [each.label(f"position_{index}") for index, each in enumerate(order)]
        statement = statement.add_columns(*columns).order_by(
            *(each.desc() if newest_first else each for each in order)
        )
        if self.after is not None:
            if len(self.after) != len(order):
                raise Invalid("cursor", "this is the next_cursor of another listing")
            here, there = tuple_(*order), tuple_(*map(literal, self.after))
            statement = statement.where(here < there if newest_first else here > there)
        if self.limit is not None:
            statement = statement.limit(self.limit + 1)  # one more tells whether it goes on
        items: list[T] = []
        positions: list[Position] = []
        async with connection.stream(statement) as result:
            # In portions: a hundred thousand of them do not hold up the event loop.
            async for portion in result.mappings().partitions(_PORTION):
                for found in portion:
                    row = dict(found)
                    positions.append(tuple(row.pop(each.name) for each in columns))
                    items.append(make(**row))
        if self.limit is None or len(items) <= self.limit:
            return Page(items)
        return Page(items[: self.limit], next_=positions[self.limit - 1])


#: All of it.
ALL = Slice()
