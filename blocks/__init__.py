"""What a person configures: typed blocks, and the command that saves them from the environment."""
