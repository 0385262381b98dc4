"""The limits of one worker: how many sagas may be open at once, and the memory that they take."""
