"""An open workflow for segmenting lower-grade gliomas on brain MRI, built on MONAI."""

__version__ = "0.1.0"
