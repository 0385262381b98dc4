"""The documents: what they name exists, what they promise is there."""
