"""An open workflow for segmenting lower-grade gliomas on brain MRI, built on MONAI."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lgg_monai.prediction.api import Segmentation, segment

__version__ = "0.1.0"

# Where pydicom is installed, every LoadImage of MONAI says that a decoder for NVIDIA's cards is not.
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", "NvImgCodecPydicomReader: ", UserWarning)

__all__ = ["Segmentation", "__version__", "segment"]


def __getattr__(name: str) -> Any:
    """Load the Python interface on first use: the command line must not wait for PyTorch."""
    if name in ("Segmentation", "segment"):
        from lgg_monai.prediction import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
