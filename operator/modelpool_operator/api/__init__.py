"""The resources as users write them: Provider and ModelPool of modelpool.dev/v1alpha1.

Types, bounds and descriptions stand here, and nothing else: the CRDs are made from these models. No default does: the
compiler holds them (`defaults`), so that stored objects stay as they were written. What needs more than one field to
judge stands in `checks`.
"""
