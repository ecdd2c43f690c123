"""Settings of one bus process, from the environment (``ESB_...``) or the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the files are, where the bus listens and what it may use.

    Paths are relative to the working directory. ``journal_days`` is how long exchanges are kept; ``body_limit`` is in
    bytes. ``broker`` is the address of a RabbitMQ that dispatches what is queued, empty for none; the names of its
    queues begin with ``broker_prefix``. ``watch`` is the time in seconds between two looks at the files, 0 for none:
    then only SIGHUP reloads them.
    ``lease`` is for how many seconds a process that shares its store may be silent before others take up its work.
    """

    model_config = SettingsConfigDict(env_prefix="ESB_", frozen=True, extra="ignore")

    routes: Path = Path("routes.yaml")
    schemas: Path = Path("schemas")
    mappings: Path = Path("mappings")
    secrets: Path = Path("secrets")
    store: str = "sqlite:///var/esb.db"
    broker: str = ""
    broker_prefix: str = Field("esb", pattern=r"^[A-Za-z0-9_-]{1,40}$")
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    body_limit: int = Field(256 * 1024, ge=1024)
    in_flight: int = Field(2000, ge=1)
    journal_days: int = Field(180, ge=1, le=36_500)
    lease: float = Field(15.0, ge=1, le=600)
    watch: float = Field(2.0, ge=0, le=3600)
    adapters: str = "adapters"
    envelopes: str = "envelopes"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
