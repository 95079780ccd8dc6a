"""What is done with the pipeline from outside of it; each is a target of the Makefile."""
