"""What the machine says of itself, asked so that nothing that hangs keeps the asker: the lowest room that looks."""
