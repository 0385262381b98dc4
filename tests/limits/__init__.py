"""What one worker bears: sagas that are open at once, and the memory they take."""
