"""The messages as running builds know them, recorded, and what a change to them may not do."""
