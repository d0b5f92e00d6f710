"""Headers: which are valid (``rules``), which chain has most work (``chain``), what is final (``finality``).

``bundle`` is how headers travel inside rollup blocks; ``verify`` checks a flat file of headers from end to end.
"""
