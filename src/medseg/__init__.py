"""medseg: medical images in, segmentations that people can trust out."""

__version__ = "0.1.0"
