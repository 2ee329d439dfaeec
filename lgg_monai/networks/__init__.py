"""Networks that MONAI lacks."""

from lgg_monai.networks.efficient_unet import EfficientUNet
from lgg_monai.networks.ensemble import Ensemble
from lgg_monai.networks.imagenet import begin_with_imagenet
from lgg_monai.networks.pspnet import PSPNet

__all__ = ["EfficientUNet", "Ensemble", "PSPNet", "begin_with_imagenet"]
