"""What the original two-network experiment reported, and how far its figures can be set beside ours."""

from __future__ import annotations

# After 50 epochs, as its training log printed them. It trained and validated on slices; which patients validated, and
# whether their neighbours were trained on, is not stated.
FIGURES = {
    "PSPNet": {"loss": 0.2018, "iou": 0.7950, "val_loss": 0.3904, "val_iou": 0.6108},
    "UNet": {"loss": 0.1704, "iou": 0.8298, "val_loss": 0.4440, "val_iou": 0.5570},
}
EPOCHS = 50
PSPNET_TO_UNET = {"seconds_per_epoch": 1.5, "peak_memory_mb": 1.5}

CONVENTIONS = (
    "The original's val_iou was printed by its training log after 50 epochs: IoU of batches of validation slices, "
    "averaged; its split, and whether slices of one patient lie on both sides of it, are not stated. Our val_iou is "
    "pooled over all slices of the validation patients, none of whom was trained on: one intersection over one union. "
    "Our pooled_iou is the same on test patients, who chose nothing, and volume_iou is the mean over patients. The "
    "losses are different functions on different scales and can be compared within one experiment only. The "
    "original's 1.5 times time and 1.5 times memory are its own network, framework and machine, with PSPNet over UNet."
)


def original_ratio(quantity: str, network: str, reference: str) -> float | None:
    """Give the original's ratio of two networks' cost; None where it reported none.

    Args:
        quantity: a key of `PSPNET_TO_UNET`.
        network: the network above the fraction, such as ``PSPNet``.
        reference: the network below it.
    """
    ratio = PSPNET_TO_UNET.get(quantity)
    if ratio is None or {network, reference} != set(FIGURES):
        return None
    return ratio if network == "PSPNet" else 1 / ratio
