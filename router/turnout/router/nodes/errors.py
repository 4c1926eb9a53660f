"""What can go wrong with a RabbitMQ or a Redis that Turnout finds or starts."""

from turnout.shared.errors import TurnoutError


class NodeError(TurnoutError):
    """RabbitMQ or Redis cannot be had, or does not answer; the text says what to do."""
