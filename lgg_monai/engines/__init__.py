"""Pieces that the configs plug into MONAI's engines."""

from lgg_monai.engines.checkpoints import EarlyStopping, Restore, RunCheckpoints, load_weights
from lgg_monai.engines.config_check import check_keys, check_numbers
from lgg_monai.engines.evaluation import EvaluationWriter
from lgg_monai.engines.history import HistoryRow, HistoryWriter
from lgg_monai.engines.pooled_iou import PooledIoU, PooledIoUHandler
from lgg_monai.engines.precision import AutocastInferer, SlicewiseInferer, select_device
from lgg_monai.engines.run_folder import RunRecord, prepare_run_folder
from lgg_monai.engines.tensorboard import TensorBoardWriter
from lgg_monai.engines.training import (
    Attach,
    AugmentedBatch,
    EpochSeeder,
    GradientClipping,
    ProgressBar,
    WeightAveraging,
)

__all__ = [
    "Attach",
    "AugmentedBatch",
    "AutocastInferer",
    "EarlyStopping",
    "EpochSeeder",
    "EvaluationWriter",
    "GradientClipping",
    "HistoryRow",
    "HistoryWriter",
    "PooledIoU",
    "PooledIoUHandler",
    "ProgressBar",
    "Restore",
    "RunCheckpoints",
    "RunRecord",
    "SlicewiseInferer",
    "TensorBoardWriter",
    "WeightAveraging",
    "check_keys",
    "check_numbers",
    "load_weights",
    "prepare_run_folder",
    "select_device",
]
