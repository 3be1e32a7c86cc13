"""What a command says when it was called wrongly."""


class Wrong(Exception):
    """The command was called wrongly; the text is the sentence to print."""
