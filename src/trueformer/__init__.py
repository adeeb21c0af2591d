"""trueformer: train small transformer language models you can trust.

Public names are loaded on first use, so that importing the package stays under a second.
"""

import importlib

__version__ = "0.1.0"
