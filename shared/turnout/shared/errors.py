"""The errors of Turnout, by who has to act.

TurnoutError
├── InvalidName         the caller: a slug, an address
├── InvalidEnvelope     nobody at once: the message is dead-lettered with its bytes
├── InvalidRecord       the operator: an entry of the cache cannot be read
├── SettingsError       the operator: a setting is missing or wrong
├── BrokerError         the operator: RabbitMQ cannot be reached or refuses
│   ├── LinkClosed      the connection or channel is gone
│   └── ChannelRefused  the broker closed the channel and said why
└── FlowError           the author of a flow
"""


class TurnoutError(Exception):
    """Something is wrong in a way that Turnout knows."""


class InvalidName(TurnoutError):
    """A name is not legal."""


class InvalidEnvelope(TurnoutError):
    """The bytes are not an envelope that this version can read."""


class InvalidRecord(TurnoutError):
    """The bytes are not an entry of the cache that this version can read."""


class SettingsError(TurnoutError):
    """A setting is missing or wrong."""


class AddressTaken(TurnoutError):
    """A service cannot listen on its address."""


class BrokerError(TurnoutError):
    """RabbitMQ cannot be reached, or refuses what was asked."""


class LinkClosed(BrokerError):
    """The connection or channel to RabbitMQ is closed."""


class ChannelRefused(BrokerError):
    """RabbitMQ closed the channel because of what was asked on it.

    Attributes:
        code: the AMQP reply code, for example 404 (not found) or 406 (precondition failed).
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class FlowError(TurnoutError):
    """A flow is declared, loaded or used in a way that cannot work."""
