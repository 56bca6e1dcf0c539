"""Judgements on one object that is well-formed, each named by the violation it finds.

A check is a pure function from the object to findings. `provider.CHECKS` and `pool.CHECKS` are the chains; all of them
always run, so that a user sees every problem at once. What needs other objects too stands in `credentials` and `names`.
"""
