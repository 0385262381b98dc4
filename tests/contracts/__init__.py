"""The models of documents and messages: the values that they accept, and their error messages."""
