"""python -m jobs run <task> --model M --input URI --output URI"""

import sys

from jobs.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
