"""The command `dytrack` and its subcommands."""
