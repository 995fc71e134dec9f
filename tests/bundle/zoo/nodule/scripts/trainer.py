"""A trainer of the bundle's own."""

from monai.engines.trainer import Trainer


class DetectionTrainer(Trainer):
    """Detector in place of a network."""

    def __init__(
        self, device, max_epochs, train_data_loader, detector, optimizer, inferer=None, train_handlers=None, amp=False
    ):
        super().__init__(
            device=device, max_epochs=max_epochs, data_loader=train_data_loader, handlers=train_handlers, amp=amp
        )
        self.detector, self.optimizer, self.inferer = detector, optimizer, inferer
