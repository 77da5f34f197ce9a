import sys
from pathlib import Path

HERE = Path(__file__).parent
# street_maker, and what tests of one folder take from those of another
sys.path[:0] = [str(HERE), *(str(folder) for folder in sorted(HERE.glob("[a-z]*/")))]
