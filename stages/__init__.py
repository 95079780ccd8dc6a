"""The stages of the pipeline, one module each, in the order of dvc.yaml."""

from deepfake.common.program import end_when_interrupted

# Before a stage imports what it needs, which takes a second or two.
end_when_interrupted()
