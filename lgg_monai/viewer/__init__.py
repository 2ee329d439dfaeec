"""The page that shows predicted masks, and the server that shows the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lgg_monai.viewer.patient import PAGE, ReportPatient

if TYPE_CHECKING:
    from lgg_monai.viewer.report import embed_patient, write_report

__all__ = ["PAGE", "ReportPatient", "embed_patient", "write_report"]


def __getattr__(name: str) -> Any:
    """Import what writes the page when it is asked for: serving a page must not wait for PyTorch."""
    if name in ("embed_patient", "write_report"):
        from lgg_monai.viewer import report

        return getattr(report, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
