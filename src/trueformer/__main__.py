"""`python -m trueformer`, and so `torchrun -m trueformer`."""

import sys

from trueformer.cli import main

sys.exit(main())
