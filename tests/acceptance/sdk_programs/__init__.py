"""Programs of users of the ``dria`` SDK; each runs in the SDK's own environment.

``python many.py URL KEY OUT …`` writes what it saw into the file OUT, as JSON. None of them knows
this package, but for those that say so.
"""
