"""What was asked to be read -> text -> token ids on disk. Imports no torch."""
