"""An inferer of the bundle's own."""

from monai.inferers import Inferer


class PromptInferer(Inferer):
    """Windows with prompts."""

    def __init__(self, roi_size, overlap=0.25, **kwargs):
        Inferer.__init__(self)
        self.roi_size, self.overlap, self.more = roi_size, overlap, kwargs
