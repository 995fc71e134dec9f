"""What a manifest tells of the process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

PEAK = """
import torch
from medseg.workflows.provenance import peak_memory_bytes
print(peak_memory_bytes(torch.device("cpu"))["process"])
"""


def test_peak_memory_is_that_of_the_process_and_not_of_the_one_that_started_it():
    held = np.ones(2**28)  # 2 GiB, touched: several times what the started process needs
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert held.sum() == held.size
    assert 50e6 < int(done.stdout) < 1.5e9
