"""What can be wrong with a broker: it is not there now, or it will never do what is asked."""

from __future__ import annotations

from pika import exceptions

from esb.errors import ConfigError, Finding


class BrokerError(Exception):
    """The broker did not do it. The text has no secret in it."""


class BrokerDown(BrokerError):
    """It cannot be reached or went away: tried again by itself."""


class BrokerMisses(BrokerDown):
    """What was named is not there: nobody declared it yet, or it was deleted."""


class BrokerRefused(BrokerError):
    """It is there and says no, and will until somebody changes something; ``hint`` says what."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint

    def finding(self) -> ConfigError:
        """The same as an error of configuration."""
        return ConfigError([Finding("ESB_BROKER", 0, 0, f"the broker {self}", self.hint)])


_RIGHTS = r"give its user these: rabbitmqctl set_permissions -p VHOST USER '^esb\.' '^esb\.' '^esb\.' (of your prefix)"
_OTHERS = (
    "somebody else's, or of another release: give the bus a prefix of its own with ESB_BROKER_PREFIX, or delete the "
    "queue: what was in it is in the store and is published again"
)
_CONNECTING = {
    exceptions.ProbableAuthenticationError: (
        "does not accept the user or the password",
        "put the right ones into ESB_BROKER; guest may log in from the broker's own machine only",
    ),
    exceptions.ProbableAccessDeniedError: (
        "does not let this user into the virtual host, or has no such host",
        "rabbitmqctl list_vhosts, and rabbitmqctl set_permissions -p VHOST USER ...; '/' is written %2F in ESB_BROKER",
    ),
    exceptions.IncompatibleProtocolError: (
        "does not speak AMQP 0-9-1 there",
        "ESB_BROKER needs the port of AMQP, 5672 or 5671 with amqps://, not that of the management page",
    ),
}
_CHANNEL = {403: ("gives no right", _RIGHTS), 406: ("has another queue or exchange of that name", _OTHERS)}


def of(error: BaseException) -> BrokerError:
    """What a client library's error means to us."""
    if isinstance(error, BrokerError):
        return error
    for kind, (reason, hint) in _CONNECTING.items():
        if isinstance(error, kind):
            return BrokerRefused(reason, hint)
    if isinstance(error, exceptions.ChannelClosedByBroker) and error.reply_code in _CHANNEL:
        reason, hint = _CHANNEL[error.reply_code]
        return BrokerRefused(f"{reason}: {error.reply_text}", hint)
    if isinstance(error, exceptions.ChannelClosedByBroker) and error.reply_code == 404:
        return BrokerMisses(error.reply_text)
    return BrokerDown(_short(error))


def _short(error: BaseException) -> str:
    """The innermost reason: the library wraps a refused connection three times."""
    if isinstance(error, exceptions.ConnectionClosed | exceptions.ChannelClosed):
        return f"{error.reply_code} {error.reply_text}"
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args]
    for one in reversed(inner):
        if isinstance(one, BaseException):
            return _short(one)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
