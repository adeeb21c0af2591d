"""What each tool says of one training script: a module a tool or a kind of tools, alarms as a set of words."""
