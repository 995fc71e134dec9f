"""A schedule of the bundle's own."""

from torch.optim.lr_scheduler import LRScheduler


class WarmUp(LRScheduler):
    """Rises slowly, then hands over."""

    def __init__(self, optimizer, multiplier, total_epoch, after_scheduler=None):
        self.multiplier, self.total_epoch, self.after_scheduler = multiplier, total_epoch, after_scheduler
        super().__init__(optimizer)
