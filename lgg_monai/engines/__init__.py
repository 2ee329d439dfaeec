"""Pieces that the configs plug into MONAI's engines."""

from lgg_monai.engines.acceleration import prepare_network
from lgg_monai.engines.checkpoints import can_resume, default_checkpoint, load_ensemble, load_weights
from lgg_monai.engines.config_check import (
    check_apart,
    check_early_stop,
    check_keys,
    check_numbers,
    check_paths,
    check_processes,
    check_switches,
)
from lgg_monai.engines.evaluation import EvaluationWriter
from lgg_monai.engines.final_weights import FinalWeights
from lgg_monai.engines.head import HeadInferer
from lgg_monai.engines.history import HistoryRow, HistoryWriter
from lgg_monai.engines.interruption import run_until_interrupted, tell_interruption
from lgg_monai.engines.network_check import check_loss, check_patch, check_slices, slice_divisor, slice_smallest
from lgg_monai.engines.package_check import begin_with, check_patients, check_places, check_validation, check_volumes
from lgg_monai.engines.parts_check import check_parts, check_schedule, check_schedule_length
from lgg_monai.engines.pooled_iou import PooledIoUHandler
from lgg_monai.engines.precision import AutocastInferer, select_device
from lgg_monai.engines.probabilities import ProbabilityWriter
from lgg_monai.engines.recorded_iteration import RecordedIteration
from lgg_monai.engines.run_checkpoints import EarlyStopping, Restore, RunCheckpoints
from lgg_monai.engines.run_folder import RunRecord, prepare_run_folder
from lgg_monai.engines.slice_iou import TumourSliceIoU, TumourSliceIoUHandler
from lgg_monai.engines.slicewise import SlicewiseInferer
from lgg_monai.engines.tensorboard import TensorBoardWriter
from lgg_monai.engines.training import (
    Attach,
    AugmentedBatch,
    EpochSeeder,
    GradientClipping,
    MemoryRelease,
    ProgressBar,
    ScheduleRestart,
    WeightAveraging,
)
from lgg_monai.engines.tta import FlipInferer

__all__ = [
    "Attach",
    "AugmentedBatch",
    "AutocastInferer",
    "EarlyStopping",
    "EpochSeeder",
    "EvaluationWriter",
    "FinalWeights",
    "FlipInferer",
    "GradientClipping",
    "HeadInferer",
    "HistoryRow",
    "HistoryWriter",
    "MemoryRelease",
    "PooledIoUHandler",
    "ProbabilityWriter",
    "ProgressBar",
    "RecordedIteration",
    "Restore",
    "RunCheckpoints",
    "RunRecord",
    "ScheduleRestart",
    "SlicewiseInferer",
    "TensorBoardWriter",
    "TumourSliceIoU",
    "TumourSliceIoUHandler",
    "WeightAveraging",
    "begin_with",
    "can_resume",
    "check_apart",
    "check_early_stop",
    "check_keys",
    "check_loss",
    "check_numbers",
    "check_parts",
    "check_patch",
    "check_paths",
    "check_patients",
    "check_places",
    "check_processes",
    "check_schedule",
    "check_schedule_length",
    "check_slices",
    "check_switches",
    "check_validation",
    "check_volumes",
    "default_checkpoint",
    "load_ensemble",
    "load_weights",
    "prepare_network",
    "prepare_run_folder",
    "run_until_interrupted",
    "select_device",
    "slice_divisor",
    "slice_smallest",
    "tell_interruption",
]
