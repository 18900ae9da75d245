"""`python -m migration import|compare|views PLAN` (migration/course.py)."""

import sys

from migration.course import main

if __name__ == "__main__":
    sys.exit(main())
