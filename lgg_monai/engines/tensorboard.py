"""What a run shows in TensorBoard: the numbers of ``history.csv`` and validation slices with both contours."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch.utils.tensorboard import SummaryWriter

from lgg_monai.data.sequences import shown_channel
from lgg_monai.drawing.overlays import draw_overlay
from lgg_monai.engines.checkpoints import FREE_AND_RESUME
from lgg_monai.engines.history import COLUMNS, HistoryWriter
from lgg_monai.errors import exits_with_one_line
from lgg_monai.files import told_in_one_line

TENSORBOARD = "tensorboard"
# Tags grouped as TensorBoard shows them: one card a quantity, training and validation side by side.
TAGS = {
    "loss": "loss/training",
    "val_loss": "loss/validation",
    "iou": "iou/training_pooled",
    "val_iou": "iou/validation_pooled",
    "val_volume_iou": "iou/validation_volume",
    "val_volume_dice": "dice/validation_volume",
    "tumour_slice_iou": "iou/training_tumour_slice",
    "learning_rate": "optimizer/learning_rate",
    "slices_per_second": "speed/slices_per_second",
    "seconds": "speed/seconds_an_epoch",
    "peak_memory_mb": "memory/peak_mb",
}


class TensorBoardWriter:
    """Write scalars after each epoch and pictures every few epochs.

    MONAI's TensorBoard handlers write one engine's own metrics; these rows join training and validation, so the
    curves in TensorBoard and in ``history.csv`` are the same numbers.

    Args:
        output_dir: the run folder; events go to ``tensorboard/`` in it.
        history: whose rows are written.
        evaluator: its outputs are drawn.
        patients: how many validation patients are drawn.
        image_interval: least number of epochs between pictures; the first and last validated epoch are always drawn.
        stamp: printed on each picture, such as ``PHANTOM``.
    """

    def __init__(
        self,
        output_dir: str,
        history: HistoryWriter,
        evaluator: Engine,
        patients: int = 3,
        image_interval: int = 5,
        stamp: str = "",
    ) -> None:
        self.folder = Path(output_dir) / TENSORBOARD
        self.history = history
        self.evaluator = evaluator
        self.patients = patients
        self.image_interval = image_interval
        self.stamp = stamp
        self.writer: SummaryWriter | None = None
        self._epoch = 0
        self._drawn: int | None = None  # the epoch of the last pictures
        self._draw = False

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the history's row is written, and to the evaluator."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.EPOCH_STARTED, self._plan)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write_scalars)
        engine.add_event_handler(Events.COMPLETED | Events.EXCEPTION_RAISED, self._close)
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._draw_patient)

    @exits_with_one_line
    def _begin(self, engine: Engine) -> None:
        if engine.state.epoch == 0:
            self._open(1)
            self._write_scalars(engine)  # of the weights that training begins with, where they were validated

    def _open(self, step: int) -> None:
        # A resumed run overwrites the steps that the interrupted one got to after its last checkpoint.
        with self._told():
            self.writer = SummaryWriter(str(self.folder), purge_step=step)

    def _told(self) -> AbstractContextManager[None]:
        return told_in_one_line(f"the curves {self.folder}", FREE_AND_RESUME)

    @exits_with_one_line
    def _plan(self, engine: Engine) -> None:
        if self.writer is None:  # resumed; where nothing is left to train, nothing is written either
            self._open(engine.state.epoch)
        self._epoch = engine.state.epoch
        last = engine.state.epoch == engine.state.max_epochs
        self._draw = last or self._drawn is None or engine.state.epoch - self._drawn >= self.image_interval

    @exits_with_one_line
    def _write_scalars(self, engine: Engine) -> None:
        if self.writer is None or not self.history.rows:
            return
        row = self.history.rows[-1]
        with self._told():
            own = {name: f"metrics/{name}" for name in row if name not in COLUMNS}
            for name, tag in (TAGS | own).items():
                if row.get(name) is not None:
                    self.writer.add_scalar(tag, row[name], row["epoch"])
            self.writer.flush()

    @exits_with_one_line
    def _draw_patient(self, engine: Engine) -> None:
        number = engine.state.iteration
        if self.writer is None or not self._draw or number > self.patients:
            return
        self._drawn = self._epoch
        output: Any = engine.state.output
        image, label = output["image"][0], output["label"][0, 0].cpu().numpy() > 0
        z = int(label.sum(axis=(0, 1)).argmax())
        picture = draw_overlay(
            image[shown_channel(len(image)), :, :, z].float().cpu().numpy(),
            label[:, :, z],
            output["pred"][0, 0, :, :, z].cpu().numpy() > 0,
            title=f"validation patient {number}, slice {z + 1}",
            stamp=self.stamp,
        )
        with self._told():
            self.writer.add_image(f"validation/{number}", picture, self._epoch, dataformats="HWC")

    @exits_with_one_line
    def _close(self, engine: Engine, error: Any = None) -> None:
        try:
            if self.writer is not None:
                with self._told():
                    self.writer.close()
        finally:
            if error is not None:  # it came first, and may be the cause
                raise error
