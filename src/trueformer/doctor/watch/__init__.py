"""The live monitor: laws that are judged while somebody's unmodified training script runs.

`patches` and `observe` see what the script asks of torch, `run` keeps what is known of it, `rules` judge,
`monitor` connects them, `report` tells, `script` runs the script.
The command is `python -m trueformer.watch`.
"""
