"""What can go wrong, how to provoke it, and what the pipeline does.

There is one list for each area. The tests run every fault in it, and `make docs` writes them all
into docs/faults.md.
"""
