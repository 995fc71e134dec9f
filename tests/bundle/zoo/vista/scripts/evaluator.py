"""An evaluator of the bundle's own."""

from monai.engines.evaluator import SupervisedEvaluator


class PromptEvaluator(SupervisedEvaluator):
    """Takes settings of its own beside those of its parent."""

    def __init__(self, device, val_data_loader, network, hyper_kwargs=None, **kwargs):
        super().__init__(device=device, val_data_loader=val_data_loader, network=network, **kwargs)
        self.hyper_kwargs = hyper_kwargs
