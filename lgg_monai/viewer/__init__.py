"""The page that shows predicted masks, and the server that shows the page.

What writes the page is in `lgg_monai.viewer.report`, apart: serving a page must not wait for PyTorch.
"""

from lgg_monai.viewer.patient import PAGE, ReportPatient

__all__ = ["PAGE", "ReportPatient"]
