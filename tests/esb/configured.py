"""A copy of the demo hospital's configuration that a test may break."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from esb.clock import SystemClock
from esb.config.settings import Settings
from esb.errors import ConfigError
from esb.lint import Plan, load
from esb.observe import Metrics

ROOT = Path(__file__).resolve().parents[2]


class Configured:
    """The copy in ``folder``; ``edit`` replaces text, ``findings`` lints and gives what was found, paths shortened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("schemas", "mappings"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "routes.yaml", folder)

    @property
    def settings(self) -> Settings:
        folder = self.folder
        return Settings(
            routes=folder / "routes.yaml",
            schemas=folder / "schemas",
            mappings=folder / "mappings",
            secrets=ROOT / "sandbox" / "secrets",
        )

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text("utf-8")
        assert old in text, f"{file} does not hold {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def forget_callbacks(self) -> None:
        """Take out of the routes what systems tell us, and the endpoints that listen for it."""
        path = self.folder / "routes.yaml"
        text = re.sub(r"\ncallbacks:\n(?:[ #].*\n|\n)*", "\n", path.read_text("utf-8"))
        listening = r"(?m)^  \w+:.*\n(?:    .*\n)*?    .*listen: .*\n(?:    .*\n)*"
        path.write_text(re.sub(listening, "", text), encoding="utf-8")

    def load(self) -> Plan:
        return load(self.settings, {}, SystemClock(), Metrics())

    def findings(self) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load()
        return [str(finding).replace(f"{self.folder}/", "") for finding in caught.value.findings]
