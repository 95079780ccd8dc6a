"""What is done with the pipeline from outside of it; each is a target of the Makefile."""

from deepfake.common.program import end_when_interrupted

# Before a tool imports what it needs, which takes a second or two.
end_when_interrupted()
