"""What an operator asks of a mill: how collections stand, what became of their lines, what is to be done again."""
