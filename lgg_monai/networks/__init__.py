"""Networks that MONAI lacks."""

from lgg_monai.networks.ensemble import Ensemble
from lgg_monai.networks.pspnet import PSPNet

__all__ = ["Ensemble", "PSPNet"]
