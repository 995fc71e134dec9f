"""The viewer: a local page to look at images and masks, segment new ones, correct, accept and export them.

Importing this package imports neither FastAPI nor torch: `medseg.review.viewer.serve` does, and torch stays in the
child process that runs the network.
"""
