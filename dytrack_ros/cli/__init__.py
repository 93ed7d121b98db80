"""The command ``dytrack``, one module a subcommand."""
