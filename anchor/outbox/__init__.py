"""A package of transactions from built to buried: four nouns, one ``step``.

``states`` · ``events`` · ``effects`` · ``transitions`` for one package.
"""
