"""The Lightning side of training: module and callback. Imported only inside `trainer.train`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

try:
    import lightning.pytorch as pl
except ImportError:  # the same library under its other name
    import pytorch_lightning as pl  # type: ignore[no-redef]

from torch.utils.data import DataLoader, Dataset

from xpert_core.errors import DataError
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.loop import (
    augment,
    draw_genes,
    predict_rows,
    training_terms,
    validation_scores,
)
from xpert_core.learning.resume import Progress, save_state
from xpert_core.learning.sampler import ProfileGroupedBatches
from xpert_core.learning.splits import Split
from xpert_core.model.xpert import XPert
from xpert_core.tokens.batch import Batch, Targets
from xpert_core.tokens.dataset import TensorView

EpochReport = Callable[[int, int, dict[str, float]], None]


class EpochBatches(Dataset):
    """The batches of one epoch, drawn anew each time Lightning asks for them."""

    def __init__(self, view: TensorView, sampler: ProfileGroupedBatches, epoch: int) -> None:
        self.view = view
        self.rows = list(sampler.epoch(epoch))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Batch, Targets]:
        return self.view.batch(self.rows[index])


class XPertModule(pl.LightningModule):
    """Training of one `XPert` network.

    Parameters
    ----------
    model : XPert
    view : TensorView
    split : Split
    config : TrainConfig
    optimizer : Optimizer
        Of the model's parameters, with its moments when a run is resumed.
    first_epoch : int
        Epochs already done by the run that is resumed.
    """

    def __init__(
        self,
        model: XPert,
        view: TensorView,
        split: Split,
        config: TrainConfig,
        optimizer: torch.optim.Optimizer,
        first_epoch: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.view = view
        self.split = split
        self.config = config
        self.optimizer = optimizer
        self.first_epoch = first_epoch
        self.generator = torch.Generator()
        self.sums: dict[str, float] = {}
        self.sampler = ProfileGroupedBatches(
            view.data.profile_index,
            split.train,
            batch_rows=config.batch_rows,
            chunk_rows=config.chunk_rows,
            seed=config.seed,
        )

    @property
    def epoch(self) -> int:
        """Number of the epoch counted over resumes."""
        return self.first_epoch + self.current_epoch

    def train_dataloader(self) -> DataLoader:
        """Batches of the current epoch."""
        return DataLoader(EpochBatches(self.view, self.sampler, self.epoch), batch_size=None)

    def transfer_batch_to_device(
        self, batch: tuple[Batch, Targets], device: torch.device, dataloader_idx: int
    ) -> tuple[Batch, Targets]:
        """Move a batch: Lightning itself refuses frozen records."""
        return batch[0].to(device), batch[1].to(device)

    def training_step(self, item: tuple[Batch, Targets], index: int) -> torch.Tensor:
        """Loss of one batch."""
        batch, targets = item
        batch = augment(batch, self.config, self.view.missing_token, self.generator)
        genes = None
        if self.epoch < self.config.max_epochs - self.config.full_epochs:
            genes = draw_genes(batch.profiles.shape[1], self.config, self.generator)
        try:
            terms = training_terms(self.model, batch, targets, self.config, genes)
        except FloatingPointError as error:
            raise DataError(
                "Training diverged: the loss is not a number.",
                where=f"epoch {self.epoch + 1}, batch {index + 1}{self._patients(index)}",
                fix="Lower the learning rate; the last good weights are kept.",
            ) from error
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        return terms["total"]

    def _patients(self, index: int) -> str:
        """Patients of a batch, for a message; "" where the data are of cell lines."""
        if not self.view.data.patients:
            return ""
        rows = list(self.sampler.epoch(self.epoch))[index]
        return f", patients {', '.join(self.view.data.patients[row] for row in rows)}"

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer, with the moments of the run that is resumed."""
        return self.optimizer

    def on_train_batch_start(self, batch: tuple[Batch, Targets], index: int) -> None:
        """Seed, and set the learning rate: linear warm-up, then cosine decay over all epochs.

        The seed depends on run, epoch and batch alone, so a resumed run repeats what it would
        have drawn.
        """
        seed = (self.config.seed * 10_007 + self.epoch) * 100_003 + index
        torch.manual_seed(seed)
        self.generator.manual_seed(seed)
        done = self.epoch + index / self.sampler.n_batches()
        config = self.config
        warm = min(1.0, (done + 1e-3) / config.warmup_epochs) if config.warmup_epochs else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done / config.max_epochs)))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = config.lr * warm * cosine


class Validation(pl.Callback):
    """After every epoch: inner validation, best weights, state on disk, early stop."""

    def __init__(
        self,
        progress: Progress,
        best: dict[str, torch.Tensor],
        folder: Path,
        report: EpochReport,
        at_a_time: int,
    ) -> None:
        self.progress = progress
        self.best = best
        self.folder = folder
        self.report = report
        self.at_a_time = at_a_time
        self.started = time.monotonic() - progress.seconds

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score, remember, save, and stop when patience is over."""
        module = pl_module
        assert isinstance(module, XPertModule)
        progress, config = self.progress, module.config
        rows = module.split.valid
        x_deg, _ = predict_rows(module.model, module.view, rows, batch_rows=self.at_a_time)
        scores = validation_scores(module.view.data, rows, x_deg)
        steps = module.sampler.n_batches()
        entry = {"epoch": module.epoch + 1, **scores}
        entry |= {f"train_{k}": v / steps for k, v in module.sums.items()}
        module.sums = {}
        progress.history.append(entry)
        progress.epochs_done = module.epoch + 1
        progress.seconds = time.monotonic() - self.started
        if scores["score"] > progress.best_score:
            progress.best_score, progress.best_epoch = scores["score"], progress.epochs_done
            self.best = {k: v.detach().clone() for k, v in module.model.state_dict().items()}
        save_state(self.folder, module.model, self.best, trainer.optimizers[0], progress)
        self.report(progress.epochs_done, config.max_epochs, entry)
        if progress.epochs_done - progress.best_epoch >= config.patience:
            trainer.should_stop = True


def make_optimizer(model: XPert, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; matrices decay, everything else does not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr)
