"""The gap report, as one page and as numbers; ``fedlab report`` trains what it needs and writes it.

``gap`` reads a study, ``judged`` says what a difference may be called, ``short`` and ``findings`` put it in words,
``tables``, ``drawings`` and ``page`` on paper, ``numbers`` in JSON and CSV, and ``files`` on the disk.
"""
