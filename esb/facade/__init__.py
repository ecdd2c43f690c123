"""The HTTP facade: an ASGI application without a handler per operation, and how it is served."""

from esb.facade.app import Facade
from esb.facade.problems import CATALOGUE
from esb.facade.request import Limits
from esb.facade.server import server_config

__all__ = ["CATALOGUE", "Facade", "Limits", "server_config"]
