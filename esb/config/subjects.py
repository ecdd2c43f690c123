"""The keys of the blind index, from the secrets of this bus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from esb import blind
from esb.blind import Blind
from esb.config.values import secret
from esb.errors import ConfigError, Finding


def load_blind(secrets: Path, environ: Mapping[str, str]) -> Blind | None:
    """None when there is no such secret: then nobody can search by patient. Raises ``ConfigError``."""
    try:
        found = secret(blind.SECRET, environ, secrets)
        return None if found is None else blind.parse(found.get_secret_value())
    except (OSError, UnicodeDecodeError):
        reason = "it cannot be read"
    except ValueError as error:
        reason = str(error)
    hint = "one key a line, the one in use first: k1 and at least 64 hexadecimal digits"
    raise ConfigError([Finding(str(secrets / blind.SECRET), 0, 0, reason, hint)])


def needed(found: Blind | None, secrets: Path) -> Blind:
    """Raises ``ConfigError`` when there are no keys."""
    if found is not None:
        return found
    hint = "docs/operations.md, Journal, says how to make one"
    raise ConfigError([Finding(str(secrets / blind.SECRET), 0, 0, "there is no key to search patients with", hint)])
