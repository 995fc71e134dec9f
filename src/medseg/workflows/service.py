"""A bundle that stays loaded and segments one image after the other, for the viewer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from medseg.bundle import find_bundle
from medseg.bundle.load import open_workflow, run_workflow
from medseg.outputs import CaseReport
from medseg.workflows.cases import PredictCases
from medseg.workflows.predict import CaseOptions

_RUN_ID = "loading_the_cases"


class LoadedBundle:
    """What `predict` does for one image, without loading the network again for the next.

    Masks, previews, manifests and flags are those of `predict`.

    Parameters
    ----------
    bundle
        Folder or name of a bundle with weights.
    folder
        An empty folder for whatever is written while the bundle is loaded.
    options
        Device, precision and the like.

    Raises
    ------
    BundleError
        The bundle cannot be used.
    """

    def __init__(self, bundle: str | os.PathLike[str], *, folder: Path, options: CaseOptions | None = None) -> None:
        self.path = find_bundle(bundle)
        chosen = {} if options is None else options.overrides()
        places = {"input": str(folder.resolve()), "output_dir": str(folder.resolve())}
        workflow = open_workflow(self.path, "inference", overrides={**places, **chosen})
        # The step of the evaluator without an evaluator; in a list, as what a run id itself names is not kept.
        workflow.parser[_RUN_ID], workflow.run_id = ["$@cases"], _RUN_ID
        run_workflow(workflow, self.path)
        self._cases: PredictCases = workflow.parser.get_parsed_content("cases")

    def segment(
        self, image: Path, *, case_id: str, output_dir: Path, watch: Callable[[str], None] = lambda stage: None
    ) -> CaseReport:
        """Segment one image into an own folder.

        Parameters
        ----------
        image
            A file, the folder of a DICOM series, or FOLDER/#UID.
        case_id
            Names the files that are written.
        output_dir
            Mask, preview, manifest and report.json go here.
        watch
            Called with the name of each stage that begins: "read", "network", "write".

        Returns
        -------
        CaseReport
            What became of the case; a failure's reason stands in it.
        """
        cases = self._cases.afresh(output_dir)
        cases.watch = lambda work, stage: watch(stage)
        cases.begin(1)
        try:
            cases(None, {"id": case_id, "image": str(image)})
            cases.finish()
        except BaseException as error:
            cases.abort(error)  # ends the stages and raises it again
            raise
        (report,) = cases.report.cases
        return report
