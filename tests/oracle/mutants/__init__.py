"""Wrong flows: the oracle has to reject every one of them, and none of the right ones.

Four kinds. *Source* mutants are nfref's own formulas with one node of the syntax tree
changed, mechanically. *Wrapper* mutants are correct flows called wrongly, *usage* mutants are
wrong at some sizes, places, calls, contexts or by a small amount. *Released bugs* are those that
other libraries have really had. ``python -m tests.oracle.mutants`` prints the
score.
"""
