"""Headers: which are valid (``rules``), which chain has most work (``chain``), what is final (``finality``).

``run`` applies the rules to many headers at once, ``verify`` to a flat file from end to end. ``tree`` and ``trunk``
hold what a chain knows, ``orphans`` what waits for its parent. ``bundle`` is how headers travel in rollup blocks,
``risk`` how deep is deep enough for what is at stake.
"""
