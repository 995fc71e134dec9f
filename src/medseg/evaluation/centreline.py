"""Centre-line Dice: whether a tube (airway, vessel) is followed from end to end.

With V the voxels of a mask and S those of its skeleton (T truth, P prediction), from Shit et al., clDice - a novel
topology-preserving loss function for tubular structure segmentation, CVPR 2021:16560-16569:

    precision = |S_P in V_T| / |S_P|      how much of the predicted centre line lies in the truth
    recall    = |S_T in V_P| / |S_T|      how much of the true centre line was found
    clDice    = 2 precision recall / (precision + recall)

A fraction; 1 where both masks are empty, 0 where one is or neither centre line lies in the other mask. Skeletons are
counted in voxels, whatever their spacing. A mask that is no tube has a centre line that says little.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError
from medseg.postprocess.regions import regions_of

Mask: TypeAlias = NDArray[np.bool_]


def centreline_dice(prediction: Mask, truth: Mask) -> float:
    """2 p r / (p + r), p the share of the predicted centre line in the truth, r that of the true one in the prediction.

    A fraction; clDice of Shit et al. 2021. The module's docstring has it in full, with its value for empty masks.

    Parameters
    ----------
    prediction, truth
        ``(X, Y, Z)`` or ``(X, Y)``, of one shape; they may be cut out of the image as long as nothing is cut off.

    Raises
    ------
    DataError
        scikit-image, which finds the skeletons, is not installed.
    """
    if not (prediction.any() and truth.any()):
        return float(not prediction.any() and not truth.any())
    lines = [skeleton(mask) for mask in (prediction, truth)]
    precision = np.count_nonzero(lines[0] & truth) / np.count_nonzero(lines[0])
    recall = np.count_nonzero(lines[1] & prediction) / np.count_nonzero(lines[1])
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def skeleton(mask: Mask) -> Mask:
    """Voxels of the centre line: thinning by Lee et al. (CVGIP 1994;56:462-478) in volumes, Zhang and Suen in pictures.

    Thinning can eat a small piece whole; the voxel nearest to its centre stands for it then.
    """
    try:
        from skimage.morphology import skeletonize
    except ImportError as error:
        raise DataError(
            "centre lines need scikit-image, which is not installed", next_step="pip install 'medseg[tubes]'"
        ) from error
    inner = (slice(1, -1),) * mask.ndim
    line = np.array(skeletonize(np.pad(mask, 1))[inner], dtype=bool)
    pieces = regions_of(mask, 26 if mask.ndim == 3 else 8)
    left = np.bincount(pieces.numbers[line], minlength=pieces.count + 1)
    for lost in np.flatnonzero(left[1:] == 0) + 1:
        voxels = np.argwhere(pieces.numbers == lost)
        line[tuple(voxels[np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()])] = True
    return line
