"""The bundle's own code."""

from . import utils as utils
