"""The stages in the order in which they run, and the only code that knows that order and the disk."""
