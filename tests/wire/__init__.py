"""The record of the messages as running builds know them, and the rules for changes to them."""
