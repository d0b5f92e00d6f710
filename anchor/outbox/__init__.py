"""A package of transactions from built to buried: four nouns, one ``step``.

``states`` · ``events`` · ``effects`` · ``transitions`` for one package · ``resend`` what may go to a node now.
"""
