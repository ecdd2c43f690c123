"""Where the broker is, from ``ESB_BROKER``."""

from __future__ import annotations

from typing import NamedTuple

import pika

from esb.errors import ConfigError, Finding


class Broker(NamedTuple):
    """Its address and what is waited for.

    ``heartbeat_s`` is how soon, about, a connection that is silent is given up, unless the address says it
    (``?heartbeat=5``); ``confirm_s`` how long a confirm may take; ``window`` how many may be unconfirmed at once.
    """

    url: str
    prefix: str = "esb"
    heartbeat_s: int = 20
    confirm_s: float = 15.0
    window: int = 4000

    def parameters(self) -> pika.connection.Parameters:
        """For the client library; raises ``ConfigError`` for what is no address."""
        try:
            if not self.url.startswith(("amqp://", "amqps://")):
                raise ValueError("no amqp:// or amqps://")
            found = pika.URLParameters(self.url)
        except Exception as error:
            reason = f"is no address of a broker ({type(error).__name__})"
            hint = "amqp://USER:PASSWORD@HOST:5672/VHOST; the virtual host / is written %2F"
            raise ConfigError([Finding("ESB_BROKER", 0, 0, reason, hint)]) from None
        if "heartbeat=" not in self.url:
            found.heartbeat = self.heartbeat_s
        found.connection_attempts, found.socket_timeout, found.stack_timeout = 1, 5.0, 8.0
        found.client_properties = {"connection_name": self.prefix}
        return found
