"""What the Ignite engines of a bundle need beyond MONAI: steps, losses, handlers, checkpoints, TensorBoard."""

from medseg.training.average import average_momentum
from medseg.training.batch_augmentation import BatchAugmentation
from medseg.training.board import Board
from medseg.training.checkpoints import Checkpoints
from medseg.training.data_wait import DataWait
from medseg.training.determinism import Deterministic
from medseg.training.distributed import join, leave, share_of_batch
from medseg.training.handlers import EarlyStop, FiniteLoss, Progress, RunRecord, Schedule, Validation
from medseg.training.history import History
from medseg.training.legs import StopAfter
from medseg.training.losses import StackedDeepSupervisionLoss
from medseg.training.metrics import OverlapMetric, SurfaceMetric
from medseg.training.parallel import WholeBatchLoss, distribute
from medseg.training.rates import parameter_groups
from medseg.training.step import EvaluationStep, TrainingStep

__all__ = [
    "BatchAugmentation",
    "Board",
    "Checkpoints",
    "DataWait",
    "Deterministic",
    "EarlyStop",
    "EvaluationStep",
    "FiniteLoss",
    "History",
    "OverlapMetric",
    "Progress",
    "RunRecord",
    "Schedule",
    "StackedDeepSupervisionLoss",
    "StopAfter",
    "SurfaceMetric",
    "TrainingStep",
    "Validation",
    "WholeBatchLoss",
    "average_momentum",
    "distribute",
    "join",
    "leave",
    "parameter_groups",
    "share_of_batch",
]
