"""Inspects a bundle without importing, evaluating or unpickling anything of it."""

from __future__ import annotations

from lgg_monai.sharing.inspect.findings import Finding, Grade
from lgg_monai.sharing.inspect.report import Report, inspect_bundle

__all__ = ["Finding", "Grade", "Report", "inspect_bundle"]
