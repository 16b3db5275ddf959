"""python -m amostra"""

import sys

from amostra.cli import main

sys.exit(main())
