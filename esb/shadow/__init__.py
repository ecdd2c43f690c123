"""Shadows: live reads are asked of a second system or mapping too, and what it answers is only compared."""

from esb.shadow.report import as_text, as_tree, report
from esb.shadow.shadows import Shadows

__all__ = ["Shadows", "as_text", "as_tree", "report"]
